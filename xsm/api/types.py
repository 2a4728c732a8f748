"""What travels between `xsm` and its xsmd, and from xsmd to the web page: JSON, encoded and checked by msgspec.

Every type is a frozen dataclass; unknown fields are ignored, so that version N talks with N-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xsm.peer.contacts import Reach
from xsm.peer.messages import PROTOCOL_VERSION
from xsm.plan.actions import Plan
from xsm.plan.observed import HostReport, Transfer
from xsm.plan.order import Order
from xsm.site.model import Migration
from xsm.site.problems import Problem
from xsm.site.state import Conflict

API_VERSION = PROTOCOL_VERSION
"""Every request and answer says it (X-XSM-Version). One number for all that hosts and people say to an xsmd."""
NOT_A_MEMBER = "not-a-member"
"""A refusal's code: whoever asks has a certificate of the site, and is of the site no more (or not yet)."""


@dataclass(frozen=True)
class MemberStatus:
    name: str
    address: str
    url: str
    reach: Reach
    seen_s: float | None  # seconds since it last answered; None: never yet
    revision: str  # what it said it acts on, "" unknown
    drained: bool
    myself: bool = False
    error: str = ""  # what went wrong when it was last asked
    clock: str = ""  # what is wrong with its clock
    signs: bool = False  # it holds the site's CA key
    witness: bool = False  # it has a vote and runs no VMs
    since_s: float | None = None  # for how long `reach` has been so; None: not known


@dataclass(frozen=True)
class Status:
    """GET /v1/status"""

    host: str
    site_id: str
    version: str
    revision: str  # the commit that main shows
    heads: tuple[
        str, ...
    ]  # user commits that are not yet in one another; more than one: edits were merged
    subject: str  # first line of the revision's message
    author: str
    date: float
    members: tuple[MemberStatus, ...]
    majority: bool  # a majority of the members answered lately: VMs may be started and moved
    conflicts: tuple[Conflict, ...]
    frozen: str  # why this host acts on nothing, "" normally
    checkout: str  # path of the watched checkout
    checkout_problems: tuple[Problem, ...]  # of the last save, () when it was fine
    converged: bool  # every member that answers is on this revision and has nothing left to do
    pending: tuple[str, ...]  # all hosts' pending and held actions, one readable line each
    held: tuple[str, ...]
    notes: tuple[
        str, ...
    ] = ()  # restart needed, reported drift, foreign domains: for a person to act on
    checkout_revision: str = ""  # what the checkout is on, "" unknown
    checkout_behind: str = ""  # why it is not on `revision`, "" when it is
    transfers: tuple[Transfer, ...] = ()  # live migrations in flight
    serf: str = ""  # why Serf gives this host no hints, "" when it does
    twice: tuple[str, ...] = ()  # VMs that run on two hosts: what must never be


@dataclass(frozen=True)
class Proposal:
    """POST /v1/preview and /v1/apply: a site as somebody wants it.

    `files`: the site file and configs to put in place (path -> text as base64); configs and other files that are
    not named stay as they are. `base`: the revision that was edited, "" for the present head; when the head has
    moved on, the edit is merged with what came since, and refused where the two disagree.
    """

    files: Mapping[str, str]
    base: str = ""
    remove: tuple[
        str, ...
    ] = ()  # paths to delete (old site file after a change of format, unused configs)
    message: str = ""
    author: str = ""  # "Name <mail>"; "" lets xsmd derive it from the caller
    expect: str = (
        ""  # head that the previewed plan was computed from; apply answers 409 when it has moved
    )
    restart: tuple[str, ...] = ()  # VMs that may be restarted where a change needs it


class Verb(StrEnum):
    """Commands that are small edits of the site, made for the user."""

    MIGRATE = "migrate"  # vm, to: DOM0 of a pinned VM, or the placement of a floating one
    CALL_BACK = "call-back"  # vm: a move that is not done; where it runs now becomes its host
    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"  # pending changes of the definition take effect
    MAKE_DISK = "make-disk"  # vm, disk: an empty one may be made, though data may be elsewhere
    USE_DISK = "use-disk"  # vm, disk, host: what it has of it counts, though it may be old
    DRAIN = "drain"  # host
    UNDRAIN = "undrain"  # host
    FORGET = "forget"  # host: no longer a member
    FENCE = "fence"  # host: switched off by its fence agent; no member until it is back
    RESOLVE = "resolve"  # vm: keep the shown values of its conflicts
    ROLLBACK = "rollback"  # to: revision whose site file and configs become the new head
    ADOPT = "adopt"  # host, vms (names of foreign domains; none: all of the host)


@dataclass(frozen=True)
class Command:
    """POST /v1/preview-command and /v1/command."""

    verb: Verb
    vm: str = ""
    host: str = ""
    to: str = ""
    vms: tuple[str, ...] = ()
    message: str = ""
    author: str = ""
    expect: str = ""
    sure: bool = (
        False  # forget: the operator's word that the host is off; nobody can take that back
    )
    home: bool = False  # undrain: the VMs that a drain made leave it come back
    stay: bool = False  # undrain: the drain is given up; what has not begun to move stays
    disk: str = ""  # make-disk, use-disk: its name in the site file
    cold: bool = False  # migrate: the VM may be stopped for it; sets its MIGRATION to cold
    migration: Migration | None = (
        None  # call back: its MIGRATION before the move, where that set it
    )


@dataclass(frozen=True)
class Returning:
    """POST /v1/peer/return: a host that was fenced has started anew and runs nothing. Its certificate says who."""


