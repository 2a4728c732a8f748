"""The site's VMs in the Xen lab: their configs are regular Xen configurations; edits are made as a user makes them.

Decides what a lab guest is and how the site file says it. What XSM does with it is for the cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.processes import wait_for
from tests.labxen.lab import XenLab
from tests.labxen.places import GUEST_IMAGES, HOSTS

APPLY_LIMIT_S = 400.0
SOON_S = 180.0
"""For what takes a claim, a fetch, a boot of a guest, all emulated."""

CONFIG = f"""\
# A regular Xen configuration; name, memory and vcpus come from the site file.
{{kind}}kernel   = "{GUEST_IMAGES}/vmlinux"
ramdisk  = "{GUEST_IMAGES}/initrd"
extra    = "console=hvc0 loglevel=4 mitigations=off nokaslr random.trust_cpu=on"
vif      = ['bridge=br0']
maxmem   = 160
maxvcpus = {{max_vcpus}}
on_crash = "destroy"
"""


@dataclass(frozen=True)
class VM:
    """One <VM> of the site file, as Figure 3 of the paper has it."""

    name: str
    host: str
    memory_mib: int = 144
    vcpus: int = 1
    more: str = ""
    config: str = "apache_svr"

    @property
    def entry(self) -> str:
        return (
            f'  <VM name="{self.name}" config="{self.config}">\n    <DOM0>{HOSTS[self.host].address}</DOM0>\n'
            f"    <VCPUS>{self.vcpus}</VCPUS>\n    <HWADDR>AA:00:00:00:00:0{self.name[-1]}</HWADDR>\n"
            f"    <IP>DHCP</IP>\n    <MEM>{self.memory_mib}</MEM>\n    {self.more}\n  </VM>\n"
        )


CONFIGS = {
    "apache_svr": CONFIG.format(kind="", max_vcpus=4),  # no type: PV, as in the thesis
    "apache_pvh": CONFIG.format(kind='type     = "pvh"\n', max_vcpus=2),
}


class Site:
    """The lab's site, asked and edited through `xsm` on its hosts."""

    def __init__(self, lab: XenLab) -> None:
        self.lab = lab

    def apply(self, *vms: VM, host: str = "xen01", message: str = "An edit in the lab") -> str:
        """Make the site file exactly these VMs, as a user does with a clone, and wait until it is so; what `xsm apply`
        printed."""
        folder = self.write(host, *vms)
        # Following is left out: a busy emulated xsmd takes longer for an answer than `xsm` has patience.
        said = self.lab[host].xsm("apply", str(folder), "--yes", "--no-wait", "-m", message)
        self.wait_converged()
        return said

    def write(self, host: str, *vms: VM) -> Path:
        """A fresh clone with these VMs in its files."""
        entries = "".join(vm.entry for vm in vms)
        owner = "  <Owner>root@domain.com</Owner>\n"
        text = f'<XSMConfig>\n<Set name="My_site">\n{owner}{entries}</Set>\n</XSMConfig>\n'
        files = {"site.xml": text} | {f"configs/{name}.cfg": said for name, said in CONFIGS.items()}
        folder = self.lab[host].clone()
        (folder / "configs").mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)
        return folder

    def vm(self, host: str, name: str) -> Any:
        return next((vm for vm in self.lab[host].json("vms") if vm["name"] == name), None)

    def wait_converged(self, limit_s: float = APPLY_LIMIT_S) -> float:
        """Until both hosts say so, on one revision."""
        return wait_for("the site is converged", self._converged, limit_s)

    def _converged(self) -> bool:
        seen = [self.lab.status(name) for name in self.lab.hosts]
        same = len({status.get("revision") for status in seen}) == 1
        return same and all(status.get("converged") for status in seen)
