"""What each route does: take the request apart, ask `Control`, put the answer together.

Decides which values a request may have. Who may ask is decided before (`access.py`); what the
answer
is, behind (`control.py`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from xsm.api import git_http
from xsm.api.access import GIT_PREFIX, RETURN_PATH
from xsm.api.asking import Ask, json_answer, refused
from xsm.api.types import (
    CaKey,
    CertificateRequest,
    Command,
    Event,
    JoinRequest,
    Proposal,
    Returning,
    RevocationQuery,
    SerfPeer,
    SignerRequest,
)
from xsm.edge.settings import NAME
from xsm.edge.transport import HEADS_HEADER, HEADS_LIMIT, Fetch, Heads, Heard, Registers

HISTORY_DEFAULT, HISTORY_MOST = 50, 10_000
HAVE_LIMIT = 10_000
UPDATES_LIMIT = 100
SEQ_MOST = 2**53

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REVISION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/~^@{}-]{0,199}")
"""Never an option of git's: it doesn't begin with "-"."""

Route = Callable[[Ask], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class InviteRequest:
    """Body of POST /v1/invite. `again`: for a member whose certificate has ended."""

    name: str
    again: bool = False


@dataclass(frozen=True)
class Update:
    """One ref of a push."""

    old: str
    new: str
    ref: str


@dataclass(frozen=True)
class HookRequest:
    """Body of POST /v1/hook/...: what git tells its hooks."""

    updates: tuple[Update, ...]
    environ: dict[str, str] = field(default_factory=dict)


# --- what is known -------------------------------------------------------------------------------


async def get_ca(ask: Ask) -> web.StreamResponse:
    """The CA's certificate, which is no secret; a joining host compares it with its token."""
    path: Path = ask.settings.tls_dir / "ca.pem"
    content = await asyncio.to_thread(path.read_bytes)
    return web.Response(body=content, content_type="application/x-pem-file")


async def get_status(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.status())


async def get_reports(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.reports(ask.flag("fresh")))


async def get_plan(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.plan())


async def get_vms(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.vms())


async def get_history(ask: Ask) -> web.StreamResponse:
    limit = ask.number("limit", HISTORY_DEFAULT, 1, HISTORY_MOST)
    return json_answer(await ask.control.history(limit, ask.query("vm") or None))


async def get_revision(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.revision(_revision(ask.request.match_info["id"])))


async def get_files(ask: Ask) -> web.StreamResponse:
    revision = ask.query("revision")
    return json_answer(await ask.control.files(_revision(revision) if revision else ""))


async def get_why(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.why(ask.request.match_info["vm"]))


def _revision(text: str) -> str:
    if not REVISION.fullmatch(text):
        raise refused(
            400, "bad-request", f"{text[:80]!r} is not a revision", "`xsm history` lists them"
        )
    return text


# --- events --------------------------------------------------------------------------------------


async def get_events(ask: Ask) -> web.StreamResponse:
    """One JSON object a line; an empty line now and then while a followed stream is quiet."""
    events = ask.control.events(ask.number("since", 0, 0, SEQ_MOST), ask.flag("follow"))
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(ask.request)
    stopping = asyncio.ensure_future(ask.stopping.wait())
    try:
        await _stream(ask, events, response, stopping)
    finally:
        stopping.cancel()
    return response


async def _stream(
    ask: Ask,
    events: AsyncIterator[Event],
    response: web.StreamResponse,
    stopping: asyncio.Future[Any],
) -> None:
    following: asyncio.Future[Any] | None = None
    try:
        while not stopping.done():
            following = following or asyncio.ensure_future(_next(events))
            await asyncio.wait(
                {following, stopping},
                timeout=ask.limits.heartbeat_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            line = b"\n"
            if following.done():
                event = following.result()
                following = None
                if event is None:
                    break
                line = msgspec.json.encode(event) + b"\n"
            async with asyncio.timeout(ask.limits.write_s):
                await response.write(line)
        async with asyncio.timeout(ask.limits.write_s):
            await response.write_eof()
    finally:
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)


# --- edits ---------------------------------------------------------------------------------------


async def post_preview(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.preview(await ask.decoded(Proposal), ask.known))


async def post_apply(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.apply(await ask.decoded(Proposal), ask.known))


async def post_preview_command(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.preview_command(await ask.decoded(Command), ask.known))


async def post_command(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.command(await ask.decoded(Command), ask.known))


# --- new hosts -----------------------------------------------------------------------------------


async def post_invite(ask: Ask) -> web.StreamResponse:
    request = await ask.decoded(InviteRequest)
    return json_answer(await ask.control.invite(_host_name(request.name), request.again))


async def post_signer(ask: Ask) -> web.StreamResponse:
    request = await ask.decoded(SignerRequest)
    _host_name(request.name)
    return json_answer(await ask.control.hand_over(request))


def _host_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise refused(
            400,
            "bad-request",
            f"{name[:80]!r} can't be a host's name",
            "letters, digits, '.', '_' and '-', at most 63",
        )
    return name


async def post_join(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.join(await ask.decoded(JoinRequest)))


# --- git's hooks ---------------------------------------------------------------------------------


async def post_pre_receive(ask: Ask) -> web.StreamResponse:
    hook = await _hook(ask)
    for update in hook.updates:
        await ask.control.hook_pre_receive(update.old, update.new, update.ref, hook.environ)
    return web.Response(status=204)


