"""The whole Xen lab: two hosts up, a site made by the documented commands, everything gone again.

Decides the order of things, and what is left of a lab that was killed. Must not know the cases.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.lab import processes
from tests.lab.processes import LabFailed, wait_for
from tests.labxen import image, program
from tests.labxen.hosts import XenHost, all_hosts
from tests.labxen.places import HOSTS, ROOT

WHOLE_LIMIT_S = 240.0
"""For two daemons that start under emulation on two busy cores."""


class XenLab:
    """The lab on this machine."""

    def __init__(self) -> None:
        self.image = image.ensure()
        self.hosts = {host.name: host for host in all_hosts(self.image)}

    def __getitem__(self, name: str) -> XenHost:
        return self.hosts[name]

    def up(self, say: Callable[[str], None] = lambda _text: None) -> None:
        """Hosts with Xen and libvirt, no site yet. Raises `LabFailed`; then nothing is left."""
        if sys.platform != "linux" or os.geteuid() != 0:
            raise LabFailed("the Xen lab needs root, to make its hosts' file systems")
        if ROOT.exists():
            say("a lab was left behind; ending it first")
            self.down()
        try:
            with processes.turn(ROOT):
                ROOT.mkdir(parents=True)
                program.write(ROOT / "xsm.ext4")
                for host in self.hosts.values():
                    host.make_disk()
                    host.power_on()
            self._each(XenHost.wait_up)
        except BaseException:
            self.down()
            raise

    def down(self) -> bool:
        """Everything gone: QEMU's processes, ssh, files. Tells whether there was anything."""
        if not ROOT.exists():
            return False
        with processes.turn(ROOT):
            for host in self.hosts.values():
                host.remove()
            shutil.rmtree(ROOT)
        return True

    def is_up(self) -> bool:
        return ROOT.exists() and all(host.is_on for host in self.hosts.values())

    def _each(self, what: Callable[[XenHost], object]) -> None:
        """On all hosts at once; the first failure is raised when all have ended."""
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            for future in [pool.submit(what, host) for host in self.hosts.values()]:
                future.result()

    # -- a site -----------------------------------------------------

    def make_site(self) -> None:
        """By the documented commands: `xsm init` on the first host, `xsm invite` there and `xsm join` on the other;
        libvirt's TLS on each."""
        first, *others = self.hosts.values()
        first.run("xsm", "init", *own_options(first))
        first.set_up_libvirt_tls()
        first.start_xsmd()
        for host in others:
            host.run("xsm", "join", first.json("invite", host.name)["token"], *own_options(host))
            host.set_up_libvirt_tls()
            host.start_xsmd()
        self.wait_whole()

    def wait_whole(self) -> float:
        """Until each host sees both alive, on one revision; gives the seconds."""
        return wait_for("the hosts see each other, on one revision", self._whole, WHOLE_LIMIT_S)

    def _whole(self) -> bool:
        seen = [self.status(name) for name in self.hosts]
        if not all(seen):
            return False
        alive = all(m["reach"] == "alive" for status in seen for m in status["members"])
        return alive and len({status["revision"] for status in seen}) == 1

    def status(self, name: str) -> dict[str, Any]:
        """`xsm status` of a host; empty while its xsmd doesn't answer."""
        done = self.hosts[name].ask_xsm("status", "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else {}


def own_options(host: XenHost) -> list[str]:
    """What `xsm init` and `xsm join` are told of the host."""
    return ["--name", host.name, "--address", host.place.address, "--uri", "xen:///system"]


assert len(HOSTS) == 2, "the link between the hosts has two ends"
