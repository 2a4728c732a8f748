"""Who may ask what: the one table of all routes, with the least role, the limits and the queue of
each.

Decides on access and limits. Must not know what the routes do. A route that is not in the table
does
not exist: `routes.py` and this table are compared when the server starts, and by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

KIB = 1024
MIB = 1024 * KIB


class Role(StrEnum):
    """What a certificate's OU says; whoever reaches the unix socket is an admin."""

    PEER = "peer"
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Least(StrEnum):
    """The least that a route asks for."""

    ANYBODY = "anybody"  # even without a certificate
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    PEER = "peer"  # another host's xsmd, and nobody else: its name is the sender's
    LOCAL = "local"  # the unix socket only


MAY: dict[Role, frozenset[Least]] = {
    Role.VIEWER: frozenset({Least.ANYBODY, Least.VIEWER}),
    Role.OPERATOR: frozenset({Least.ANYBODY, Least.VIEWER, Least.OPERATOR}),
    Role.ADMIN: frozenset({Least.ANYBODY, Least.VIEWER, Least.OPERATOR, Least.ADMIN}),
    # A peer can deliver any revision, so an operator's edits give it nothing that it hasn't got;
    # but a host that was broken into must not invite further ones.
    Role.PEER: frozenset({Least.ANYBODY, Least.VIEWER, Least.OPERATOR, Least.PEER}),
}


class Gate(StrEnum):
    """Requests queue apart by kind, so that waiting people can't keep the peers from voting."""

    STRANGERS = (
        "strangers"  # without a certificate: whoever floods must not keep the known ones waiting
    )
    PEOPLE = "people"
    PEERS = "peers"
    BULK = "bulk"  # bodies of many MiB
    STREAMS = "streams"
    GIT = "git"
    HOOKS = "hooks"  # a push waits for its hooks: they need room of their own


GATE_LIMITS: dict[Gate, int] = {
    Gate.STRANGERS: 16,
    Gate.PEOPLE: 64,
    Gate.PEERS: 64,
    Gate.BULK: 4,
    Gate.STREAMS: 32,
    Gate.GIT: 8,
    Gate.HOOKS: 8,
}
"""How many requests of a kind are answered at once, at each door; the next ones wait a little, then get 503."""


@dataclass(frozen=True)
class Caller:
    """Who asks. `name`: a user of this host, or the CN of a certificate."""

    name: str
    role: Role
    host: str  # this host's name for a local caller, else the address that the request came from
    local: bool

    @property
    def author(self) -> str:
        """ "Name <mail>" for a commit."""
        mail = self.name if "@" in self.name else f"{self.name}@{self.host}"
        return f"{self.name} <{mail}>"


NOBODY = ""
"""Name of a caller without a certificate."""


@dataclass(frozen=True)
class Rule:
    """One route. `path` is aiohttp's pattern; `time_s` is for the whole answer, 0: no limit."""

    method: str
    path: str
    least: Least
    body_bytes: int = 0  # larger bodies are refused with 413
    gate: Gate = Gate.PEOPLE
    time_s: float = 60.0
    finish: bool = False  # goes on to its end when the client goes away: it changes something

    @property
    def key(self) -> tuple[str, str]:
        return self.method, self.path


GIT_PREFIX = "/git/site.git"
RETURN_PATH = "/v1/peer/return"
"""What a host that was fenced may still ask."""

RULES: tuple[Rule, ...] = (
    Rule("GET", "/v1/ca", Least.ANYBODY, gate=Gate.STRANGERS),
    Rule("POST", "/v1/join", Least.ANYBODY, 64 * KIB, gate=Gate.STRANGERS, finish=True),
    Rule("GET", "/v1/status", Least.VIEWER),
    Rule("GET", "/v1/reports", Least.VIEWER),
    Rule("GET", "/v1/plan", Least.VIEWER),
    Rule("GET", "/v1/vms", Least.VIEWER),
    Rule("GET", "/v1/history", Least.VIEWER),
    Rule("GET", "/v1/revision/{id}", Least.VIEWER),
    Rule("GET", "/v1/files", Least.VIEWER),
    Rule("GET", "/v1/why/{vm}", Least.VIEWER),
    Rule("GET", "/v1/events", Least.VIEWER, gate=Gate.STREAMS, time_s=0),
    Rule("POST", "/v1/preview", Least.VIEWER, 64 * MIB, gate=Gate.BULK),
    Rule("POST", "/v1/apply", Least.OPERATOR, 64 * MIB, gate=Gate.BULK, finish=True),
    Rule("POST", "/v1/preview-command", Least.VIEWER, MIB),
    Rule("POST", "/v1/command", Least.OPERATOR, MIB, finish=True),
    Rule("POST", "/v1/invite", Least.ADMIN, 64 * KIB, finish=True),
    Rule("POST", "/v1/signer", Least.LOCAL, 64 * KIB, finish=True),
    Rule("POST", "/v1/hook/pre-receive", Least.LOCAL, MIB, gate=Gate.HOOKS),
    Rule("POST", "/v1/hook/post-receive", Least.LOCAL, MIB, gate=Gate.HOOKS, finish=True),
    Rule("POST", "/v1/peer/messages", Least.PEER, 4 * MIB, gate=Gate.PEERS, finish=True),
    Rule("POST", "/v1/peer/pack", Least.PEER, 64 * MIB, gate=Gate.PEERS, finish=True),
    Rule("POST", "/v1/peer/fetch", Least.PEER, MIB, gate=Gate.PEERS),
    Rule("POST", "/v1/peer/certificate", Least.PEER, 64 * KIB, gate=Gate.PEERS, finish=True),
    Rule("POST", "/v1/peer/ca-key", Least.PEER, 64 * KIB, gate=Gate.PEERS, finish=True),
    Rule("POST", "/v1/peer/revocations", Least.PEER, 4 * MIB, gate=Gate.PEERS, finish=True),
    Rule("POST", "/v1/peer/serf", Least.PEER, KIB, gate=Gate.PEERS),
    Rule("GET", "/v1/peer/heads", Least.PEER, gate=Gate.PEERS),
    Rule("GET", "/v1/peer/report", Least.PEER, gate=Gate.PEERS),
    Rule("POST", RETURN_PATH, Least.PEER, KIB, gate=Gate.PEERS, finish=True),
    Rule("GET", "/v1/peer/events", Least.PEER, gate=Gate.PEERS),
    Rule("GET", "/v1/peer/registers", Least.PEER, gate=Gate.PEERS),
    Rule("POST", "/v1/peer/registers", Least.PEER, 16 * MIB, gate=Gate.PEERS, finish=True),
    # What git asks for. `?service=git-receive-pack` makes it a push: see `git_least`.
    Rule("GET", GIT_PREFIX + "/info/refs", Least.VIEWER, gate=Gate.GIT, time_s=0),
    Rule("POST", GIT_PREFIX + "/git-upload-pack", Least.VIEWER, 16 * MIB, Gate.GIT, 0),
    Rule("POST", GIT_PREFIX + "/git-receive-pack", Least.OPERATOR, 64 * MIB, Gate.GIT, 0),
)


def git_least(rule: Rule, service: str) -> Least:
    """What a git request asks for, since one path announces both fetches and pushes."""
    if rule.path == GIT_PREFIX + "/info/refs" and service == "git-receive-pack":
        return Least.OPERATOR
    return rule.least


def allowed(caller: Caller | None, least: Least) -> bool:
    """Whether `caller` (None: without a certificate) may use a route."""
    if caller is None:
        return least is Least.ANYBODY
    if least is Least.LOCAL:
        return caller.local
    return least in MAY[caller.role]
