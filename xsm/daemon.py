"""xsmd: one process a host. Events in, effects out, around the peer's state machine.

Decides nothing about VMs or revisions: it feeds `peer.machine.Peer` and carries out what it says, in order. Stopping or
killing it touches no VM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from xsm.api import fencing, membership
from xsm.api.admission import Admission
from xsm.api.answers import Answers
from xsm.api.hinting import Hinting
from xsm.api.server import ApiServer, StartRefused
from xsm.edge import certificate, hypervisors, log, opening
from xsm.edge.checkout import Checkout, Edited
from xsm.edge.event_log import EventLog
from xsm.edge.notify import Notify
from xsm.edge.observer import Observer
from xsm.edge.peers import Peers
from xsm.edge.register_file import RegisterDamaged, RegisterFile, RegisterInUse
from xsm.edge.repository import Repository, RepositoryError
from xsm.edge.revisions import Busy, Moved, Revisions
from xsm.edge.seeds import Seeds
from xsm.edge.settings import Settings, load_settings
from xsm.edge.tls import bound_buffers, client_context
from xsm.edge.transport import PeerClient
from xsm.edge.watch import Watch
from xsm.peer import register
from xsm.peer.events import (
    Abort,
    Deliver,
    Effect,
    Event,
    Fetch,
    Head,
    HeadChanged,
    Log,
    Observe,
    Observed,
    Perform,
    Persist,
    Send,
    Tick,
)
from xsm.peer.machine import TICK_S, Peer
from xsm.peer.posts import messages_for
from xsm.peer.receiving import Limits
from xsm.plan.observed import HostReport
from xsm.site.problems import Invalid, Problem
from xsm.site.state import Member

COLLECT_GARBAGE_AFTER = 10_000
"""New objects. With Python's 700 planning a large site takes twice as long."""
COLLECT_EVERY_S = 3600.0
"""How often the repository is tidied (git gc, which does nothing while there is little to do)."""
FOLLOW_AFTER_S = 0.6
"""From a new head until the checkout follows: git takes its time for that, in which the head reaches the others."""
CHECKOUT_RETRY_S = 1.0
"""How often a checkout that stayed behind is tried again; saves and new heads bring it along at once."""
CHECKOUT_LOOK_S = 5.0
"""How often a checkout is looked at that nothing is wrong with: its folder may have been moved away."""
EVENTS_LIMIT = 10_000
"""Events that may wait for the machine. More means that it can't keep up: better to end than to act on old news."""


class Fatal(Exception):
    """The daemon can't go on safely. VMs run on; systemd starts it again."""


