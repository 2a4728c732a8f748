"""kill -9 of xsmd at every call that writes, on a real site: `make attack`, or `python -m tests.attack.kill_at_writes`.

Decides in which situations the daemon is killed, and at which calls. What has to be so afterwards is `crash_site`'s.
Each situation is run once to count its calls, then once for each of them; only the victim is started again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import libvirt

from tests.attack.crash_site import OTHER, VICTIM, Broken, CrashSite
from tests.attack.tracing import Traced, Victims, usable
from tests.site.running_site import running_site
from xsm.cli.client import Failure
from xsm.demo.stage import BIN, DemoFailed, free_ports

HOSTS = ("dmz01", "dmz02", "dmz03")
BEYOND = 8
"""Calls that are tried beyond those counted: what the daemon does beside varies a little."""
COMMAND_LIMIT_S = 60.0

Act = Callable[[CrashSite, int], bool]
"""What happens while calls count; whether it was acknowledged. The number makes each time a different edit."""


@dataclass
class Result:
    situation: str
    victims: Victims
    calls: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    acknowledged: int = 0
    failures: list[str] = field(default_factory=list)


def nothing(crash: CrashSite, number: int) -> bool:
    return True


def edit_here(crash: CrashSite, number: int) -> bool:
    crash.memory_mib = 32 + number % 32
    return crash.apply(VICTIM)


def edit_elsewhere(crash: CrashSite, number: int) -> bool:
    crash.memory_mib = 32 + number % 32
    return crash.apply(OTHER)


def create_and_remove(crash: CrashSite, number: int) -> bool:
    crash.vms = {f"n{number}": VICTIM}
    return crash.apply(OTHER)


def change_places(crash: CrashSite, number: int) -> bool:
    one, other = (VICTIM, OTHER) if number % 2 else (OTHER, VICTIM)
    crash.vms = {"m1": one, "m2": other}
    return crash.apply(OTHER)


def save(crash: CrashSite, number: int) -> bool:
    """As an editor does it. A file that was saved is acknowledged: it is there after any crash."""
    crash.memory_mib = 32 + number % 32
    new = crash.checkout / "site.xml.tmp"
    new.write_text(crash.text())
    os.replace(new, crash.checkout / "site.xml")
    return True


def push(crash: CrashSite, number: int) -> bool:
    """`git push` into the victim's repository; its hooks ask xsmd."""
    crash.memory_mib = 32 + number % 32
    folder = crash.site.stage.folder / "pushed"
    shutil.rmtree(folder, ignore_errors=True)
    source = crash.folder / "data" / "site.git"
    site = crash.site
    site.git(site.stage.folder, "clone", "-q", str(source), str(folder))
    (folder / "site.xml").write_text(crash.text())
    author = ("-c", "user.name=Ann", "-c", "user.email=ann@domain.com")
    site.git(folder, *author, "commit", "-qam", "A pushed edit")
    done = subprocess.run(
        ["git", "push", "-q", "origin", "main"],
        cwd=folder, capture_output=True, timeout=COMMAND_LIMIT_S, check=False,
    )  # fmt: skip
    return done.returncode == 0


def join_and_forget(crash: CrashSite, number: int) -> bool:
    """A host that the victim invites joins, and is forgotten."""
    crash.memory_mib = 32 + number % 32
    name = f"new{number}"
    folder = crash.site.stage.folder / name
    options = list(crash.site.stage.own_options(OTHER))
    options[1], options[3] = name, f"192.168.6.{number % 200 + 1}"
    for at, option in enumerate(options):
        options[at] = option.replace(f"/{OTHER}/", f"/{name}/")
    ip = crash.site.stage.hosts[OTHER].place.ip
    listen, url = free_ports(ip, 2)
    options[5], options[7] = f"{ip}:{listen}", f"https://{ip}:{url}"
    folder.mkdir()
    environ = {**os.environ, "XSM_CONFIG": str(folder / "xsmd.toml")}
    try:
        token = crash.client(VICTIM).invite(name).token
        command = [str(BIN / "xsm"), "join", token, *options]
        subprocess.run(
            command, env=environ, capture_output=True, timeout=COMMAND_LIMIT_S, check=True
        )
    except Failure:
        return False
    except subprocess.CalledProcessError as failed:
        crash.said = failed.stderr.decode(errors="replace")
        return False
    finally:
        shutil.rmtree(folder)
    return forget_strangers(crash, VICTIM) and crash.apply(VICTIM)


def forget_strangers(crash: CrashSite, host: str) -> bool:
    """Whether all that joined is forgotten."""
    found = crash.status(host)
    if found is None:
        return False
    for member in found.members:
        if member.name not in HOSTS:
            done = crash.site.stage.run(
                host,
                "host",
                "forget",
                member.name,
                "--it-is-off",
                "--yes",
                "--no-wait",
                check=False,
            )
            if done.returncode != 0:
                crash.said = done.stdout + done.stderr
                return False
    return True


