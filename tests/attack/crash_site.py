"""A site whose first host's xsmd is killed again and again, and what has to be so after each time.

Decides what a crash may not do: lose an edit that was acknowledged, take a vote back, touch a VM that no edit asked
for, leave a lock or a half-made checkout. Must not know at which call the daemon was killed.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import libvirt

from tests.attack.tracing import Traced, Victims
from tests.site.running_site import Site, site_text, vm_entry
from xsm.api.types import Applied, Proposal, Status
from xsm.cli.client import Client, Failure
from xsm.demo.stage import BIN, DemoFailed, wait_for
from xsm.edge import journal

VICTIM, OTHER, THIRD = HOSTS = ("dmz01", "dmz02", "dmz03")
STILL = {"s1": VICTIM, "s2": OTHER, "s3": THIRD}
"""VMs that no edit restarts or moves."""
RECOVERY_LIMIT_S = 45.0
WATCH_EVERY_S = 0.1
LOG_CHARS = 3_000
TEMPORARY = (".xsm-", ".votes", "incoming-", "tmp_", "fast_import_crash", "gc.pid")
"""What xsmd and git write beside the file that is meant."""


class Broken(Exception):
    """Something that a crash may not do."""


class CrashSite:
    """The site, with its victim traced."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.traced: Traced | None = None
        self.number = 0  # of the times that the victim was started under the eyes of strace
        self.said = ""  # by a command that failed
        self.memory_mib = 64  # of s1; edits change it
        self.vms: dict[str, str] = {}  # further VMs, and where they belong
        self._votes: dict[str, tuple[int, int]] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._twice: list[str] = []
        self._watching = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def begin(self) -> None:
        """The site as every situation finds it; the victim is not traced yet."""
        self.apply(OTHER)
        self.settle()
        self._watcher.start()

    def end(self) -> None:
        self._watching.set()
        self._watcher.join(RECOVERY_LIMIT_S)
        if self.traced is not None:
            self.traced.kill()

    # -- the victim -----------------------------------------------------

    @property
    def folder(self) -> Path:
        return self.site.stage.hosts[VICTIM].folder

    @property
    def checkout(self) -> Path:
        return self.site.stage.hosts[VICTIM].checkout

    def start_victim(self, kill_at: int = 0, victims: Victims = Victims.ALL) -> Traced:
        """Under strace; counts nothing before it is armed."""
        host = self.site.stage.hosts[VICTIM]
        counted = [self.folder / "data", host.checkout]
        command = [str(BIN / "python"), "-m", "xsm.daemon", "--config", str(host.config)]
        log = self.folder / "xsmd.log"
        self.traced = Traced(command, counted, log, kill_at, victims)
        return self.traced

    def start_again(self, kill_at: int, victims: Victims) -> Traced:
        """kill -9 at no call in particular, and `start_victim`."""
        self.stop_victim()
        return self.start_victim(kill_at, victims)

    def stop_victim(self) -> None:
        """kill -9, at no call in particular."""
        if self.traced is not None:
            self.traced.kill()
            self.traced = None

    def status(self, host: str = VICTIM) -> Status | None:
        """None where nobody answers."""
        try:
            return self.client(host).status()
        except Failure:
            return None

    def client(self, host: str) -> Client:
        return Client(str(self.site.stage.hosts[host].folder / "xsmd.sock"), 20.0)

    def wait_up(self) -> None:
        """Until the victim answers and its checkout is where it should be, or until it is killed."""

        def up() -> bool:
            assert self.traced is not None
            if self.traced.killed.is_set():
                return True
            if self.traced.ended.is_set():
                raise Broken(f"xsmd ended: {self.log()}")
            status = self.status()
            return status is not None and status.checkout_revision == status.revision

        self.wait("the victim is up", up)

    def log(self) -> str:
        return (self.folder / "xsmd.log").read_text(errors="replace")[-LOG_CHARS:]

    def wait(self, what: str, condition: object, limit_s: float = RECOVERY_LIMIT_S) -> None:
        """Raises `Broken` with what all hosts say when it isn't so within the limit."""
        try:
            wait_for(what, condition, limit_s)  # type: ignore[arg-type]
        except DemoFailed as failed:
            raise Broken(f"{failed}; {self.said}; {self._say()}\n{self.log()}") from failed

    def _say(self) -> str:
        said = []
        for host in HOSTS:
            status = self.status(host)
            if status is None:
                said.append(f"{host}: no answer")
                continue
            reach = ",".join(f"{m.name}={m.reach}" for m in status.members)
            said.append(
                f"{host}: {status.revision[:10]} ({reach}) pending {list(status.pending)} held {list(status.held)} "
                f"checkout {status.checkout_behind or status.checkout_problems}"
            )
        return "; ".join(said)

    # -- edits -----------------------------------------------------

    def text(self) -> str:
        """The site file as it should be."""
        entries = [
            vm_entry(name, host, self.memory_mib if name == "s1" else 64)
            for name, host in [*STILL.items(), *sorted(self.vms.items())]
        ]
        return site_text(*entries)

    def apply(self, host: str) -> bool:
        """Apply `text` on a host; whether it was acknowledged."""
        content = base64.b64encode(self.text().encode()).decode()
        try:
            answer = self.client(host).apply(Proposal({"site.xml": content}, message="An edit"))
        except Failure as failure:
            self.said = str(failure)
            return False
        return isinstance(answer, Applied)

    def shown(self, host: str) -> str:
        """The site file of a host's head."""
        return self.client(host).files()["site.xml"].decode()

    def wait_whole(self) -> None:
        """Until all hosts see each other, on one revision."""

        def whole() -> bool:
            assert self.traced is not None
            if self.traced.killed.is_set() and self.status() is None:
                return False
            return self.agreed()

        self.wait("all hosts see each other", whole)

    def wait_done(self, traced: Traced, acknowledged: bool) -> None:
        """Until the victim is killed, or has nothing left to do."""

        def done() -> bool:
            if traced.killed.is_set():
                return True
            if traced.ended.is_set():
                raise Broken(f"xsmd ended: {self.log()}")
            status = self.status()
            shown = status is not None and status.checkout_revision == status.revision
            return shown and self.converged() and (not acknowledged or self.has_text())

        self.wait("the edit is carried out", done)

    def has_text(self) -> bool:
        """Whether the victim shows the site file as it should be."""
        try:
            return self.shown(VICTIM) == self.text()
        except Failure:
            return False

    def check_kept(self) -> None:
        """An acknowledged edit is there after the crash. Raises `Broken`."""
        self.wait("what was acknowledged is there", self.has_text)

    def ask_again(self) -> None:
        """Make the site file what it should be, if it isn't."""
        self.wait("an edit is taken", lambda: self.shown(OTHER) == self.text() or self.apply(OTHER))

    # -- what has to be so -----------------------------------------------------

    def agreed(self) -> bool:
        """All hosts answer, see each other, and show one revision."""
        seen = self._statuses()
        return len({status.revision for status in seen}) == 1 and all(
            member.reach == "alive" or member.name not in HOSTS
            for status in seen
            for member in status.members
        )

    def converged(self) -> bool:
        return self.agreed() and all(s.converged and not s.frozen for s in self._statuses())

    def _statuses(self) -> list[Status]:
        """Of all hosts; empty where one doesn't answer."""
        found = [self.status(host) for host in HOSTS]
        seen = [status for status in found if status is not None]
        return seen if len(seen) == len(HOSTS) else []

    def settle(self) -> None:
        """Everything is as the site file says; what was so stays so. Raises `Broken`."""
        self.wait("the site is converged", self.converged)
        where = {**STILL, **self.vms}
        self.wait("all VMs run where they belong", lambda: self._running() == where)
        self._check_runs()
        self._check_votes()
        if twice := self._twice:
            self._twice = []
            raise Broken(f"a VM ran twice: {twice[0]}")

    def _running(self) -> dict[str, str]:
        active: dict[str, str] = {}
        for host in HOSTS:
            for name, domain in self.site.stage.domains(host).items():
                if is_active(domain):
                    active[name] = f"{active[name]} and {host}" if name in active else host
        return active

    def _check_runs(self) -> None:
        """VMs that stay where they are were not restarted."""
        now = {key: run for key, run in self.site.ids().items() if STILL.get(key[1]) == key[0]}
        before, self._ids = self._ids, now
        if before and now != before:
            raise Broken(f"restarted: before {before}, now {now}")

    def _check_votes(self) -> None:
        for host in HOSTS:
            path = self.site.stage.hosts[host].folder / "data" / "votes.journal"
            entries: Mapping[str, Mapping[str, int]] = journal.replay(path.read_bytes()).entries
            for vm, entry in entries.items():
                now = (entry["voted"], entry["bar"])
                before = self._votes.get(f"{host} {vm}", (0, 0))
                if now[0] < before[0] or now[1] < before[1]:
                    raise Broken(f"votes went back on {host} for {vm}: {before} => {now}")
                self._votes[f"{host} {vm}"] = now

    def check_files(self) -> None:
        """The victim's repository and checkout are whole, and nothing is left in them. Raises `Broken`."""
        self.wait("the checkout is clean and on the head", self._checkout_follows)
        for folder in (self.folder / "data" / "site.git", self.checkout):
            done = git(folder, "fsck", "--full", "--no-dangling", "--no-progress")
            if done.returncode != 0:
                raise Broken(f"git fsck in {folder}: {done.stdout}{done.stderr}")
        left = self._left_behind()
        for path in left:
            path.unlink() if path.is_file() else shutil.rmtree(path)  # told once
        if left:
            raise Broken(f"left behind: {[str(path.relative_to(self.folder)) for path in left]}")

    def _left_behind(self) -> list[Path]:
        return [
            path
            for part in (self.folder / "data", self.checkout)
            for path in sorted(part.rglob("*"))
            if path.name != "votes.journal.lock"
            # Objects half written are git's to prune where people work; it does so with its next gc.
            and not (part == self.checkout and "/.git/objects/" in str(path))
            and (path.suffix in (".lock", ".keep") or path.name.startswith(TEMPORARY))
        ]

    def _checkout_follows(self) -> bool:
        status = self.status()
        head = git(self.checkout, "rev-parse", "HEAD").stdout.strip()
        clean = git(self.checkout, "status", "--porcelain").stdout == ""
        return status is not None and head == status.revision and clean

    def _watch(self) -> None:
        """From outside, all the time: no VM is active on two hosts."""
        while not self._watching.wait(WATCH_EVERY_S):
            twice = [
                f"{vm} on {where}" for vm, where in self._running().items() if " and " in where
            ]
            self._twice += twice


def is_active(domain: libvirt.virDomain) -> bool:
    """A domain that was undefined since it was listed is not."""
    try:
        return bool(domain.isActive())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def git(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(folder), *args],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "GIT_OPTIONAL_LOCKS": "0", "HOME": str(folder)},
    )  # fmt: skip