@dataclass(frozen=True)
class Preview:
    """Answer to a preview: nothing was changed. `problems` with an error: it can't be applied as it is."""

    head: str  # give it back as `expect`
    changes: tuple[str, ...]  # one readable line each
    plan: Plan
    problems: tuple[Problem, ...] = ()
    unreachable: Mapping[str, str] = field(
        default_factory=dict
    )  # host -> why its report is missing or old
    order: Order | None = None  # drain: what moves after what


@dataclass(frozen=True)
class Applied:
    """Answer to apply and command."""

    revision: str
    changes: tuple[str, ...]
    problems: tuple[Problem, ...] = ()  # warnings


@dataclass(frozen=True)
class Refusal:
    """Body of every answer that is not 2xx. `code`: invalid (422), moved (409), conflict (409), unknown (404),
    version (409), forbidden (403), not-a-member (403), bad-request (400), busy (503), failed (500)."""

    code: str
    message: str
    hint: str = ""
    problems: tuple[Problem, ...] = ()
    heads: tuple[str, ...] = ()  # not-a-member: the revisions that say so


@dataclass(frozen=True)
class PlanAnswer:
    """GET /v1/plan: for the present head, with fresh reports."""

    revision: str
    plan: Plan
    reports: Mapping[str, HostReport]
    unreachable: Mapping[str, str]


@dataclass(frozen=True)
class VmStatus:
    """GET /v1/vms: wanted and observed side by side."""

    name: str
    set_name: str
    config: str
    uuid: str
    mac: str
    ip: str
    pinned: bool
    wanted_host: str  # "" not placed
    wanted_power: str
    observed_hosts: tuple[str, ...]  # where a domain of it is, running or not
    running_on: tuple[str, ...]
    state: str  # DomainState, "absent", or "unknown" when its host doesn't answer
    vcpus: int
    memory_mib: int
    observed_vcpus: int | None
    observed_memory_mib: int | None
    pending: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True)
class RevisionInfo:
    """GET /v1/history?limit=N&vm=NAME, newest first, and /v1/revision/ID."""

    id: str
    parents: tuple[str, ...]
    author: str
    date: float
    message: str
    merge: bool  # made by XSM from concurrent edits
    changes: tuple[
        str, ...
    ]  # against the first parent (a merge: against the common past), one line each


@dataclass(frozen=True)
class Event:
    """GET /v1/events?follow=1&since=SEQ: one JSON object a line. Bounded ring in memory and journal.

    `seq` counts on the host that is asked; `origin` is the event's number on `host`, where it happened
    (0: the same). Hosts copy each other's events, so that each can tell the whole site's story.
    """

    seq: int
    at: float
    host: str
    kind: str  # "revision", "action", "claim", "member", "drift", "checkout", "daemon", "migration"
    vm: str
    message: str  # "memory 96 MiB => 128 MiB (site file, a1b2c3d by root@domain.com)"
    origin: int = 0


@dataclass(frozen=True)
class Why:
    """GET /v1/why/VM: the story of one VM, each line (what, from where we know)."""

    vm: str
    wanted: tuple[str, ...]
    commits: tuple[RevisionInfo, ...]
    claims: tuple[str, ...]  # the epoch, its claimant, who may have run it before
    observed: tuple[str, ...]
    events: tuple[Event, ...]
    next: tuple[str, ...]  # what is pending or held, and why


@dataclass(frozen=True)
class Invitation:
    """POST /v1/invite {"name": ...}: answer. `token` is good once and until `expires`."""

    token: str
    url: str
    expires: float


@dataclass(frozen=True)
class JoinRequest:
    """POST /v1/join (HTTPS; the only route that needs no client certificate)."""

    token: str
    name: str
    address: str
    url: str
    csr_pem: str
    libvirt_csr_pem: str = ""  # for the certificate that the host gives to libvirt
    witness: bool | None = None  # it will run no VMs; None: an older xsm asks, which doesn't say


@dataclass(frozen=True)
class JoinAnswer:
    ca_pem: str
    certificate_pem: str
    site_id: str
    members: tuple[str, ...]  # their URLs
    libvirt_pem: str = ""


@dataclass(frozen=True)
class CertificateRequest:
    """POST /v1/peer/certificate: a member's certificates are to be renewed."""

    csr_pem: str
    libvirt_csr_pem: str


@dataclass(frozen=True)
class CertificateAnswer:
    certificate_pem: str
    libvirt_pem: str


@dataclass(frozen=True)
class RevocationList:
    """The certificates of hosts that are of the site no more, as members keep it and give it to each other."""

    members_number: int = 0  # of the list of members that it was made by
    made_at: int = 0  # wall clock, seconds; of a later list always higher
    crl_pem: str = ""  # signed by the site's CA; "": nothing is revoked


@dataclass(frozen=True)
class RevocationQuery:
    """POST /v1/peer/revocations: asked of a host that signs."""

    known: RevocationList
    certificates: tuple[str, ...]  # PEM: the asker's own; of one that signs all that it knows
    signs: bool = False  # the asker wants to know all certificates, too


@dataclass(frozen=True)
class RevocationAnswer:
    newest: RevocationList
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True)
class SignerRequest:
    """POST /v1/signer: give the site's CA key to this member."""

    name: str


@dataclass(frozen=True)
class CaKey:
    """POST /v1/peer/ca-key. Never logged, never in a revision."""

    key_pem: str


@dataclass(frozen=True)
class SerfPeer:
    """POST /v1/peer/serf, and its answer: where a member's Serf agent is, and the key that it has."""

    address: str = ""  # ADDRESS:PORT; "": it has none
    number: int = 0  # of the list of members that the key belongs to
    key: str = field(default="", repr=False)  # "": it has none. Never logged, never in a revision


@dataclass(frozen=True)
class Handed:
    """Answer to both: who holds the key now, as far as the host that answers knows."""

    signers: tuple[str, ...]
