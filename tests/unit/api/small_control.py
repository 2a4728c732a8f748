"""A small real `Control` for the server's tests: a host that remembers what it was asked."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping

from xsm.api.control import Caller, Refused
from xsm.api.types import (
    Applied,
    CaKey,
    CertificateAnswer,
    CertificateRequest,
    Command,
    Event,
    Handed,
    Invitation,
    JoinAnswer,
    JoinRequest,
    PlanAnswer,
    Preview,
    Proposal,
    Refusal,
    RevisionInfo,
    RevocationAnswer,
    RevocationQuery,
    SerfPeer,
    SignerRequest,
    Status,
    VmStatus,
    Why,
)
from xsm.edge.transport import Registers
from xsm.plan.actions import Plan
from xsm.plan.observed import HostReport
from xsm.site.problems import Invalid, Problem

HEAD = "a" * 40


class SmallControl:
    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.fail: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.news = asyncio.Event()
        self.log: list[Event] = []
        self.applied = 0

    def _note(self, *what: object) -> None:
        self.asked.append(what)
        if self.fail is not None:
            raise self.fail

    def tell(self, message: str) -> None:
        self.log.append(Event(len(self.log) + 1, 0.0, "dmz01", "daemon", "", message))
        self.news.set()
        self.news = asyncio.Event()

    async def status(self) -> Status:
        self._note("status")
        await self.go_on.wait()
        return Status(
            host="dmz01", site_id="s", version="0", revision=HEAD, heads=(HEAD,), subject="",
            author="", date=0.0, members=(), majority=True, conflicts=(), frozen="", checkout="",
            checkout_problems=(), converged=True, pending=(), held=(),
        )  # fmt: skip

    async def report(self) -> HostReport:
        self._note("report")
        return HostReport("dmz01", 1.5, HEAD)

    async def reports(self, fresh: bool) -> Mapping[str, HostReport]:
        self._note("reports", fresh)
        return {"dmz01": HostReport("dmz01", 1.5, HEAD)}

    async def plan(self) -> PlanAnswer:
        self._note("plan")
        return PlanAnswer(HEAD, Plan(), {}, {})

    async def preview(self, proposal: Proposal, caller: Caller) -> Preview:
        self._note("preview", proposal, caller)
        return Preview(HEAD, (), Plan())

    async def apply(self, proposal: Proposal, caller: Caller) -> Applied:
        self._note("apply", proposal, caller)
        await self.go_on.wait()
        self.applied += 1
        return Applied(HEAD, ("vm1: MEM 96 => 128",))

    async def preview_command(self, command: Command, caller: Caller) -> Preview:
        self._note("preview_command", command, caller)
        return Preview(HEAD, (), Plan())

    async def command(self, command: Command, caller: Caller) -> Applied:
        self._note("command", command, caller)
        return Applied(HEAD, ())

    async def vms(self) -> tuple[VmStatus, ...]:
        self._note("vms")
        return ()

    async def history(self, limit: int, vm: str | None) -> tuple[RevisionInfo, ...]:
        self._note("history", limit, vm)
        return ()

    async def revision(self, revision: str) -> RevisionInfo:
        self._note("revision", revision)
        return RevisionInfo(HEAD, (), "", 0.0, "", False, ())

    async def why(self, vm: str) -> Why:
        self._note("why", vm)
        raise Refused(404, Refusal("unknown", f"the site has no VM {vm!r}", "it has: vm1"))

    async def files(self, revision: str) -> Mapping[str, str]:
        self._note("files", revision)
        return {"site.xml": base64.b64encode(b"<XSMConfig/>").decode()}

    async def events(self, since: int, follow: bool) -> AsyncIterator[Event]:
        seq = since
        while True:
            news = self.news
            for event in self.log[seq:]:
                seq = event.seq
                yield event
            if not follow:
                return
            await news.wait()

    async def invite(self, name: str, again: bool = False) -> Invitation:
        self._note("invite", name)
        return Invitation("xsm1.x", "https://127.0.0.1:1", 0.0)

    async def join(self, request: JoinRequest) -> JoinAnswer:
        self._note("join", request)
        return JoinAnswer("", "", "s", ())

    async def certify(self, name: str, request: CertificateRequest) -> CertificateAnswer:
        self._note("certify", name, request)
        return CertificateAnswer("", "")

    async def hand_over(self, request: SignerRequest) -> Handed:
        self._note("hand_over", request)
        return Handed(("dmz01", request.name))

    async def revocations(self, query: RevocationQuery) -> RevocationAnswer:
        self._note("revocations", query)
        return RevocationAnswer(query.known)

    async def meet_serf(self, theirs: SerfPeer) -> SerfPeer:
        self._note("meet_serf", theirs)
        return SerfPeer("192.168.5.101:8702", 3, "secret")

    async def take_key(self, sender: str, key: CaKey) -> Handed:
        self._note("take_key", sender, key)
        return Handed(("dmz01",))

    async def hook_pre_receive(
        self, old: str, new: str, ref: str, environ: Mapping[str, str]
    ) -> None:
        self._note("pre-receive", old, new, ref, dict(environ))
        if ref != "refs/heads/main":
            raise Refused(409, Refusal("conflict", f"{ref} can't be pushed", "push to main"))

    async def hook_post_receive(self, old: str, new: str, ref: str) -> Applied:
        self._note("post-receive", old, new, ref)
        return Applied(new, ("vm1: MEM 96 => 128",))

    async def registers(self) -> Registers:
        return {"vm1": {"voted": 3}}

    async def learn_registers(self, registers: Registers) -> None:
        self._note("registers", registers)

    async def own_events(self, since: int) -> tuple[Event, ...]:
        return tuple(
            e for e in (Event(7, 1.0, "dmz01", "daemon", "", "started", 7),) if e.seq > since
        )

    async def receive_messages(self, sender: str, body: bytes) -> int:
        self._note("messages", sender, body)
        await self.go_on.wait()
        return 7

    async def receive_pack(
        self, sender: str, heads: tuple[str, ...], pack: bytes
    ) -> tuple[str, ...]:
        self._note("pack", sender, heads, pack)
        return (*heads, HEAD)

    async def send_pack(self, sender: str, want: tuple[str, ...], have: tuple[str, ...]) -> bytes:
        self._note("fetch", sender, want, have)
        return b"PACK" + want[0].encode()

    async def heads(self) -> tuple[str, ...]:
        self._note("heads")
        return (HEAD,)


def invalid_site() -> Invalid:
    return Invalid([Problem("site.xml", 7, "MEM must be a number", "96")])
