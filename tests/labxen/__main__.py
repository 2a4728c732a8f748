"""`python -m tests.labxen`: the Xen lab by hand.

image           make the hosts' image, unless it is there
up              hosts, an xsmd on each, one site;  up bare: no site
down            everything gone; also what a killed lab left
status          which hosts are on
shell HOST      a shell in its Domain-0
exec HOST -- COMMAND...
log HOST        what its serial console said
crash HOST      its power is gone;  boot HOST brings it back
cut HOST, plug HOST   its cable
"""

from __future__ import annotations

import os
import signal
import sys
import time

from tests.lab.processes import LabFailed
from tests.labxen import image
from tests.labxen.hosts import XenHost
from tests.labxen.lab import XenLab
from tests.labxen.places import HOSTS


def say(text: str) -> None:
    print(f"lab-xen: {text}", flush=True)


def up(bare: bool) -> None:
    began = time.monotonic()
    lab = XenLab()
    say(f"image {lab.image.folder} after {time.monotonic() - began:.1f} s")
    lab.up(say=say)
    say(f"{len(lab.hosts)} hosts are up after {time.monotonic() - began:.1f} s")
    if not bare:
        try:
            lab.make_site()
        except BaseException:
            lab.down()
            raise
        say(f"xsmd runs on each, one site, after {time.monotonic() - began:.1f} s")


def host(name: str) -> XenHost:
    if name not in HOSTS:
        raise LabFailed(f"there is no host {name}; hosts: {', '.join(HOSTS)}")
    return XenLab()[name]


def boot(name: str) -> None:
    one = host(name)
    one.power_on()
    one.wait_up()
    one.start_xsmd()


def main(args: list[str]) -> int:
    # A lab that is told to end while it comes up goes down again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    match args:
        case ["image"]:
            say(str(image.ensure().folder))
        case ["up", *bare]:
            up(bare == ["bare"])
        case ["down"]:
            say("gone" if XenLab().down() else "there is none")
        case ["status"]:
            for one in XenLab().hosts.values():
                print(f"{one.name}  {one.place.address}  {'on' if one.is_on else 'off'}")
        case ["shell", name]:
            os.execvp("ssh", host(name).ssh("-t"))
        case ["exec", name, "--", *command] if command:
            done = host(name).run(*command, check=False)
            print(done.stdout + done.stderr, end="")
            return done.returncode
        case ["log", name]:
            print(host(name).log())
        case ["crash", name]:
            host(name).crash()
        case ["boot", name]:
            boot(name)
        case ["cut", name]:
            host(name).cut()
        case ["plug", name]:
            host(name).plug()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabFailed as error:
        sys.exit(f"lab-xen: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
