"""Garbage for every route: values of its own types, bent and broken; and bytes that are no HTTP at all.

Decides what is sent, by Hypothesis. Must not know what the answer should be (`test_garbage.py`).
"""

from __future__ import annotations

import base64
import enum
import gzip
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from tests.attack.doors import Request
from xsm.api.access import RULES, Rule
from xsm.api.routes import HookRequest, InviteRequest
from xsm.api.types import (
    CaKey,
    CertificateRequest,
    Command,
    JoinRequest,
    Proposal,
    SignerRequest,
)
from xsm.edge.transport import Fetch
from xsm.peer import messages

HOSTILE = (
    "",
    " ",
    "\0",
    "a\0b",
    "..",
    "../../../etc/passwd",
    "/etc/passwd",
    "%2e%2e%2f",
    "-rf",
    "--upload-pack=x",
    ".git",
    ".GIT/config",
    "state/site.json",
    "con",
    "\u202e",
    "\ufeff",
    "\U0001f4a9",
    "e\u0301",
    "\x1b[2J",
    "a\r\nX-Evil: 1",
    "${x}",
    "{{x}}",
    "%s%n",
    "'; DROP TABLE vms; --",
    '<!DOCTYPE x [<!ENTITY a "b">]>',
    "A" * 300,
    "A" * 5000,
    "null",
    "true",
    "1e999",
    "HEAD",
    "main",
    "main~1",
    "@{-1}",
    "0" * 40,
    "f" * 40,
    "f" * 64,
    "vm1",
    "vm2",
    "dmz01",
    "dmz09",
    "192.168.5.101",
    "root <root@x>",
    "https://127.0.5.101:1",
    "site.xml",
    "xsm1.e30",
    "xsm1." + "A" * 3000,
    "cold",
    "refs/heads/main",
    "refs/tags/x",
)
"""Words that have broken programs before, and words that mean something in the site under attack."""
NUMBERS = (0, 1, -1, 2**31, 2**53, 2**63, 2**64, 10**30, -(10**30), 0.5, 1e308)
DEPTH = 3000
BOMB = gzip.compress(b"0" * 50_000_000, 9)
"""48 KiB that unpack to 50 MB."""

words = st.sampled_from(HOSTILE) | st.text(max_size=12)
numbers = st.sampled_from(NUMBERS) | st.integers(-3, 5)
scalars = words | numbers | st.none() | st.booleans()
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
SITE = base64.b64encode(b'<XSMConfig><Set name="s"><Owner>r@x</Owner></Set></XSMConfig>').decode()
content = st.sampled_from(["", SITE, SITE, "AAAA", "/w==", "not base64!"])


commits = st.sampled_from(["f" * 40, "0" * 40, "a" * 64, ""]) | words
files = st.dictionaries(
    st.sampled_from(["site.xml", "configs/web.cfg", "site.yaml"]) | words, content, max_size=3
)
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "files": files,
    "old": commits,
    "new": commits,
    "want": st.lists(commits, max_size=3),
    "have": st.lists(commits, max_size=3),
    "base": commits,
    "expect": commits,
    "restart": st.just([]) | st.lists(words, max_size=2),
}
"""Fields that mean something by their name."""


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """JSON that is nearly a value of a type: mostly as it should be, now and then something else."""
    return st.integers(0, 40).flatmap(lambda n: junk if n == 40 else _good(kind))


def _good(kind: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is str:
        return words
    if kind is bool:
        return st.booleans()
    if kind in (int, float):
        return numbers
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from([member.value for member in kind])
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        every = {f.name: NAMED.get(f.name, of_type(hints[f.name])) for f in fields(kind)}
        needed = {
            f.name: every[f.name]
            for f in fields(kind)
            if f.default is MISSING and f.default_factory is MISSING
        }
        whole = st.fixed_dictionaries(
            needed, optional={k: v for k, v in every.items() if k not in needed}
        )
        return st.integers(0, 20).flatmap(
            lambda n: (
                st.fixed_dictionaries({}, optional=every) if n == 20 else whole.flatmap(_with_extra)
            )
        )
    if origin in (tuple, list):
        return st.lists(of_type(arguments[0]), max_size=3)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*[of_type(a) for a in arguments])
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return st.dictionaries(
            words, content if arguments[1] is str else of_type(arguments[1]), max_size=3
        )
    return junk


