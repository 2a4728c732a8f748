"""From an xl.cfg's device options to libvirt's <devices>.

Decides which device each specification becomes on Xen's driver, and its nearest likeness
elsewhere: disks become virtio disks (vda, vdb, ...), vifs virtio interfaces on the same bridge.
"""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from xsm.site import xl_vif
from xsm.site.identity import interface_mac
from xsm.site.model import HypervisorKind
from xsm.site.problems import Problem
from xsm.site.wanted import Wanted
from xsm.site.xl_consoles import Consoles
from xsm.site.xl_disk import Disk, WrongSpec, letters_of
from xsm.site.xl_disk import parse as parse_disk
from xsm.site.xl_options import Options
from xsm.site.xlcfg import XlConfig

MAX_DEVICES = 256
"""Disks, or interfaces, of one VM."""

_READERS: dict[str, Callable[[str], object]] = {
    "disk": parse_disk,
    "vif": xl_vif.vif,
    "vfb": xl_vif.pairs,
    "channel": xl_vif.pairs,
    "usbdev": xl_vif.pairs,
    "pci": xl_vif.pci,
    "cpus": xl_vif.cpu_set,
}


def check(config: XlConfig) -> list[Problem]:
    """What is wrong with the device specifications and CPU lists, each with its line."""
    options = Options(config)
    problems: list[Problem] = []
    for name, read in _READERS.items():
        items = options.texts(name)
        if len(items) > MAX_DEVICES:
            message = f"{name}: {len(items)} entries; at most {MAX_DEVICES} are taken"
            problems.append(Problem(config.path, options.line(name), message))
            continue
        for item in items:
            try:
                read(item.text)
            except xl_vif.HostCpus:
                continue
            except WrongSpec as wrong:
                problems.append(
                    Problem(config.path, item.line, f"{name}: {wrong.message}", wrong.hint)
                )
    return problems + (_same_vdev(config.path, options) if not problems else [])


def _same_vdev(path: str, options: Options) -> list[Problem]:
    seen: dict[str, int] = {}
    problems = []
    for item in options.texts("disk"):
        vdev = parse_disk(item.text).vdev
        if vdev in seen:
            message = f"disk: {vdev} is there already, in line {seen[vdev]}"
            problems.append(Problem(path, item.line, message, "each disk has its own vdev"))
        seen.setdefault(vdev, item.line)
    return problems


