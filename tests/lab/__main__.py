"""`python -m tests.lab`: the lab by hand.

up              hosts, an xsmd on each, one site
down            everything gone; also what a killed lab left
able            whether this machine can have one
status          which hosts are on
shell HOST      a shell on a host
exec HOST -- COMMAND...
crash HOST      all its processes gone at once;  boot HOST brings it back
cut HOST, plug HOST   its cable
add VM HOST...  VMs into the site file, pinned to these hosts, and `xsm apply`
watch           where each guest runs, until Ctrl-C
"""

from __future__ import annotations

import os
import signal
import sys
import time

from tests.lab.hosts import host
from tests.lab.lab import Lab, end_workers_labs, why_not
from tests.lab.processes import LabFailed


def say(text: str) -> None:
    print(f"lab: {text}", flush=True)


def up() -> None:
    began = time.monotonic()
    lab = Lab()
    lab.up(say=say)
    say(f"{len(lab.hosts)} hosts are up after {time.monotonic() - began:.1f} s")
    try:
        lab.make_site()
    except BaseException:
        lab.down()
        raise
    say(f"xsmd runs on each, one site, after {time.monotonic() - began:.1f} s")
    say("`python -m tests.lab shell dmz01` is a shell there, `make lab-down` ends it all")


def boot(name: str) -> None:
    one = host(name)
    one.power_on()
    one.wait_up()
    one.start_xsmd()


def add(vm: str, *hosts: str) -> None:
    from tests.lab.site import VM, Site

    site = Site(Lab())
    entries = [
        VM(f"{vm}{n}" if len(hosts) > 1 else vm, name) for n, name in enumerate(hosts, start=1)
    ]
    print(site.apply(*site.present(), *entries))


def watch() -> None:
    from tests.lab.observer import Observer

    with Observer() as observer:
        shown = ""
        while True:
            now = observer.shown()
            if now != shown:
                print(now, flush=True)
                shown = now
            observer.wait_look()


def status() -> None:
    for one in Lab().hosts.values():
        pid = one.pid
        print(f"{one.name}  {one.place.address}  {f'on, first process {pid}' if pid else 'off'}")


def main(args: list[str]) -> int:
    # A lab that is told to end while it comes up goes down again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    match args:
        case ["up"]:
            up()
        case ["down"]:
            there_was = Lab().down()
            if "XSM_LAB" not in os.environ:
                there_was = end_workers_labs() or there_was
            say("gone" if there_was else "there is none")
        case ["able"]:
            reason = why_not()
            say(f"not on this machine: {reason}" if reason else "this machine can have one")
            return 1 if reason else 0
        case ["status"]:
            status()
        case ["shell", name]:
            command = host(name).command("bash", "-i")
            os.execvpe(command[0], command, host(name).environ() | {"PS1": f"root@{name}:\\w# "})
        case ["exec", name, "--", *command] if command:
            line = host(name).command(*command)
            os.execvpe(line[0], line, host(name).environ())
        case ["crash", name]:
            host(name).crash()
        case ["boot", name]:
            boot(name)
        case ["cut", name]:
            Lab().cut(name)
        case ["plug", name]:
            Lab().plug(name)
        case ["add", vm, *hosts] if hosts:
            add(vm, *hosts)
        case ["watch"]:
            watch()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabFailed as error:
        sys.exit(f"lab: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
