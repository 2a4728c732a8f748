"""The site's VMs in the lab: their configs, and edits of the site as a user makes them.

Decides what a lab guest is (its domain XML) and how the site file says it. What XSM does with it is for the cases.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from typing import Any

from tests.lab.hosts import LabHost
from tests.lab.lab import Lab
from tests.lab.places import CONSOLES, GUEST_IMAGES, HOSTS, ROOT, SHARED, SHARED_OUTSIDE
from tests.lab.processes import LabFailed, wait_for

APPLY_LIMIT_S = 180.0
"""`xsm apply` follows all hosts; a removed guest that is deaf alone takes a minute."""
SOON_S = 60.0
"""For what takes a claim, a fetch, a boot of a guest, on a busy machine."""
DISK_MIB = 16

CMDLINE = (
    "console=ttyS0 quiet mitigations=off nokaslr no_timer_check tsc=reliable cryptomgr.notests random.trust_cpu=on "
    "panic=-1"
)
"""What makes it boot quickly under emulation."""
DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{max_memory_mib}</memory>
  <currentMemory unit='MiB'>{memory_mib}</currentMemory>
  <vcpu current='1'>{max_vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{images}/vmlinuz</kernel>
    <initrd>{images}/initrd.gz</initrd>
    <cmdline>{cmdline} xsm.name={name}</cmdline>
  </os>
  <features><acpi/><apic/><tcg><tb-cache unit='MiB'>64</tb-cache></tcg></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='{shared}/disks/{name}.qcow2'/>
      <target dev='vda' bus='virtio'/>{disk}
    </disk>
    <interface type='bridge'>
      <source bridge='br0'/>
      <model type='virtio'/>
      <rom enabled='no'/>{card}
    </interface>
    <serial type='file'><source path='{consoles}/{name}.log' append='on'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='virtio'><stats period='1'/></memballoon>
  </devices>
</domain>
"""


@dataclass(frozen=True)
class VM:
    """One <VM> of the site file. No `host`: the site places it."""

    name: str
    host: str = ""
    memory_mib: int = 96
    max_memory_mib: int = 128
    vcpus: int = 1
    max_vcpus: int = 2
    more: str = ""
    user_data: str = ""  # for cloud-init; the guest says on its console what it finds
    disk: str = ""  # more elements of its disk
    card: str = ""  # and of its network card

    @property
    def entry(self) -> str:
        seed = f"<USER_DATA>{self.name}</USER_DATA>" if self.user_data else ""
        dom0 = f"<DOM0>{HOSTS[self.host].address}</DOM0>" if self.host else ""
        return (
            f'  <VM name="{self.name}" config="{self.name}">{dom0}<VCPUS>{self.vcpus}</VCPUS>'
            f"<MEM>{self.memory_mib}</MEM>{self.more}{seed}</VM>\n"
        )

    @property
    def config(self) -> str:
        return DOMAIN.format(
            name=self.name, memory_mib=96, max_memory_mib=self.max_memory_mib, max_vcpus=self.max_vcpus,
            disk=self.disk, card=self.card, cmdline=f"{CMDLINE} xsm.seed" if self.user_data else CMDLINE,
            images=GUEST_IMAGES, shared=SHARED, consoles=CONSOLES,
        )  # fmt: skip


class Site:
    """The lab's site, asked and edited through `xsm` on its hosts."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    # -- edits -----------------------------------------------------

    def apply(
        self,
        *vms: VM,
        host: str = "dmz01",
        message: str = "An edit in the lab",
        options: tuple[str, ...] = (),
        hosts: str = "",
    ) -> str:
        """Make the site file exactly these VMs, as a user does with a clone; what `xsm apply` printed."""
        one = self.lab[host]
        self.write(one, *vms, hosts=hosts)
        return one.xsm(
            "apply", "/root/site", "--yes", "-m", message, *options, limit_s=APPLY_LIMIT_S
        )

    def write(self, host: LabHost, *vms: VM, hosts: str = "") -> None:
        """A fresh clone at /root/site with these VMs in its files; disks are made where there are none. `hosts`: <Host>
        entries."""
        script = "rm -rf site && git clone -q /var/lib/xsm/site.git site && mkdir -p site/configs"
        host.run("sh", "-c", script)
        entries = "".join(vm.entry for vm in vms)
        sets = f'<Set name="lab">\n  <Owner>root@domain.com</Owner>\n{entries}</Set>\n'
        text = f"<XSMConfig>\n{hosts}{sets}</XSMConfig>\n"
        folder = host.place.inside("/root/site")
        files = {"site.xml": text, **{f"configs/{vm.name}.xml": vm.config for vm in vms}}
        files |= {f"configs/{vm.name}.user-data": vm.user_data for vm in vms if vm.user_data}
        for name, content in files.items():
            host.run("sh", "-c", 'cat >"$0"', f"/root/site/{name}", stdin=content)
        if not folder.is_dir():
            raise LabFailed(f"no clone at {folder}")
        for vm in vms:
            make_disk(vm.name)

    def present(self) -> list[VM]:
        """The VMs that the site file has now, by name; only what this module writes."""
        listed = self.json("dmz01", "vms")
        by_address = {place.address: place.name for place in HOSTS.values()}
        return [
            VM(vm["name"], by_address.get(vm["host"], vm["host"]), vm["memory_mib"])
            for vm in listed if not vm["foreign"]
        ]  # fmt: skip

    # -- questions -----------------------------------------------------

    def json(self, host: str, *args: str) -> Any:
        return json.loads(self.lab[host].run("xsm", *args, "-o", "json").stdout)

    def vm(self, host: str, name: str) -> Any:
        return next((vm for vm in self.json(host, "vms") if vm["name"] == name), None)

    def wait_converged(self, host: str = "dmz01", limit_s: float = SOON_S) -> float:
        return wait_for(
            f"{host} says that the site is converged",
            lambda: self.lab.status(host).get("converged"),
            limit_s,
        )


def make_disk(name: str) -> None:
    path = SHARED_OUTSIDE / "disks" / f"{name}.qcow2"
    if not path.exists():
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", str(path), f"{DISK_MIB}M"],
            check=True,
            timeout=SOON_S,
        )


def disk_line(name: str) -> str:
    """What the guest wrote last to its disk: "NAME n=N BOOT"; by QEMU's word, while no guest has it open."""
    path = SHARED_OUTSIDE / "disks" / f"{name}.qcow2"
    with tempfile.NamedTemporaryFile(dir=ROOT) as raw:
        command = ["qemu-img", "convert", "-O", "raw", str(path), raw.name]
        subprocess.run(command, check=True, timeout=SOON_S)
        found = re.search(rb"\S+ n=\d+ \S+", raw.read(512))
    return found[0].decode() if found else ""