SITUATIONS: dict[str, Act] = {
    "start": nothing,
    "an edit applied here": edit_here,
    "an edit from elsewhere": edit_elsewhere,
    "a save in the checkout": save,
    "a VM created, one removed": create_and_remove,
    "two VMs change places": change_places,
    "a push to this host": push,
    "a host joins, is forgotten": join_and_forget,
}


class Attack:
    """One site, one situation after another."""

    def __init__(self, crash: CrashSite, say: Callable[[str], None]) -> None:
        self._crash = crash
        self._say = say

    def run(self, result: Result, step: int) -> None:
        """Kill at the 1st call and at every `step`-th after it."""
        name, victims = result.situation, result.victims
        act = SITUATIONS[name]
        traced = self._once(act, name, 0, victims, result)
        result.calls = traced.calls
        at = 1
        while at <= result.calls.total() + BEYOND:
            traced = self._once(act, name, at, victims, result)
            if not traced.killed.is_set():
                break
            result.kills += 1
            at += step

    def _once(self, act: Act, name: str, at: int, victims: Victims, result: Result) -> Traced:
        crash = self._crash
        crash.number += 1
        traced = crash.start_again(at, victims)
        try:
            self._provoke(traced, act, name, victims, result)
            self._recover(act)
        except (Broken, DemoFailed) as broken:
            result.failures.append(f"{name}, call {at} ({traced.last}): {broken}")
            self._say(f"FAILED: {result.failures[-1]}")
            crash.stop_victim()
            self._recover(act)  # where that fails, too, the site is lost
        return traced

    def _provoke(
        self, traced: Traced, act: Act, name: str, victims: Victims, result: Result
    ) -> None:
        crash = self._crash
        if name == "start":
            traced.arm()
        crash.wait_up()
        if name != "start":
            crash.wait_whole()
            traced.arm()
        acknowledged = act(crash, crash.number)
        result.acknowledged += acknowledged
        if not (acknowledged or traced.killed.is_set()):
            raise Broken(f"refused, though nothing was killed yet: {crash.said or 'no answer'}")
        crash.wait_done(traced, acknowledged)
        traced.disarm()
        if traced.killed.is_set() and victims is not Victims.CHILD:
            traced.wait()
            crash.start_victim()
            crash.wait_up()
        if acknowledged:
            crash.check_kept()

    def _recover(self, act: Act) -> None:
        """What was not acknowledged is asked for again; then all has to be as asked."""
        crash = self._crash
        if crash.traced is None:
            crash.start_victim()
            crash.wait_up()
        crash.wait_whole()
        if act is join_and_forget:
            # Not at once: the change that was cut short is somebody's until its host has ended it.
            crash.wait("what joined is forgotten", lambda: forget_strangers(crash, OTHER))
        crash.ask_again()
        crash.settle()
        crash.check_files()


def table(results: list[Result]) -> str:
    lines = [
        "| situation | killed | calls | kills | acknowledged | failures |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for r in results:
        numbers = f"{r.calls.total()} | {r.kills} | {r.acknowledged} | {len(r.failures)}"
        lines.append(f"| {r.situation} | {r.victims.value} | {numbers} |")
    return "\n".join(lines)


def attack(
    names: list[str], victims: list[Victims], step: int, say: Callable[[str], None]
) -> list[Result]:
    """Run situations. Raises `DemoFailed`, `Broken` where a site can't even begin."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    results = [Result(name, who) for who in victims for name in names]
    left = list(results)
    while left:
        _on_one_site(left, step, say)
    return results


def _on_one_site(left: list[Result], step: int, say: Callable[[str], None]) -> None:
    """Run situations on a new site until none is left, or the site is lost."""
    with running_site(*HOSTS) as site:
        site.stage.kill_xsmd(VICTIM)
        crash = CrashSite(site)
        crash.start_victim()
        crash.wait_up()
        crash.begin()
        try:
            while left:
                result = left.pop(0)
                started = time.monotonic()
                Attack(crash, say).run(result, step)
                say(
                    f"{result.situation}: {result.victims.value}: {result.kills} kills, "
                    f"{len(result.failures)} failures, {time.monotonic() - started:.0f} s; "
                    f"calls: {dict(sorted(result.calls.items()))}"
                )
        except (Broken, DemoFailed) as lost:
            result.failures.append(f"the site is lost: {lost}")
            say(f"FAILED: {result.situation}: {result.failures[-1]}")
            return
        finally:
            crash.end()
    shutil.rmtree(site.stage.folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--situation", action="append", choices=sorted(SITUATIONS))
    parser.add_argument("--killed", action="append", choices=[v.name.lower() for v in Victims])
    parser.add_argument("--step", type=int, default=1, help="kill at every n-th call only")
    options = parser.parse_args()
    if why := usable():
        print(f"can't: {why}", file=sys.stderr)
        return 1
    victims = [
        v for v in Victims if v.name.lower() in (options.killed or ["all", "daemon", "child"])
    ]
    results = attack(
        options.situation or list(SITUATIONS),
        victims,
        options.step,
        lambda text: print(text, flush=True),
    )
    print(table(results))
    return 1 if any(result.failures for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