async def post_post_receive(ask: Ask) -> web.StreamResponse:
    hook = await _hook(ask)
    return json_answer(
        [await ask.control.hook_post_receive(u.old, u.new, u.ref) for u in hook.updates]
    )


async def _hook(ask: Ask) -> HookRequest:
    hook = await ask.decoded(HookRequest)
    if len(hook.updates) > UPDATES_LIMIT:
        raise refused(400, "bad-request", f"more than {UPDATES_LIMIT} refs in one push")
    for update in hook.updates:
        _commits([update.old, update.new], 2)
    return hook


# --- peers ---------------------------------------------------------------------------------------


async def post_messages(ask: Ask) -> web.StreamResponse:
    last = await ask.control.receive_messages(ask.known.name, await ask.body())
    return json_answer(Heard(last, signs=ask.settings.ca_key_path.exists()))


async def post_certificate(ask: Ask) -> web.StreamResponse:
    request = await ask.decoded(CertificateRequest)
    return json_answer(await ask.control.certify(ask.known.name, request))


async def post_ca_key(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.take_key(ask.known.name, await ask.decoded(CaKey)))


async def post_revocations(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.revocations(await ask.decoded(RevocationQuery)))


async def post_serf(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.meet_serf(await ask.decoded(SerfPeer)))


async def get_registers(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.registers())


async def post_registers(ask: Ask) -> web.StreamResponse:
    await ask.control.learn_registers(await ask.decoded(Registers))
    return web.Response(status=204)


async def get_own_events(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.own_events(ask.number("since", 0, 0, 2**53)))


async def post_pack(ask: Ask) -> web.StreamResponse:
    written = ask.request.headers.get(HEADS_HEADER, "")
    heads = _commits([head for head in written.split(",") if head], HEADS_LIMIT)
    if not heads:
        raise refused(400, "bad-request", f"the header {HEADS_HEADER} is missing")
    here = await ask.control.receive_pack(ask.known.name, heads, await ask.body())
    return json_answer(Heads(here))


async def post_fetch(ask: Ask) -> web.StreamResponse:
    fetch = await ask.decoded(Fetch)
    want = _commits(fetch.want, HEADS_LIMIT)
    have = _commits(fetch.have, HAVE_LIMIT)
    if not want:
        raise refused(400, "bad-request", "nothing is wanted", "want: at least one commit")
    pack = await ask.control.send_pack(ask.known.name, want, have)
    return web.Response(body=pack, content_type="application/octet-stream")


async def get_heads(ask: Ask) -> web.StreamResponse:
    return json_answer(Heads(await ask.control.heads()))


async def post_return(ask: Ask) -> web.StreamResponse:
    await ask.decoded(Returning)
    return json_answer(await ask.control.take_back(ask.known.name))


async def get_report(ask: Ask) -> web.StreamResponse:
    return json_answer(await ask.control.report())


def _commits(ids: list[str] | tuple[str, ...], most: int) -> tuple[str, ...]:
    if len(ids) > most:
        raise refused(400, "bad-request", f"{len(ids)} commits named, at most {most}")
    for commit in ids:
        if not COMMIT.fullmatch(commit):
            raise refused(400, "bad-request", f"{commit[:80]!r} is not a commit's full id")
    return tuple(ids)


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/v1/ca"): get_ca,
    ("POST", "/v1/join"): post_join,
    ("GET", "/v1/status"): get_status,
    ("GET", "/v1/reports"): get_reports,
    ("GET", "/v1/plan"): get_plan,
    ("GET", "/v1/vms"): get_vms,
    ("GET", "/v1/history"): get_history,
    ("GET", "/v1/revision/{id}"): get_revision,
    ("GET", "/v1/files"): get_files,
    ("GET", "/v1/why/{vm}"): get_why,
    ("GET", "/v1/events"): get_events,
    ("POST", "/v1/preview"): post_preview,
    ("POST", "/v1/apply"): post_apply,
    ("POST", "/v1/preview-command"): post_preview_command,
    ("POST", "/v1/command"): post_command,
    ("POST", "/v1/invite"): post_invite,
    ("POST", "/v1/signer"): post_signer,
    ("POST", "/v1/hook/pre-receive"): post_pre_receive,
    ("POST", "/v1/hook/post-receive"): post_post_receive,
    ("POST", "/v1/peer/messages"): post_messages,
    ("POST", "/v1/peer/pack"): post_pack,
    ("POST", "/v1/peer/fetch"): post_fetch,
    ("POST", "/v1/peer/certificate"): post_certificate,
    ("POST", "/v1/peer/ca-key"): post_ca_key,
    ("POST", "/v1/peer/revocations"): post_revocations,
    ("POST", "/v1/peer/serf"): post_serf,
    ("GET", "/v1/peer/heads"): get_heads,
    ("GET", "/v1/peer/report"): get_report,
    ("POST", RETURN_PATH): post_return,
    ("GET", "/v1/peer/events"): get_own_events,
    ("GET", "/v1/peer/registers"): get_registers,
    ("POST", "/v1/peer/registers"): post_registers,
    ("GET", GIT_PREFIX + "/info/refs"): git_http.serve,
    ("POST", GIT_PREFIX + "/git-upload-pack"): git_http.serve,
    ("POST", GIT_PREFIX + "/git-receive-pack"): git_http.serve,
}
