"""Configs that are libvirt domain XML: whatever libvirt knows stays as the user wrote it.

Decides what of it the VM's parameters replace, where it can run, and which part of it a change
concerns. Must not know what the elements that it keeps mean.
"""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import dataclass

from lxml import etree

from xsm.site import io_limits
from xsm.site.identity import interface_mac
from xsm.site.model import HypervisorKind
from xsm.site.problems import Problem, Severity
from xsm.site.wanted import Wanted

_UNITS = {
    "b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 10**6, "M": 1 << 20,
    "MiB": 1 << 20, "GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40,
    "TiB": 1 << 40,
}  # fmt: skip
_ORDER = (
    *("name", "uuid", "genid", "title", "description", "metadata", "maxMemory", "memory"),
    *("currentMemory", "vcpu", "vcpus", "cputune"),
)
_QEMU_FAMILY = frozenset({HypervisorKind.KVM, HypervisorKind.QEMU})
_XEN_OS_TYPES = frozenset({"linux", "xen", "xenpvh"})
_MIB = 1 << 20

IGNORED = frozenset(
    {"name", "uuid", "genid", "title", "description", "metadata", "memory", "currentMemory"}
)
"""Elements that no boot depends on, or that the VM's parameters decide."""

PARTS = {
    "vcpu": "cpus", "vcpus": "cpus", "cputune": "cpus", "cpu": "cpus", "iothreads": "cpus",
    "numatune": "cpus", "os": "kernel", "bootloader": "kernel", "bootloader_args": "kernel",
    "disk": "disks", "interface": "interfaces", "graphics": "graphics", "video": "graphics",
    "features": "features", "clock": "clock", "hostdev": "host_devices",
    "serial": "consoles", "console": "consoles", "channel": "consoles",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Template:
    """A read domain XML. Invariant: nobody changes `root`; a rendering works on a copy."""

    path: str
    root: etree._Element


def check(root: etree._Element, path: str) -> list[Problem]:
    """What makes this XML unusable as a config; whether libvirt takes the rest, it says itself."""
    if root.tag != "domain":
        hint = "the file's root must be <domain>, as `virsh dumpxml` writes it"
        return [Problem(path, _line(root), f"<{str(root.tag)[:60]}> is no libvirt domain", hint)]
    problems = []
    for tag in (*_ORDER, "devices", "os", "cpu", "features", "clock"):
        for again in root.findall(tag)[1:]:
            problems.append(Problem(path, _line(again), f"<{tag}> is there twice"))
    for tag in ("memory", "currentMemory"):
        element = root.find(tag)
        if element is not None and _mib(element) is None:
            hint = "<memory unit='MiB'>512</memory>"
            problems.append(Problem(path, _line(element), f"<{tag}> is no amount of memory", hint))
    vcpu = root.find("vcpu")
    if vcpu is not None:
        for text in ((vcpu.text or "").strip(), vcpu.get("current", "1")):
            if not re.fullmatch("[0-9]{1,5}", text):
                message = f"<vcpu>: {text[:40]!r} is no number of CPUs"
                problems.append(Problem(path, _line(vcpu), message))
    shares = root.find("cputune/shares")
    if shares is not None and not re.fullmatch(r"\s*[0-9]{1,7}\s*", shares.text or ""):
        problems.append(Problem(path, _line(shares), "<shares> is no number"))
    return problems


def runs_on(template: Template, kind: HypervisorKind) -> str:
    """Why this domain can't run on a host of that kind, "" when it can."""
    said, os_type = template.root.get("type"), _os_type(template.root)
    machine = template.root.find("os/type")
    machine_name = "" if machine is None else machine.get("machine", "")
    if kind is HypervisorKind.TEST:
        return ""
    if said is not None and said != kind.value and not _alike(said, kind):
        return f"{template.path} says <domain type='{said[:40]}'>, the host runs {kind}"
    if kind in _QEMU_FAMILY:
        if os_type in _XEN_OS_TYPES or machine_name.startswith("xen"):
            return f"{template.path} describes a Xen guest ({os_type[:40]}), the host runs {kind}"
        if os_type == "exe":
            return f"{template.path} describes a container, the host runs {kind}"
    elif os_type not in ("hvm", *_XEN_OS_TYPES) or (
        machine_name and not machine_name.startswith("xen")
    ):
        what = machine_name[:40] or os_type[:40]
        return f"{template.path} describes a guest for machine {what}, which Xen hasn't"
    return ""


def _alike(said: str, kind: HypervisorKind) -> bool:
    return said == "test" or (said in ("kvm", "qemu") and kind in _QEMU_FAMILY)


def _os_type(root: etree._Element) -> str:
    return (
        root.findtext("os/type") or ("linux" if root.find("bootloader") is not None else "hvm")
    ).strip()


def limits(template: Template) -> tuple[int | None, int | None]:
    """(MiB, VCPUs) that the domain can grow to, where it says a present value beside the larger
    maximum.

    A lone <memory>, or one equal to <currentMemory> as in `virsh dumpxml`, is a size and no limit.
    """
    memory = vcpus = None
    most, current = template.root.find("memory"), template.root.find("currentMemory")
    if most is not None and current is not None:
        memory = _mib(most)
        if memory is not None and memory <= (_mib(current) or 0):
            memory = None
    vcpu = template.root.find("vcpu")
    if (
        vcpu is not None
        and int(vcpu.get("current", "0")) < int(vcpu.text or 0)
        and vcpu.get("current")
    ):
        vcpus = int(vcpu.text or 0)
    return memory, vcpus


def cpu_weight(template: Template) -> int | None:
    shares = template.root.findtext("cputune/shares")
    return int(shares) if shares else None


def fingerprint(template: Template) -> dict[str, str]:
    """Digest of each part of the XML that takes effect at the next boot, whatever its layout and
    comments.
    """
    said: dict[str, list[str]] = {}
    root = copy.deepcopy(template.root)
    said["type"] = [root.get("type", "")]
    first = root.find("devices/interface/mac")
    if first is not None and first.getparent() is root.find("devices/interface"):
        first.getparent().remove(first)
    for shares in root.findall("cputune/shares"):
        shares.getparent().remove(shares)
    io_limits.strip(root)
    for vcpu in root.findall("vcpu"):
        vcpu.text = None
        vcpu.attrib.pop("current", None)
    for child in root.iterchildren(etree.Element):
        children = child.iterchildren(etree.Element) if child.tag == "devices" else [child]
        for element in children:
            name = etree.QName(element).localname
            bare = not len(element) and not element.attrib and not (element.text or "").strip()
            if element.tag in IGNORED or (bare and element.tag in ("vcpu", "cputune")):
                continue
            element.tail = None
            text = etree.canonicalize(element, strip_text=True, with_comments=False)
            said.setdefault(PARTS.get(name, name), []).append(text)
    return {part: digest("\n".join(texts)) for part, texts in said.items()}


def digest(text: str) -> str:
    """Short digest of what the user said; 48 bits are plenty to tell two versions of one part
    apart.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def render(template: Template, wanted: Wanted) -> tuple[etree._Element, tuple[Problem, ...]]:
    """The <domain> for this VM, without XSM's mark, and warnings for what couldn't be kept."""
    rendering = _Rendering(template, wanted)
    rendering.all()
    return rendering.root, tuple(sorted(set(rendering.warnings)))


class _Rendering:
    def __init__(self, template: Template, wanted: Wanted) -> None:
        self.root = copy.deepcopy(template.root)
        self.path, self.wanted = template.path, wanted
        self.warnings: list[Problem] = []

    def _warn(self, element: etree._Element, message: str, hint: str = "") -> None:
        self.warnings.append(Problem(self.path, _line(element), message, hint, Severity.WARNING))

    def all(self) -> None:
        vm, limit = self.wanted.vm, self.wanted.limits
        said = self.root.get("type")
        self.root.set("type", self.wanted.kind.value)
        self.root.attrib.pop("id", None)
        cpu = self.root.find("cpu[@mode='host-passthrough']")
        if cpu is not None and said == "kvm" and self.wanted.kind is HypervisorKind.QEMU:
            self._warn(cpu, "an emulated CPU can't be host-passthrough", "mode='maximum'")
        self._set("name", vm.name)
        self._set("uuid", self.wanted.uuid)
        self._set("memory", str(limit.max_memory_mib)).set("unit", "MiB")
        self._set("currentMemory", str(vm.memory_mib)).set("unit", "MiB")
        self._vcpus()
        self._interfaces()

    def _set(self, tag: str, text: str) -> etree._Element:
        element = self.root.find(tag)
        if element is None:
            element = etree.Element(tag)
            before = _ORDER[: _ORDER.index(tag)]
            present = [c for c in self.root.iterchildren(etree.Element) if c.tag in before]
            self.root.insert(self.root.index(present[-1]) + 1 if present else 0, element)
        element.text = text
        return element

    def _vcpus(self) -> None:
        vm, most = self.wanted.vm, self.wanted.limits.max_vcpus
        vcpu = self._set("vcpu", str(most))
        vcpu.attrib.pop("current", None)
        if vm.vcpus != most:
            vcpu.set("current", str(vm.vcpus))
        listed = self.root.find("vcpus")
        if listed is not None:
            self._warn(listed, "<vcpus> is left out: the VM's VCPUS and the maximum decide")
            self.root.remove(listed)
        topology = self.root.find("cpu/topology")
        if topology is not None and _threads(topology) != most:
            self._warn(
                topology,
                f"<topology> is left out: it has {_threads(topology)} CPUs, {vm.name} up to {most}",
            )
            topology.getparent().remove(topology)
        for pin in self.root.findall("cputune/vcpupin"):
            if pin.get("vcpu", "").isdecimal() and int(pin.get("vcpu", "0")) >= most:
                self._warn(pin, f"<vcpupin> is left out: there is no VCPU {pin.get('vcpu')}")
                pin.getparent().remove(pin)
        if vm.cpu_weight is not None:
            tune = self.root.find("cputune")
            tune = self._set("cputune", "") if tune is None else tune
            shares = tune.find("shares")
            shares = etree.SubElement(tune, "shares") if shares is None else shares
            shares.text = str(vm.cpu_weight)

    def _interfaces(self) -> None:
        vm = self.wanted.vm
        interfaces = self.root.findall("devices/interface")
        if not interfaces and (vm.mac or vm.ip):
            what = f"HWADDR {vm.mac}" if vm.mac else f"IP {vm.ip}"
            self._warn(self.root, f"{what} of {vm.name} has no effect: there is no <interface>")
        for index, interface in enumerate(interfaces):
            mac = interface.find("mac")
            if mac is not None and index:
                continue
            address = self.wanted.mac if index == 0 else interface_mac(self.wanted.uuid, index)
            if mac is None:
                mac = etree.Element("mac")
                interface.insert(0, mac)
            old = mac.get("address", "").lower()
            if old and old != address and vm.mac is None:
                hint = "give the VM its HWADDR in the site file"
                self._warn(mac, f"MAC {old[:40]} is not used: {vm.name} has {address}", hint)
            mac.attrib.clear()
            mac.set("address", address)
        if interfaces:
            self._ip(interfaces[0])

    def _ip(self, interface: etree._Element) -> None:
        vm = self.wanted.vm
        if vm.ip is None:
            return
        if self.wanted.kind in _QEMU_FAMILY:
            if vm.ip != "dhcp":
                self._warn(
                    interface,
                    f"IP {vm.ip} can't be given to libvirt's {self.wanted.kind} driver",
                    "let DHCP give it to the MAC, or set it in the guest",
                )
            return
        for element in interface.findall("ip"):
            interface.remove(element)
        if vm.ip != "dhcp":
            address, _, prefix = vm.ip.partition("/")
            family = "ipv6" if ":" in address else "ipv4"
            element = etree.SubElement(interface, "ip", {"address": address, "family": family})
            if prefix:
                element.set("prefix", prefix)


def _threads(topology: etree._Element) -> int:
    total = 1
    for name in ("sockets", "dies", "clusters", "cores", "threads"):
        text = topology.get(name, "1")
        total *= int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    return total


def _mib(element: etree._Element) -> int | None:
    """MiB, rounded up."""
    text, unit = (element.text or "").strip(), _UNITS.get(element.get("unit", "KiB"))
    if unit is None or not re.fullmatch("[0-9]{1,18}", text):
        return None
    return -(-int(text) * unit // _MIB)


def _line(element: etree._Element) -> int:
    return int(getattr(element, "sourceline", 0) or 0)
