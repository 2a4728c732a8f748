"""What the demo shows, step by step. Each step runs the commands that a user would, and asks libvirt whether it is so.

A step that libvirt does not confirm ends the demo with exit code 1.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import libvirt
from rich.console import Console

from xsm.demo.stage import DemoFailed, Stage, wait_for

FIGURE_3 = {"vm1": "dmz01", "vm2": "dmz02", "vm3": "dmz03", "vm4": "dmz04"}
DRIFT_LIMIT_S = 2.0
"""Drift is to be put right within this time (after libvirt's event); the demo prints what it took."""
SITE = "site.xml"
FOREIGN = "oldmail"
"""A domain that somebody made with virsh before XSM came."""


class Story:
    def __init__(self, stage: Stage, sample: Path, console: Console) -> None:
        self.stage = stage
        self.sample = sample
        self.console = console
        self.work = stage.folder / "work"  # the user's own clone of the site

    def steps(self) -> tuple[Callable[[], None], ...]:
        return (
            self.set_up,
            self.first_apply,
            self.look,
            self.memory,
            self.move,
            self.floating,
            self.removal,
            self.refusal,
            self.drift,
            self.lost_xsmd,
            self.lost_host,
            self.rollback,
            self.cut_in_two,
        )

    # -- showing -----------------------------------------------------

    def title(self, text: str) -> None:
        self.console.print(f"\n[bold]── {text}[/bold]")

    def xsm(self, host: str, *args: str, code: int = 0, show: bool = True) -> str:
        """Run and show `xsm ARGS` on a host; it has to end with `code`."""
        if show:
            self.console.print(
                f"[cyan]{host}$[/cyan] xsm {' '.join(args)}", highlight=False, soft_wrap=True
            )
        result = self.stage.run(host, *args, check=False)
        text = (result.stdout + result.stderr).rstrip()
        if show and text:
            self.console.print(
                "\n".join(f"   {line}" for line in text.splitlines()), markup=False, highlight=False
            )
        if result.returncode != code:
            raise DemoFailed(
                f"`xsm {' '.join(args)}` on {host} ended with {result.returncode}, not {code}:\n{text}"
            )
        return result.stdout

    def proven(self, text: str) -> None:
        self.console.print(f"   [green]✓[/green] {text}", highlight=False)

    def expect(self, what: str, so: bool, seen: object = "") -> None:
        if not so:
            raise DemoFailed(f"expected: {what}; libvirt says: {seen or 'no'}")
        self.proven(what)

    def expect_on(self, vm: str, host: str) -> None:
        seen = self.stage.running_on(vm)
        self.expect(f"libvirt: {vm} runs on {host} and nowhere else", seen == [host], seen)

    def edit(self, pattern: str, replacement: str) -> None:
        """Edit the user's copy of the site file, as with an editor."""
        path = self.work / SITE
        old = path.read_text()
        new = re.sub(pattern, replacement, old, count=1, flags=re.DOTALL)
        if new == old:
            raise DemoFailed(f"the demo's edit found nothing to change: {pattern}")
        path.write_text(new)
        self.console.print(f"[cyan]you$[/cyan] $EDITOR {SITE}", highlight=False)

    def edit_vm(self, vm: str, element: str, value: str) -> None:
        self.edit(rf'(<VM name="{vm}".*?<{element}>)[^<]*', rf"\g<1>{value}")

    def git(self, *args: str) -> None:
        result = subprocess.run(
            ["git", *args],
            cwd=self.work if self.work.exists() else self.stage.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )
        if result.returncode != 0:
            raise DemoFailed(f"`git {' '.join(args)}` failed: {result.stderr}")

    def pull(self) -> None:
        """Bring the user's clone to the site's head, whatever is in it."""
        self.git("fetch", "-q", "origin")
        self.git("reset", "-q", "--hard", "origin/main")

    def apply(self, host: str, message: str) -> None:
        self.xsm(host, "apply", str(self.work), "--yes", "-m", message)

    def status(self, host: str) -> dict[str, object]:
        loaded: dict[str, object] = json.loads(self.stage.run(host, "status", "-o", "json").stdout)
        return loaded

    # -- steps -----------------------------------------------------

    def set_up(self) -> None:
        """Four hosts, one site."""
        self.title("Four hosts: xsm init on the first, xsm invite and xsm join for the others")
        stage = self.stage
        stage.relays.start()
        for name in stage.hosts:
            stage.power_on(name)
        stage.make_by_hand("dmz01", FOREIGN)
        first, *others = stage.hosts
        self._init(first)
        stage.start_xsmd(first)
        for name in others:
            token = json.loads(stage.run(first, "invite", name, "-o", "json").stdout)["token"]
            self.xsm(name, "join", token, *self.stage.own_options(name), show=False)
            stage.start_xsmd(name)
        wait_for(
            "every host sees all four alive", lambda: all(self._all_alive(n) for n in stage.hosts)
        )
        self.xsm(first, "hosts")
        self.git(
            "clone", "-q", str(stage.hosts[first].folder / "data" / "site.git"), str(self.work)
        )

    def _init(self, name: str) -> None:
        empty = self.stage.folder / "empty"
        empty.mkdir()
        (empty / SITE).write_text("<XSMConfig>\n</XSMConfig>\n")
        self.xsm(name, "init", str(empty), *self.stage.own_options(name), show=False)

    def _all_alive(self, name: str) -> bool:
        members = self.status(name)["members"]
        assert isinstance(members, list)
        return len(members) == len(self.stage.hosts) and all(m["reach"] == "alive" for m in members)

    def first_apply(self) -> None:
        """The paper's Figure 3."""
        self.title("The paper's Figure 3: three Apache servers and a MySQL server, one a host")
        for path in (SITE, "configs"):
            subprocess.run(["cp", "-r", str(self.sample / path), str(self.work)], check=True)
        self.xsm("dmz01", "validate", str(self.work))
        self.xsm("dmz01", "apply", str(self.work), "--yes", "-m", "The paper's Figure 3")
        for vm, host in FIGURE_3.items():
            self.expect_on(vm, host)
        self.expect("libvirt: vm1 has 96 MiB and 4 VCPUs", self._size("dmz01", "vm1") == (96, 4))
        self.expect(
            f"libvirt: {FOREIGN}, which XSM did not make, runs on untouched",
            bool(self.stage.domains("dmz01")[FOREIGN].isActive()),
        )

    def _size(self, host: str, vm: str) -> tuple[int, int]:
        return self.stage.memory_mib(host, vm), self.stage.vcpus(host, vm)

    def look(self) -> None:
        self.title("The same answer on every host")
        self.xsm("dmz03", "vms")
        self.xsm("dmz04", "status")

    def memory(self) -> None:
        self.title("More memory for vm1, while it runs; applied on another host")
        self.pull()
        before = self.stage.domains("dmz01")["vm1"].ID()
        self.edit_vm("vm1", "MEM", "128")
        self.xsm("dmz04", "plan", str(self.work))
        self.apply("dmz04", "vm1 needs more memory")
        self.expect(
            "libvirt: vm1 has 128 MiB",
            self._size("dmz01", "vm1") == (128, 4),
            self._size("dmz01", "vm1"),
        )
        self.expect(
            "libvirt: it is the same run of vm1", self.stage.domains("dmz01")["vm1"].ID() == before
        )

    def move(self) -> None:
        self.title(
            "vm2 moves to dmz03. libvirt's test driver can't migrate live, so vm2 must allow a cold move"
        )
        self.pull()
        self.edit_vm("vm2", "DOM0", "192.168.5.103")
        self.xsm("dmz02", "plan", str(self.work))
        self.edit(r'(<VM name="vm2".*?)(\n *)(</VM>)', r"\1\2  <MIGRATION>cold</MIGRATION>\2\3")
        self.apply("dmz02", "vm2 moves to dmz03")
        self.expect_on("vm2", "dmz03")
        self.expect(
            "libvirt: nothing of vm2 is left on dmz02", "vm2" not in self.stage.domains("dmz02")
        )

    def floating(self) -> None:
        self.title("vm5 has no DOM0: the site finds a host for it, in the same commit")
        self.pull()
        self.edit(
            r"( *)(</Set>)",
            r"""  <VM name="vm5" config="apache_svr">
    <VCPUS>1</VCPUS>
    <IP>DHCP</IP>
    <MEM>64</MEM>
  </VM>
\1\2""",
        )
        self.apply("dmz01", "A fifth server, wherever there is room")
        where = self.stage.running_on("vm5")
        self.expect(
            f"libvirt: vm5 runs on exactly one host ({', '.join(where)})", len(where) == 1, where
        )
        self.xsm("dmz02", "why", "vm5")

    def removal(self) -> None:
        self.title("vm4's entry is deleted: shut down, undefined, its disks stay")
        self.pull()
        self.edit(r' *<VM name="vm4".*?</VM>\n', "")
        self.apply("dmz03", "vm4 is not needed any more")
        self.expect("libvirt: vm4 is gone from dmz04", "vm4" not in self.stage.domains("dmz04"))

    def refusal(self) -> None:
        self.title("A file with mistakes is refused as a whole, with all of them")
        self.pull()
        before = self.status("dmz01")["revision"]
        good = (self.work / SITE).read_text()
        self.edit_vm("vm1", "MEM", "lots")
        self.edit_vm("vm3", "HWADDR", "AA:00:00:00:00:01")
        self.edit(r'(<VM name="vm2" config=")[^"]*', r"\1apache_srv")
        self.xsm("dmz02", "apply", str(self.work), "--yes", code=2)
        (self.work / SITE).write_text(good)
        self.expect("nothing was committed", self.status("dmz01")["revision"] == before)

    def drift(self) -> None:
        self.title("Somebody destroys vm3 with virsh, and sets vm1's memory")
        self.console.print("[cyan]dmz03$[/cyan] virsh destroy vm3", highlight=False)
        self.stage.domains("dmz03")["vm3"].destroy()
        took_s = wait_for("vm3 runs again", lambda: self.stage.running_on("vm3") == ["dmz03"])
        self.expect(
            f"libvirt: vm3 runs again, after {took_s:.1f} s", took_s < DRIFT_LIMIT_S * 2, took_s
        )
        self.console.print("[cyan]dmz01$[/cyan] virsh setmem vm1 64M", highlight=False)
        self.stage.domains("dmz01")["vm1"].setMemory(64 * 1024)
        took_s = wait_for(
            "vm1 has 128 MiB again", lambda: self.stage.memory_mib("dmz01", "vm1") == 128
        )
        self.proven(f"libvirt: vm1 has 128 MiB again, after {took_s:.1f} s")

    def lost_xsmd(self) -> None:
        self.title("xsmd on dmz03 is killed: its VMs run on")
        ids = {vm: self.stage.domains("dmz03")[vm].ID() for vm in ("vm2", "vm3")}
        self.stage.kill_xsmd("dmz03")
        self.console.print("[cyan]dmz03$[/cyan] kill -9 xsmd", highlight=False)
        self.expect(
            "libvirt: vm2 and vm3 run on, the same runs as before",
            {vm: self.stage.domains("dmz03")[vm].ID() for vm in ids} == ids,
        )
        self.stage.start_xsmd("dmz03")
        wait_for("dmz03 is back", lambda: self._all_alive("dmz01"))
        self.expect(
            "xsmd is back; libvirt: still the same runs",
            {vm: self.stage.domains("dmz03")[vm].ID() for vm in ids} == ids,
        )

    def lost_host(self) -> None:
        self.title(
            "The host dmz01 loses power. The site is edited meanwhile; it comes back and catches up"
        )
        self.stage.power_off("dmz01")
        self.pull()
        self.edit_vm("vm1", "MEM", "160")
        self.edit_vm("vm3", "MEM", "112")
        self.xsm(
            "dmz02",
            "apply",
            str(self.work),
            "--yes",
            "--no-wait",
            "-m",
            "Edited while dmz01 is off",
        )
        wait_for("vm3 has 112 MiB", lambda: self.stage.memory_mib("dmz03", "vm3") == 112)
        self.proven("libvirt: vm3 has 112 MiB; the site is managed from any host that is there")
        self.expect(
            "libvirt: vm1 runs nowhere: nobody knows that dmz01 is dead",
            self.stage.running_on("vm1") == [],
        )
        self.stage.power_on("dmz01")
        self.stage.start_xsmd("dmz01")
        took_s = wait_for(
            "vm1 runs again on dmz01", lambda: self.stage.running_on("vm1") == ["dmz01"]
        )
        self.expect(
            f"libvirt: dmz01 is back; {took_s:.1f} s later vm1 runs there with the new 160 MiB",
            self._size("dmz01", "vm1") == (160, 4),
            self._size("dmz01", "vm1"),
        )
        wait_for("all hosts are alive", lambda: self._all_alive("dmz02"))

    def rollback(self) -> None:
        self.title("Back to how it was before that edit: a rollback is a plan like any other")
        history = json.loads(self.stage.run("dmz04", "history", "-o", "json").stdout)
        target = history[1]["id"]
        self.xsm("dmz04", "history", "-n", "4")
        self.xsm("dmz04", "rollback", target[:10], "--yes")
        seen = self._size("dmz01", "vm1")
        self.expect("libvirt: vm1 has 128 MiB again", seen == (128, 4), seen)

    def cut_in_two(self) -> None:
        self.title("The network is cut in two, and both sides edit the site")
        self.stage.relays.cut(("dmz01", "dmz02"), ("dmz03", "dmz04"))
        self.pull()
        begin = str(self.status("dmz02")["revision"])
        self.edit_vm("vm1", "MEM", "144")
        self.xsm(
            "dmz02", "apply", str(self.work), "--yes", "--no-wait", "-m", "One side: vm1's memory"
        )
        # The other side's user knows nothing of it: their clone is where both began.
        self.git("reset", "-q", "--hard", begin)
        self.edit_vm("vm3", "VCPUS", "2")
        self.xsm(
            "dmz04", "apply", str(self.work), "--yes", "--no-wait", "-m", "Other side: vm3's VCPUS"
        )
        one, other = self.status("dmz01")["revision"], self.status("dmz03")["revision"]
        self.expect("the two sides show different revisions", one != other)
        wait_for("vm1 has 144 MiB", lambda: self.stage.memory_mib("dmz01", "vm1") == 144)
        self.proven("libvirt: what runs already is changed on both sides")
        self.stage.relays.heal()
        took_s = wait_for("one revision on all hosts", self._one_revision)
        self.proven(f"healed: {took_s:.1f} s later all four show one revision, with both edits")
        wait_for("both edits are carried out", lambda: self._size("dmz01", "vm1") == (144, 4))
        wait_for("both edits are carried out", lambda: self.stage.vcpus("dmz03", "vm3") == 2)
        self.proven("libvirt: vm1 has 144 MiB and vm3 has 2 VCPUs")
        took_s = wait_for("all checkouts follow", self._checkouts_follow)
        self.proven(f"git: {took_s:.1f} s later all four checkouts have it, too")
        self.xsm("dmz01", "history", "-n", "3")
        for vm in ("vm1", "vm2", "vm3", "vm5"):
            where = self.stage.running_on(vm)
            if len(where) != 1:
                raise DemoFailed(f"{vm} runs on {where or 'no host'}")
        self.proven("libvirt: every VM runs on exactly one host")

    def _checkouts_follow(self) -> bool:
        """Each host's checkout is clean and on the revision that all show."""
        return all(
            git_says(host.checkout, "rev-parse", "HEAD") == self.status(name)["revision"]
            and not git_says(host.checkout, "status", "--porcelain")
            for name, host in self.stage.hosts.items()
        )

    def _one_revision(self) -> bool:
        return len({self.status(name)["revision"] for name in self.stage.hosts}) == 1


def git_says(folder: Path, *args: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=30, check=True
    ).stdout.strip()


def run(stage: Stage, sample: Path, console: Console) -> None:
    """Play it all. Raises `DemoFailed`."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    started = time.monotonic()
    story = Story(stage, sample, console)
    for step in story.steps():
        step()
    console.print(
        f"\n[bold green]All of it is so by libvirt's own word[/bold green] ({time.monotonic() - started:.0f} s)"
    )