class Daemon:
    def __init__(self, settings: Settings, revisions: Revisions, votes: RegisterFile) -> None:
        self.settings = settings
        self.clock = time.monotonic
        self.revisions = revisions
        self._votes = votes
        entries = {vm: register.from_entry(entry) for vm, entry in votes.load().items()}
        limits = Limits(settings.migrations_out, settings.migrations_in)
        self.peer = Peer(settings.name, entries, self.clock(), limits)
        self.events = EventLog(settings.events_path, settings.name)
        context = client_context(certificate.peer_files(settings.tls_dir))
        self.client = PeerClient(context, source=settings.source_host)
        self.peers = Peers(
            self.client,
            self.revisions,
            self.members,
            self.feed,
            self.events,
            lambda head: self.took_head(head, local=False),
        )
        self.observer = Observer(
            settings.name,
            lambda changed: hypervisors.connect(settings, changed),
            self.clock,
            time.time,
            converge_limit_s=settings.converge_limit_s,
            seeds=None if settings.is_witness else Seeds(settings.seeds_dir),
        )
        self.checkout_problems: tuple[Problem, ...] = ()
        self.checkout_revision = ""
        self.checkout_behind = ""
        self._log = logging.getLogger("xsmd")
        self._queue: asyncio.Queue[tuple[Event, asyncio.Future[None] | None]] = asyncio.Queue(
            EVENTS_LIMIT
        )
        self._stepped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.hinting = Hinting(self)
        self.answers = Answers(self)
        self._admission = Admission(self)
        self._stopping = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._checkout: Checkout | None = None
        self._head_came = asyncio.Event()

    # -- what others ask of it -----------------------------------------------------

    def members(self) -> Mapping[str, Member]:
        """The site's members, by name; before the first revision those that the join told of."""
        head = self.revisions.head
        return head.document.state.members if head and head.document else {}

    def feed(self, event: Event) -> None:
        """Give the machine an event. It is taken in order, soon."""
        self._enqueue(event, None)

    async def take(self, event: Event) -> None:
        """Give the machine an event; returns when its effects are carried out, what had to be on disk included."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._enqueue(event, done)
        await done

    def _enqueue(self, event: Event, done: asyncio.Future[None] | None) -> None:
        try:
            self._queue.put_nowait((event, done))
        except asyncio.QueueFull:
            raise Fatal(f"{EVENTS_LIMIT} events wait for the machine") from None

    def took_head(self, head: Head, local: bool, taken: Edited | None = None) -> None:
        """The repository shows a new head, however it came: act on it, and bring the checkout along.

        `taken`: the save in the checkout that became part of it.
        """
        self._admission.head_changed()
        self.hinting.head_changed()
        self.answers.revoking.head_changed()
        self._remember_members()
        self.feed(HeadChanged(head, local))
        if taken is not None:
            self.start(self._follow(taken))
        else:
            self._head_came.set()

    def _remember_members(self) -> None:
        try:
            opening.remember(self.settings, self.members())
        except OSError as error:
            self._log.warning("%s can't be written: %s", self.settings.members_path, error)

    async def stepped(self) -> None:
        """Wait until the machine has taken another event."""
        self._stepped.clear()
        await self._stepped.wait()

    # -- life -----------------------------------------------------

    async def run(self) -> None:
        """Run until told to stop (SIGTERM, SIGINT) or until it can't go on safely (raises `Fatal`)."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stopping.set)
        notifier = Notify(os.environ)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.events.close)
            stack.callback(self._votes.close)
            stack.callback(self.revisions.close)
            stack.callback(self.observer.close)
            stack.push_async_callback(self.client.close)
            stack.push_async_callback(self.peers.close)
            stack.push_async_callback(self.hinting.close)
            stack.push_async_callback(self._end_tasks)
            head = self.revisions.head
            assert head is not None, "the history is started before the daemon"
            site_id = certificate.site_id(certificate.peer_files(self.settings.tls_dir))
            if head.document and head.document.state.site_id != site_id:
                raise Fatal(
                    f"{self.settings.repository_dir} is of the site {head.document.state.site_id}, "
                    f"this host's certificate of {site_id}"
                )
            server = ApiServer(self.settings, self.answers, admits=self._admission.admits)
            await stack.enter_async_context(server)
            self.took_head(head, local=False)
            self.start(self._step_forever())
            self.start(self.observer.run(self._looked))
            self.start(self._tick(notifier))
            self.start(self._keep_checkout())
            self.start(self._collect())
            self.start(self.answers.renewing.keep(server.reload_certificate))
            self.start(self.answers.revoking.keep())
            self.start(membership.end_changes(self, self.answers.hosts.end_change))
            self.start(self.hinting.run())
            self.start(fencing.watch(self, self.answers.hosts.fence_unasked))
            self.start(fencing.come_back(self))
            notifier.ready(f"revision {head.revision[:10]}")
            self.tell("daemon", "", f"started on revision {head.revision[:10]}")
            stopping = self.start(self._wait_for_stop())
            await asyncio.wait({stopping, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            notifier.stopping()
            if self._failed.done():
                self.tell("daemon", "", "ends after a failure; the VMs run on")
                self._failed.result()
            self.tell("daemon", "", "stopped; the VMs run on")

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have it done beside everything else; a failure ends the daemon."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that fails ends the daemon: what it should have done is not done, and nobody would know."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if not isinstance(error, Fatal):
            self._log.error("a task failed, which can't be", exc_info=error)
            error = Fatal(f"a task failed: {error or type(error).__name__}")
        if not self._failed.done():
            self._failed.set_exception(error)

    # -- the loop -----------------------------------------------------

    async def _step_forever(self) -> None:
        while True:
            event, done = await self._queue.get()
            await self._carry_out(self.peer.step(event, self.clock()))
            if done is not None and not done.done():
                done.set_result(None)
            self._stepped.set()

    async def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(registers):
                    await self._persist({vm: register.to_entry(r) for vm, r in registers.items()})
                case Deliver(members):
                    self.peers.deliver(members)
                    self.hinting.announce()
                case Fetch(member, heads):
                    self.peers.fetch(member, heads)
                case Observe(needs):
                    self.observer.request(needs)
                case Perform():
                    self.start(self._perform(effect))
                case Abort(action, why):
                    self.observer.abort(action, why)
                case Log(kind, vm, message, fields):
                    self.tell(kind, vm, message, fields)
                case Send():
                    continue  # gathered below: one post carries all that goes to one member
        for member, messages in messages_for(effects).items():
            self.peers.post(member, messages)

    async def _persist(self, entries: Mapping[str, dict[str, object]]) -> None:
        """Votes must be on disk before anybody hears of them; a daemon that can't write them must not go on."""
        try:
            await asyncio.to_thread(self._votes.write, entries)
        except (OSError, RegisterDamaged) as error:
            raise Fatal(f"votes can't be written to {self.settings.votes_path}: {error}") from error

    async def _perform(self, effect: Perform) -> None:
        self.feed(await self.observer.perform(effect))

    def _looked(self, report: HostReport, started_at: float) -> None:
        self.feed(Observed(report, started_at))

    async def _tick(self, notifier: Notify) -> None:
        while True:
            self.feed(Tick())
            notifier.watchdog()
            await asyncio.sleep(TICK_S)

    async def _collect(self) -> None:
        while True:
            await asyncio.sleep(COLLECT_EVERY_S)
            try:
                await self.revisions.call(lambda repository: repository.collect())
            except (RepositoryError, Busy) as error:
                self._log.warning("the repository was not tidied: %s", error)

    def tell(
        self, kind: str, vm: str, message: str, fields: Mapping[str, str] | None = None
    ) -> None:
        """Note an event, for people: `api.types.Event`."""
        more = "".join(
            f" ({key}: {value})" for key, value in sorted((fields or {}).items()) if value
        )
        self.events.add(kind, vm, message + more, time.time())
        self._log.info("%s", message, extra={"kind": kind, "vm": vm, **(fields or {})})

    # -- the checkout -----------------------------------------------------

    async def _keep_checkout(self) -> None:
        """Apply what people save in the checkout; an invalid save changes nothing and shows in `xsm status`."""
        saved = asyncio.Event()
        wake = asyncio.get_running_loop().call_soon_threadsafe
        self._checkout = await self.revisions.call(
            lambda r: Checkout(self.settings.checkout_dir, r)
        )
        await self._follow()
        self.start(self._follow_heads())
        watching, waits = None, False
        try:
            while True:
                if watching is None or not watching.intact:
                    watching = self._watch_again(watching, lambda: wake(saved.set))
                    if watching is not None:
                        saved.set()  # what was saved before
                try:
                    fine = watching is not None and not (waits or self.checkout_behind)
                    async with asyncio.timeout(CHECKOUT_LOOK_S if fine else CHECKOUT_RETRY_S):
                        await saved.wait()
                except TimeoutError:
                    # What keeps it behind may end without a save: a rebase, another branch. A missing one is made.
                    if waits or self.checkout_behind or watching is None:
                        await self._follow()
                        if waits or not self.checkout_behind:
                            saved.set()  # what kept it behind may have hidden a save
                    continue
                saved.clear()
                waits = not await self._apply_save()
        finally:
            if watching is not None:
                watching.stop()

    def _watch_again(self, old: Watch | None, on_save: Callable[[], object]) -> Watch | None:
        """Watch the folder that has the checkout's name now; None where there is none to be watched yet."""
        if old is not None:
            old.stop()
        try:
            return Watch(self.settings.checkout_dir, on_save)
        except OSError as error:
            why = f"saves in it are not seen: {error}"
            problem = Problem(str(self.settings.checkout_dir), 0, why)
            if self.checkout_problems != (problem,):
                self._checkout_trouble(problem)
            return None

    async def _follow_heads(self) -> None:
        while True:
            await self._head_came.wait()
            # Heads that come meanwhile count, too: the last one is what the checkout goes to.
            await asyncio.sleep(FOLLOW_AFTER_S)
            self._head_came.clear()
            await self._follow()

    async def _apply_save(self) -> bool:
        """False when something else than what was saved stood in its way, so that it is to be tried again."""
        checkout = self._checkout
        assert checkout is not None
        taken, tried, before = None, True, self.checkout_problems
        try:
            edited = await self.revisions.call(lambda _: checkout.edited())
            if edited is None:
                self.checkout_problems = ()
            else:
                self.checkout_problems = await self.answers.apply_save(edited)
                taken = None if self.checkout_problems else edited
        except (RepositoryError, Busy, Moved, OSError) as error:
            self.checkout_problems = (Problem(str(self.settings.checkout_dir), 0, str(error)),)
            tried = False
        for problem in self.checkout_problems if tried or self.checkout_problems != before else ():
            self.tell("checkout", "", f"a save was not applied: {problem}")
        # Also where nothing was to apply: an edit that kept the checkout behind may have been put back.
        await self._follow(taken)
        return tried

    def _checkout_trouble(self, problem: Problem) -> None:
        self.checkout_problems = (problem,)
        self.tell("checkout", "", str(problem))

    async def _follow(self, taken: Edited | None = None) -> None:
        """Bring the checkout to the head, where nobody is editing it; else note why it stays behind."""
        checkout = self._checkout
        if checkout is None:
            return

        def job(_: Repository) -> tuple[str, str]:
            head = self.revisions.head  # the present one: another may have come while this waited
            if head is None:
                return "", ""
            try:
                checkout.follow(head.revision, taken)
            except (RepositoryError, OSError) as error:
                return self.checkout_revision, str(error)
            return head.revision, ""

        try:
            revision, why = await self.revisions.call(job)
        except Busy as error:
            revision, why = self.checkout_revision, str(error)
        before, self.checkout_behind = self.checkout_behind, why
        self.checkout_revision = revision
        if why and why != before:
            self.tell("checkout", "", why)
        elif before and not why:
            self.tell("checkout", "", f"the checkout is on {revision[:10]} again")


async def open_daemon(settings: Settings) -> Daemon:
    """Open what the daemon needs on this host. Raises `Fatal` with a sentence for people."""
    try:
        revisions, votes = await opening.open_pieces(settings)
        return Daemon(settings, revisions, votes)
    except (
        opening.DamagedRepository,
        RepositoryError,
        RegisterDamaged,
        RegisterInUse,
        certificate.CertificateRefused,
        ValueError,
        OSError,
    ) as error:
        raise Fatal(str(error)) from error


async def _serve(settings: Settings) -> None:
    daemon = await open_daemon(settings)
    await daemon.run()


def main(argv: list[str] | None = None) -> int:
    """The command `xsmd`. Exit code 0: stopped as asked; 1: could not go on; 2: wrong settings or usage."""
    parser = argparse.ArgumentParser(
        prog="xsmd", description="XSM's daemon; runs on every host of a site."
    )
    parser.add_argument(
        "--config", help="settings file (default: $XSM_CONFIG, else /etc/xsm/xsmd.toml)"
    )
    options = parser.parse_args(argv)
    try:
        settings = load_settings(options.config)
    except Invalid as invalid:
        print(invalid, file=sys.stderr)
        return 2
    log.set_up(settings.log_format, settings.log_level, os.environ)
    gc.set_threshold(COLLECT_GARBAGE_AFTER)
    bound_buffers()
    code = 0
    try:
        asyncio.run(_serve(settings))
    except (Fatal, StartRefused) as error:
        print(f"xsmd: {error}", file=sys.stderr)
        code = 1
    _leave_hanging_threads(code)
    return code


def _leave_hanging_threads(code: int) -> None:
    """End here and now where a call into libvirt hangs: Python would wait for its thread."""
    if any(not t.daemon and t is not threading.main_thread() for t in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