class Rendering:
    """Appends one guest's devices to `devices`."""

    def __init__(
        self, options: Options, devices: etree._Element, wanted: Wanted, hvm: bool
    ) -> None:
        self.options, self.devices, self.wanted, self.hvm = options, devices, wanted, hvm
        self.vm, self.kind = wanted.vm, wanted.kind
        self.xen = wanted.kind is HypervisorKind.XEN

    def all(self) -> dict[str, str]:
        """Append all devices; gives the disks' new names (xvda -> vda) where they have any."""
        emulator = self.options.text("device_model_override") if self.xen else None
        if emulator:
            self._sub(self.devices, "emulator", emulator)
        renamed = self._disks()
        self._interfaces()
        Consoles(self.options, self.devices, self.kind, self.hvm).all()
        self._passed_through()
        if self.xen:
            self._xenbus()
        return renamed

    @staticmethod
    def _sub(
        parent: etree._Element, tag: str, text: str | None = None, **at: str
    ) -> etree._Element:
        child = etree.SubElement(parent, tag, at)
        child.text = text
        return child

    def _disks(self) -> dict[str, str]:
        disks = [(item.line, parse_disk(item.text)) for item in self.options.texts("disk")]
        names = {} if self.xen else self._new_names([disk for _, disk in disks])
        for line, disk in disks:
            self._disk(line, disk, names.get(disk.vdev, disk.vdev))
        return {old: new for old, new in names.items() if old != new}

    def _new_names(self, disks: list[Disk]) -> dict[str, str]:
        """Names on KVM: xvda is vda. A partition becomes a whole disk, with the next letter if
        that is taken.
        """
        names: dict[str, str] = {}
        taken: set[str] = set()
        for disk in disks:
            if disk.cdrom or (self.hvm and disk.bus_name in ("hd", "sd")):
                names[disk.vdev] = disk.bus_name.replace("xvd", "sd") + disk.letters
                taken.add(names[disk.vdev])
        for disk in (d for d in disks if d.vdev not in names):
            wanted = f"vd{disk.letters}"
            index = 0
            while wanted in taken:
                wanted, index = f"vd{letters_of(index)}", index + 1
            names[disk.vdev] = wanted
            taken.add(wanted)
        return names

    def _disk(self, line: int, disk: Disk, name: str) -> None:
        options = self.options
        block = disk.target.startswith("/dev/")
        element = self._sub(
            self.devices, "disk", type="block" if block else "file",
            device="cdrom" if disk.cdrom else "disk",
        )  # fmt: skip
        self._driver(element, disk)
        if disk.target:
            self._source(element, disk, line, block)
        self._sub(element, "target", dev=name, bus=self._bus(disk, name))
        if disk.backend and self.xen:
            self._sub(element, "backenddomain", name=disk.backend)
        elif disk.backend:
            options.warn(line, f"disk {disk.vdev}: backend={disk.backend} is not carried over")
        if disk.readonly:
            self._sub(element, "readonly")
        if disk.script:
            options.warn(
                line,
                f"disk {disk.vdev}: script {disk.script} is not carried over; the target must be a"
                " file or device",
                "libvirt calls no block scripts",
            )
        if disk.partition and not self.xen and self.kind is not HypervisorKind.TEST:
            options.warn(
                line, f"disk {disk.vdev}, a partition on Xen, becomes the whole disk {name}"
            )
        for said in disk.options:
            if said not in ("trusted", "no-colo", "specification=xen", "removable"):
                options.warn(line, f"disk {disk.vdev}: {said} is not carried over")

    def _driver(self, element: etree._Element, disk: Disk) -> None:
        """No driver on Xen lets libxl choose the backend, as xl does for raw images."""
        driver = etree.Element("driver")
        image_format = "raw" if disk.format == "empty" else disk.format
        qemu = image_format != "raw" or disk.backend_type == "qdisk" or _is_rbd(disk)
        if not self.xen:
            driver.set("name", "qemu")
            driver.set("type", "vpc" if image_format == "vhd" else image_format)
        elif qemu:
            driver.set("name", "qemu")
            driver.set("type", image_format)
        elif disk.backend_type in ("phy", "tap"):
            driver.set("name", disk.backend_type)
            if disk.backend_type == "tap":
                driver.set("type", "raw")
        if disk.discard is not None:
            driver.set("discard", "unmap" if disk.discard else "ignore")
        if driver.attrib:
            element.append(driver)

    def _source(self, element: etree._Element, disk: Disk, line: int, block: bool) -> None:
        if not _is_rbd(disk):
            self._sub(element, "source", **{"dev" if block else "file": disk.target})
            return
        name, _, rest = disk.target.removeprefix("rbd:").partition(":")
        element.set("type", "network")
        self._sub(element, "source", protocol="rbd", name=name)
        if rest:
            self.options.warn(
                line,
                f"disk {disk.vdev}: rbd options {rest[:80]} are not carried over",
                "write <source> with <host> and <auth> in a libvirt XML config",
            )

    def _bus(self, disk: Disk, name: str) -> str:
        if self.xen:
            return {"hd": "ide", "sd": "scsi"}.get(disk.bus_name, "xen") if self.hvm else "xen"
        if name.startswith("vd"):
            return "virtio"
        return "ide" if name.startswith("hd") and self.wanted.arch in ("x86_64", "i686") else "scsi"

    def _interfaces(self) -> None:
        for index, item in enumerate(self.options.texts("vif")):
            vif = xl_vif.vif(item.text)
            self._interface(index, item.line, vif)
        if not self.options.texts("vif"):
            for what, said in (("HWADDR", self.vm.mac), ("IP", self.vm.ip)):
                if said:
                    self.options.warn(
                        0, f"{what} {said} of {self.vm.name} has no effect: the config has no vif",
                        "vif = [ 'bridge=xenbr0' ]",
                    )  # fmt: skip

    def _interface(self, index: int, line: int, vif: xl_vif.Vif) -> None:
        options, where = self.options, f"vif {index}"
        mac = self.wanted.mac if index == 0 else (vif.mac or interface_mac(self.wanted.uuid, index))
        if index == 0 and vif.mac and self.vm.mac is None and vif.mac != mac:
            options.warn(
                line,
                f"{where}: mac={vif.mac} is not used: a config may serve many VMs, and"
                f" {self.vm.name} has {mac}",
                "give the VM its HWADDR in the site file",
            )
        routed = self.xen and "route" in vif.script and not vif.bridge
        interface = self._sub(self.devices, "interface", type="ethernet" if routed else "bridge")
        self._sub(interface, "mac", address=mac)
        if not routed:
            self._sub(interface, "source", bridge=vif.bridge or xl_vif.DEFAULT_BRIDGE)
            if not vif.bridge and not self.xen and self.kind is not HypervisorKind.TEST:
                options.warn(
                    line,
                    f"{where}: names no bridge, so it gets Xen's default, xenbr0",
                    "bridge=br0",
                )
        self._addresses(interface, index, line, vif)
        if vif.script and self.xen:
            self._sub(interface, "script", path=vif.script)
        elif vif.script:
            options.warn(line, f"{where}: script={vif.script} is not carried over")
        if vif.vifname:
            self._sub(interface, "target", dev=vif.vifname)
        model = self._model(vif)
        if model:
            self._sub(interface, "model", type=model)
        if vif.backend and self.xen:
            self._sub(interface, "backenddomain", name=vif.backend)
        elif vif.backend:
            options.warn(line, f"{where}: backend={vif.backend} is not carried over")
        if vif.rate_bytes_s is not None:
            average = max(vif.rate_bytes_s // 1024, 1)
            self._sub(self._sub(interface, "bandwidth"), "outbound", average=str(average))
        if vif.mtu is not None:
            self._sub(interface, "mtu", size=str(vif.mtu))
        for said in vif.lost:
            options.warn(line, f"{where}: {said} is not carried over")

    def _model(self, vif: xl_vif.Vif) -> str:
        if not self.xen:
            emulated = self.hvm and vif.vif_type != "vif" and vif.model not in ("", "virtio-net")
            return vif.model if emulated else "virtio"
        if not self.hvm:
            return ""
        return "netfront" if vif.vif_type == "vif" else vif.model

    def _addresses(self, interface: etree._Element, index: int, line: int, vif: xl_vif.Vif) -> None:
        """On Xen the address goes to the vif script; libvirt takes none for KVM, nor can it tell
        the guest.
        """
        addresses = vif.ip
        if index == 0 and self.vm.ip is not None:
            addresses = () if self.vm.ip == "dhcp" else (self.vm.ip,)
        if self.kind in (HypervisorKind.KVM, HypervisorKind.QEMU):
            if addresses:
                self.options.warn(
                    line,
                    f"vif {index}: the address {' '.join(addresses)} can't be given to libvirt's"
                    f" {self.kind} driver",
                    "let DHCP give it to the MAC, or set it in the guest",
                )
            return
        for text in addresses:
            address, _, prefix = text.partition("/")
            element = self._sub(
                interface, "ip", address=address, family="ipv6" if ":" in address else "ipv4"
            )
            if prefix:
                element.set("prefix", prefix)

    def _passed_through(self) -> None:
        options = self.options
        permissive = options.flag("pci_permissive") if self.xen else None
        seize = options.flag("pci_seize")
        for item in options.texts("pci"):
            pci = xl_vif.pci(item.text)
            managed = pci.seize if pci.seize is not None else seize
            host = self._sub(self.devices, "hostdev", mode="subsystem", type="pci")
            host.set("managed", "yes" if managed else "no")
            source = self._sub(host, "source")
            filtered = pci.permissive if pci.permissive is not None else permissive
            if filtered is not None and self.xen:
                source.set("writeFiltering", "no" if filtered else "yes")
            elif filtered:
                options.warn(item.line, f"pci {item.text[:40]}: permissive is not carried over")
            self._sub(
                source, "address", domain=f"0x{pci.domain:04x}", bus=f"0x{pci.bus:02x}",
                slot=f"0x{pci.slot:02x}", function=f"0x{pci.function:x}",
            )  # fmt: skip
            options.warn(
                item.line,
                f"pci {item.text[:40]}: with a device of one host the VM can't migrate live",
            )
            for said in pci.lost:
                options.warn(item.line, f"pci {item.text[:40]}: {said} is not carried over")
        for item in options.texts("usbdev"):
            self._usb(item.line, xl_vif.pairs(item.text))

    def _usb(self, line: int, said: dict[str, str]) -> None:
        bus, device = said.pop("hostbus", ""), said.pop("hostaddr", "")
        said.pop("type", None)
        if not (bus.isdecimal() and device.isdecimal()):
            self.options.warn(line, "usbdev is not carried over", "it needs hostbus= and hostaddr=")
            return
        host = self._sub(self.devices, "hostdev", mode="subsystem", type="usb", managed="no")
        self._sub(self._sub(host, "source"), "address", bus=str(int(bus)), device=str(int(device)))
        for key, value in said.items():
            self.options.warn(line, f"usbdev: {key}={value} is not carried over")

    def _xenbus(self) -> None:
        frames, channels = (
            self.options.number("max_grant_frames"),
            self.options.number("max_event_channels"),
        )
        if frames or channels:
            controller = self._sub(self.devices, "controller", type="xenbus")
            if frames:
                controller.set("maxGrantFrames", str(frames))
            if channels:
                controller.set("maxEventChannels", str(channels))


def _is_rbd(disk: Disk) -> bool:
    return disk.target.startswith("rbd:")
