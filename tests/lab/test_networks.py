"""Networks apart from each other on the same wires: a bridge for each, as docs/configs.md says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

HOSTS = ("dmz01", "dmz02")
TAGS = ("12", "13")


@dataclass(frozen=True)
class Tagged(VM):
    """A guest of one VLAN, with an address that would reach all others if they were not apart."""

    tag: str = "12"
    address: str = ""

    @property
    def config(self) -> str:
        text = super().config.replace("bridge='br0'", f"bridge='br0.{self.tag}'")
        return text.replace("</cmdline>", f" xsm.ip={self.address}/24</cmdline>")


@pytest.fixture
def bridges(lab: Lab) -> Iterator[None]:
    """br0.12 and br0.13 on two hosts. Where the kernel has no 802.1Q, each tag's frames go as VXLAN: to libvirt and XSM
    both are a bridge that reaches its like on the other hosts, and nothing else."""
    for host in HOSTS:
        for tag in TAGS:
            link, bridge = f"tag{tag}", f"br0.{tag}"
            vlan = ("link", "br0", "name", link, "type", "vlan", "id", tag)
            if lab[host].run("ip", "link", "add", *vlan, check=False).returncode != 0:
                group = f"239.0.0.{tag}"
                vxlan = (
                    "type",
                    "vxlan",
                    "id",
                    tag,
                    "group",
                    group,
                    "dev",
                    "br0",
                    "dstport",
                    "4789",
                )
                lab[host].run("ip", "link", "add", link, *vxlan)
            lab[host].run("ip", "link", "add", bridge, "type", "bridge")
            lab[host].run("ip", "link", "set", link, "master", bridge, "up")
            lab[host].run("ip", "link", "set", bridge, "up")
    yield
    for host in HOSTS:
        for tag in TAGS:
            lab[host].run("ip", "link", "del", f"br0.{tag}")
            lab[host].run("ip", "link", "del", f"tag{tag}")


def reaches(lab: Lab, host: str, vm: str, address: str) -> bool:
    """Whether one of three pings of the guest is answered, by its own word."""
    asked = {"path": "/bin/ping", "arg": ["-c", "3", "-W", "1", address], "capture-output": True}
    begun = agent(lab, host, vm, "guest-exec", asked)
    status = {}

    def ended() -> bool:
        status.update(agent(lab, host, vm, "guest-exec-status", {"pid": begun["pid"]}))
        return bool(status["exited"])

    wait_for("the ping is over", ended, SOON_S)
    return bool(status["exitcode"] == 0)


def agent(lab: Lab, host: str, vm: str, what: str, arguments: object) -> dict[str, int]:
    command = json.dumps({"execute": what, "arguments": arguments})
    answer: dict[str, dict[str, int]] = json.loads(
        lab[host].virsh("qemu-agent-command", vm, command)
    )
    return answer["return"]


@pytest.mark.usefixtures("bridges")
def test_a_bridge_for_each_vlan(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that guests on a VLAN's bridge reach those of the same VLAN on another host and nobody of another one, in
    one subnet; that a live migration changes nothing of that; and that a host without the bridge gets no such VM."""
    mover = Tagged("vlan1", "dmz01", tag="12", address="10.9.0.1")
    others = (
        Tagged("vlan2", "dmz02", tag="12", address="10.9.0.2"),
        Tagged("vlan3", "dmz02", tag="13", address="10.9.0.3"),
    )
    site.apply(mover, *others)
    for vm in (mover, *others):
        observer.wait_ticks(vm.name, 3, host=vm.host)
    assert reaches(lab, "dmz01", "vlan1", "10.9.0.2")
    assert not reaches(lab, "dmz01", "vlan1", "10.9.0.3")
    lab["dmz01"].run("ip", "addr", "add", "10.9.0.9/24", "dev", "br0.13")
    # It is there, for who is on its VLAN.
    lab["dmz01"].run("busybox", "ping", "-c", "3", "-I", "br0.13", "10.9.0.3")
    lab["dmz01"].xsm("migrate", "vlan1", "dmz02", "--yes")
    observer.wait_ticks("vlan1", 3, host="dmz02")
    assert reaches(lab, "dmz02", "vlan1", "10.9.0.2")
    assert not reaches(lab, "dmz02", "vlan1", "10.9.0.3")
    refused = lab["dmz01"].xsm("migrate", "vlan1", "dmz03", "--yes", "--no-wait", check=False)
    wait_for(
        "the reason is told",
        lambda: "dmz03 has no bridge br0.12" in str(lab.status("dmz01").get("held", [])),
        SOON_S,
    )
    assert "vlan1" in refused
    assert observer.hosts("vlan1") == ["dmz02"] and observer.gaps("vlan1") == []
    site.apply()