def _with_extra(value: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    more = st.dictionaries(st.sampled_from(["of_version_2", "__class__", "verb"]), junk, max_size=1)
    return st.one_of(st.just(value), st.just(value), more.map(lambda extra: {**extra, **value}))


def _messages() -> st.SearchStrategy[Any]:
    kinds = [
        st.tuples(st.just(name), of_type(kind)) for name, kind in sorted(messages._KINDS.items())
    ]
    post = st.lists(st.one_of(*kinds, st.tuples(words, junk)), max_size=4)
    return st.builds(
        lambda version, sent: {"version": version, "messages": sent},
        st.one_of(*[st.just(messages.PROTOCOL_VERSION)] * 5, numbers),
        post,
    )


registers = st.dictionaries(
    words,
    st.fixed_dictionaries(
        {},
        optional={
            n: scalars | st.lists(words, max_size=2)
            for n in ("voted", "claimant", "claimants", "bar", "held")
        },
    )
    | junk,
    max_size=3,
)
BODIES: dict[str, st.SearchStrategy[Any]] = {
    "/v1/join": of_type(JoinRequest),
    "/v1/preview": of_type(Proposal),
    "/v1/apply": of_type(Proposal),
    "/v1/preview-command": of_type(Command),
    "/v1/command": of_type(Command),
    "/v1/invite": of_type(InviteRequest),
    "/v1/signer": of_type(SignerRequest),
    "/v1/peer/certificate": of_type(CertificateRequest),
    "/v1/peer/ca-key": of_type(CaKey),
    "/v1/hook/pre-receive": of_type(HookRequest),
    "/v1/hook/post-receive": of_type(HookRequest),
    "/v1/peer/messages": _messages(),
    "/v1/peer/fetch": of_type(Fetch),
    "/v1/peer/registers": registers,
}


def _encoded(value: Any) -> st.SearchStrategy[bytes]:
    text = json.dumps(value, allow_nan=True)
    raw = text.encode("utf-8", "surrogatepass")
    doubled = b'{"vm":"vm1",' * 2 + raw[1:] if raw.startswith(b"{") and len(raw) > 2 else raw
    return st.sampled_from(
        [raw] * 40
        + [
            raw[: len(raw) // 2],
            text.encode("utf-16"),
            b"\xef\xbb\xbf" + raw,
            raw + b"\0",
            raw * 2,
            doubled,
        ]
        + [b"[" * DEPTH + raw + b"]" * DEPTH, raw.replace(b'"', b"'"), b"\xff" + raw, b""]
    )


def _pkt(line: bytes) -> bytes:
    return b"%04x" % (len(line) + 4) + line


GIT_SAYS = (
    b"want " + b"f" * 40 + b"\n",
    b"done\n",
    b"command=ls-refs\n",
    b"command=fetch",
    b"have " + b"0" * 40,
    b"0" * 40 + b" " + b"f" * 40 + b" refs/heads/main\0 report-status",
    b"shallow x",
)
git_lines = st.lists(
    st.sampled_from(
        [
            b"0000",
            b"0001",
            b"0002",
            b"ffff",
            b"0003",
            b"zzzz",
            b"",
            b"PACK\0\0\0\2",
            *map(_pkt, GIT_SAYS),
        ]
    )
    | st.binary(max_size=8),
    max_size=6,
).map(b"".join)


def bodies(rule: Rule) -> st.SearchStrategy[bytes]:
    if rule.method != "POST":
        return st.one_of(*[st.just(b"")] * 9, st.binary(max_size=20))
    if rule.path.startswith("/git/"):
        return git_lines | st.binary(max_size=30)
    if rule.path not in BODIES:
        return st.binary(max_size=40).map(lambda tail: b"PACK\0\0\0\2" + tail) | st.binary(
            max_size=40
        )
    return BODIES[rule.path].flatmap(_encoded) | st.binary(max_size=30)


def _escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


HEADERS = st.sampled_from(
    [
        ("Content-Type", "text/html"),
        ("Content-Type", "application/x-git-receive-pack-request"),
        ("Content-Type", "application/x-git-upload-pack-request"),
        ("Git-Protocol", "version=2"),
        ("Git-Protocol", "version=9:evil"),
        ("X-XSM-Version", "999"),
        ("X-XSM-Version", "x"),
        ("X-XSM-Heads", "f" * 40),
        ("X-XSM-Heads", ",,,"),
        ("X-XSM-Heads", "HEAD"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "gzip, br"),
        ("Expect", "x"),
        ("Cookie", "a=" + "b" * 4000),
        ("Range", "bytes=0-"),
        ("If-Match", "*"),
        ("X-\u00e9", "\u00e9"),
        ("Content-Encoding", "identity"),
        ("Content-Encoding", "x"),
        ("Origin", "https://evil"),
        ("Upgrade", "websocket"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Authorization", "Basic Og=="),
        ("X-HTTP-Method-Override", "POST"),
    ]
)
NEEDED = {
    "/v1/peer/pack": (("X-XSM-Heads", "f" * 40),),
    "/git/site.git/git-upload-pack": (("Content-Type", "application/x-git-upload-pack-request"),),
    "/git/site.git/git-receive-pack": (("Content-Type", "application/x-git-receive-pack-request"),),
}
"""Without these a request gets no further than its form."""
QUERIES = ("limit", "vm", "since", "fresh", "revision", "service", "x")


@st.composite
def requests(draw: st.DrawFn, rule: Rule) -> Request:
    """A request of one route, whole in its form. Never one that is answered without end."""
    path = rule.path.replace("{id}", _escaped(draw(words)) or "x").replace(
        "{vm}", _escaped(draw(words)) or "x"
    )
    names = QUERIES if rule.path != "/v1/events" else ("since", "x")
    query = draw(st.lists(st.tuples(st.sampled_from(names), scalars.map(str)), max_size=3))
    if rule.path.endswith("/info/refs"):
        query += draw(
            st.lists(
                st.sampled_from([("service", "git-upload-pack"), ("service", "git-receive-pack")]),
                max_size=2,
            )
        )
    target = path + ("?" + "&".join(f"{k}={_escaped(v)}" for k, v in query) if query else "")
    headers = tuple(draw(st.lists(HEADERS, max_size=2)))
    if draw(st.integers(0, 3)):
        headers += NEEDED.get(rule.path, ())
    body = draw(bodies(rule))
    packed = rule.method == "POST" and draw(st.integers(0, 60)) == 0
    if packed:
        headers, body = (
            (("Content-Encoding", "gzip"),),
            draw(st.sampled_from([BOMB, BOMB[:500], gzip.compress(body)])),
        )
    return Request(rule.method, target, headers, body)


def wrong_requests() -> st.SearchStrategy[Request]:
    """Whole HTTP for what is not there, or can't be asked like that."""
    methods = [
        "GET",
        "POST",
        "PUT",
        "DELETE",
        "PATCH",
        "HEAD",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "PROPFIND",
        "get",
    ]
    paths = [rule.path for rule in RULES] + [
        "/",
        "/v1",
        "/v2/status",
        "//v1//status",
        "/v1/status/",
        "/v1/../v1/status",
        "/git/../data/tls/ca.key",
        "*",
        "/git/site.git/../tls/ca.key",
        "/git/site.git/%2e%2e/tls/ca.key",
        "/git/site.git/config",
        "/v1/status%00",
        "/git/site.git/objects/info/packs",
        "/v1/%73tatus",
        "/v1/status;x=1",
        "http://evil/v1/status",
        "/" + "a" * 9000,
    ]
    return st.builds(
        Request,
        st.sampled_from(methods),
        st.sampled_from(paths),
        st.lists(HEADERS, max_size=3).map(tuple),
        st.just(b""),
    )


LINE = b"POST /v1/apply HTTP/1.1\r\nHost: x\r\n"
BROKEN = (
    b"",
    b"\r\n" * 50,
    b"\0" * 100,
    b"GET\r\n\r\n",
    b"GET /v1/status\r\n\r\n",
    b"GET /v1/status HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"SSH-2.0-x\r\n",
    b"GET /v1/status HTTP/1.1\r\n\r\n",
    b"GET /v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 2000 + b"\r\n",
    b"GET / HTTP/1.1\r\nX-A: " + b"b" * 70_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nX A: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n X-A: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nX-A: b\0c\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\n\r\n",
    LINE + b"Content-Length: -1\r\n\r\n",
    LINE + b"Content-Length: 1e3\r\n\r\n",
    LINE + b"Content-Length: +5\r\n\r\nhello",
    LINE + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    LINE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    LINE + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    LINE + b"Content-Length: 500\r\n\r\n{}",
    LINE + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    LINE + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}",
    LINE + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx",
    LINE + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"x" * 20_000,
    LINE + b"Transfer-Encoding: x, chunked, chunked\r\n\r\n",
    LINE + b"Transfer-Encoding: identity\r\n\r\n{}",
    LINE + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    LINE + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
    LINE + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
    b"GET /v1/status HTTP/1.1\r\n\r\n" * 40,
)


def broken() -> st.SearchStrategy[bytes]:
    """Bytes that are no HTTP, or lie about themselves."""

    def cut(raw: bytes, at: int, instead: bytes) -> bytes:
        at = at % (len(raw) + 1)
        return raw[:at] + instead + raw[at + 1 :]

    bent = st.builds(cut, st.sampled_from(BROKEN), st.integers(0, 10_000), st.binary(max_size=4))
    return st.sampled_from(BROKEN) | bent | st.binary(max_size=200)
