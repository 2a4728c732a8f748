"""From an xl.cfg to a libvirt domain: everything but the devices.

Decides how each option is said in libvirt's words, for Xen's own driver and, translated, for KVM,
QEMU and the test driver. What can't be said is warned about. Must not know where the config came
from.

Sources: xl.cfg(5) of Xen 4.17, https://libvirt.org/formatdomain.html, and what libvirt 9.0's
libxl driver takes.
"""

from __future__ import annotations

import re

from lxml import etree

from xsm.site import xl_devices
from xsm.site.model import HypervisorKind
from xsm.site.problems import Problem
from xsm.site.wanted import Wanted
from xsm.site.xl_options import Options, number
from xsm.site.xl_vif import HostCpus, cpu_set, ranges
from xsm.site.xlcfg import XlConfig

XEN_COMMANDLINE = "http://libvirt.org/schemas/domain/xen/1.0"
"""Namespace of libvirt's pass-through of device model arguments (since libvirt 6.7)."""

_TSC_MODES = {
    "always_emulate": "emulate",
    "1": "emulate",
    "native": "native",
    "2": "native",
    "native_paravirt": "paravirt",
    "3": "paravirt",
}
_BOOT_DEVICES = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}
_DEVICE_NAME = re.compile(r"(?<![\w/])/dev/((?:xvd|sd|hd)[a-z]{1,3})([0-9]*)\b")


def guest_type(config: XlConfig) -> str:
    """pv, pvh or hvm."""
    for name in ("type", "builder"):
        option = config.option(name)
        if option is not None:
            said = getattr(option.value, "text", "")
            return said if said in ("pv", "pvh", "hvm") else "pv"
    return "pv"


def limits(config: XlConfig) -> tuple[int | None, int | None]:
    """(maxmem in MiB, maxvcpus) of the config, None where it says nothing."""
    return _number(config, "maxmem"), _number(config, "maxvcpus")


def cpu_weight(config: XlConfig) -> int | None:
    return _number(config, "cpu_weight")


def _number(config: XlConfig, name: str) -> int | None:
    option = config.option(name)
    return None if option is None else number(getattr(option.value, "text", ""))


def render(config: XlConfig, wanted: Wanted) -> tuple[etree._Element, tuple[Problem, ...]]:
    """The <domain> element, without metadata, and warnings for all that is lost or changes its
    meaning.
    """
    guest = _Guest(config, wanted)
    return guest.domain(), guest.options.warnings(wanted.kind.value)


def sub(
    parent: etree._Element, tag: str, text: str | None = None, **attributes: str
) -> etree._Element:
    """Append a child element."""
    child = etree.SubElement(parent, tag, attributes)
    child.text = text
    return child


class _Guest:
    """One rendering. Each method takes care of a few options and appends their elements."""

    def __init__(self, config: XlConfig, wanted: Wanted) -> None:
        self.options = Options(config)
        self.wanted = wanted
        self.xen = wanted.kind is HypervisorKind.XEN
        self.type = guest_type(config)
        self.hvm = self.type == "hvm"
        self.options.use("type", "builder")
        nsmap = None
        if self.xen and self._device_model_arguments():
            nsmap = {"xen": XEN_COMMANDLINE}
        self.root = etree.Element("domain", {"type": wanted.kind.value}, nsmap=nsmap)

    def domain(self) -> etree._Element:
        self._translated()
        self._identity()
        self._cpus()
        devices = etree.Element("devices")
        renamed = xl_devices.Rendering(self.options, devices, self.wanted, self.hvm).all()
        self._boot(renamed)
        self._features()
        self._clock()
        self._events()
        self.root.append(devices)
        self._arguments()
        return self.root

    def _translated(self) -> None:
        """Say once that this guest isn't what its author wrote it for. The test driver runs
        nothing.
        """
        if self.xen or self.hvm or self.wanted.kind is HypervisorKind.TEST:
            return
        line = self.options.line("type") or self.options.line("builder")
        self.options.warn(
            line,
            f"a {self.type} guest becomes a fully virtualized one on {self.wanted.kind}: its kernel"
            " needs virtio drivers, and its disks are called vda, vdb ... there",
            "name disks by UUID= or LABEL= in root and in the guest's fstab",
        )

    def _identity(self) -> None:
        vm, options, limit = self.wanted.vm, self.options, self.wanted.limits
        options.use("name", "memory", "vcpus", "maxmem", "maxvcpus", "cpu_weight")
        said = options.text("uuid")
        if said and vm.uuid is None and said.lower() != self.wanted.uuid:
            options.warn(
                options.line("uuid"),
                "uuid is not used: a config may serve many VMs, each has its own UUID",
                "give the VM its UUID in the site file",
            )
        for name, most in (("maxmem", vm.memory_mib), ("maxvcpus", vm.vcpus)):
            least = options.number(name)
            explicit = vm.max_memory_mib if name == "maxmem" else vm.max_vcpus
            if least is not None and explicit is None and least < most:
                options.warn(
                    options.line(name),
                    f"{name} {least} is less than {vm.name} has, {most}; {most} counts",
                )
        sub(self.root, "name", vm.name)
        sub(self.root, "uuid", self.wanted.uuid)
        sub(self.root, "memory", str(limit.max_memory_mib), unit="MiB")
        sub(self.root, "currentMemory", str(vm.memory_mib), unit="MiB")

    def _cpus(self) -> None:
        vm, most = self.wanted.vm, self.wanted.limits.max_vcpus
        vcpu = sub(self.root, "vcpu", str(most))
        if vm.vcpus != most:
            vcpu.set("current", str(vm.vcpus))
        tune = etree.Element("cputune")
        if self.wanted.cpu_weight is not None:
            sub(tune, "shares", str(self.wanted.cpu_weight))
        cap = self.options.number("cap") if not self.xen else None
        if cap:
            # xl: percent of one host CPU for the whole guest; libvirt: microseconds each period.
            sub(tune, "global_period", "100000")
            sub(tune, "global_quota", str(max(cap * 1000, 1000)))
        if self.xen and not self.options.number("cap"):
            self.options.use("cap")
        elif self.xen:
            self.options.warn_lost("cap", "libvirt's Xen driver can't set it in a definition")
        self._pin(vcpu, tune, most)
        if len(tune):
            self.root.append(tune)

    def _pin(self, vcpu: etree._Element, tune: etree._Element, most: int) -> None:
        lists = self.options.texts("cpus")
        each = self.options.is_list("cpus")
        for index, item in enumerate(lists):
            try:
                cpus = cpu_set(item.text)
            except HostCpus as error:
                self.options.warn(
                    item.line, f"cpus is not carried over: {error.message}", error.hint
                )
                continue
            if cpus is None:
                continue
            if not each:
                vcpu.set("cpuset", ranges(cpus))
            elif index < most:
                sub(tune, "vcpupin", vcpu=str(index), cpuset=ranges(cpus))
            else:
                self.options.warn(item.line, f"cpus: there is no VCPU {index}", "drop the entry")

    def _boot(self, renamed: dict[str, str]) -> None:
        options, xen = self.options, self.xen
        bootloader = self._bootloader()
        os_element = sub(self.root, "os")
        machine = {"pv": "xenpv", "pvh": "xenpvh", "hvm": "xenfv"}[self.type] if xen else ""
        os_type = {"pv": "linux", "pvh": "xenpvh", "hvm": "hvm"}[self.type] if xen else "hvm"
        type_element = sub(os_element, "type", os_type, arch=self.wanted.arch)
        if machine:
            type_element.set("machine", machine)
        self._firmware(os_element)
        kernel = options.text("kernel")
        if kernel:
            sub(os_element, "kernel", kernel)
        self._ramdisk_and_arguments(os_element, bool(kernel) or (xen and bootloader), renamed)
        if self.hvm or (not xen and not kernel):
            for letter in options.text("boot") or "cd":
                if letter in _BOOT_DEVICES:
                    sub(os_element, "boot", dev=_BOOT_DEVICES[letter])
                else:
                    options.warn(
                        options.line("boot"), f"boot: {letter!r} is no device", "c, d or n"
                    )
        if self.type == "pv" and xen and not kernel and not bootloader:
            options.warn(
                0,
                "neither kernel nor bootloader is set; libvirt uses pygrub",
                'bootloader = "pygrub"',
            )
        table = options.text("acpi_firmware") if self.hvm else None
        if table:
            sub(sub(os_element, "acpi"), "table", table, type="slic")

    def _bootloader(self) -> bool:
        options = self.options
        if self.hvm:
            return False
        said = options.text("bootloader")
        if said and not self.xen:
            options.warn(
                options.line("bootloader"),
                f"bootloader {said} runs on a Xen host only; on {self.wanted.kind} the guest's disk"
                " must boot by itself",
                "or give kernel and ramdisk",
            )
        if not said or not self.xen:
            options.warn_lost("bootloader_args", "there is no bootloader that could take them")
            return False
        arguments = " ".join(item.text for item in options.texts("bootloader_args"))
        sub(self.root, "bootloader", said)
        if arguments:
            sub(self.root, "bootloader_args", arguments)
        return True

    def _ramdisk_and_arguments(
        self, os_element: etree._Element, direct: bool, renamed: dict[str, str]
    ) -> None:
        options = self.options
        ramdisk, line = options.text("ramdisk"), options.text("cmdline")
        root, extra = options.text("root"), options.text("extra")
        if line is not None:
            for name in ("root", "extra"):
                if options.has(name):
                    options.warn(
                        options.line(name), f"{name} doesn't count beside cmdline, as in xl"
                    )
        else:
            line = " ".join(word for word in (f"root={root}" if root else "", extra) if word)
        if not direct:
            for name in ("ramdisk", "cmdline", "root", "extra"):
                options.warn_lost(name, "it goes with kernel, and no kernel is set")
            return
        if ramdisk:
            sub(os_element, "initrd", ramdisk)
        if line:
            sub(os_element, "cmdline", self._renamed(line, renamed))

    def _renamed(self, line: str, renamed: dict[str, str]) -> str:
        """The kernel's arguments with the names that its disks have on this hypervisor."""

        def name(match: re.Match[str]) -> str:
            disk, partition = match.groups()
            if disk + partition in renamed:
                return f"/dev/{renamed[disk + partition]}"
            return f"/dev/{renamed[disk]}{partition}" if disk in renamed else match.group()

        new = _DEVICE_NAME.sub(name, line)
        if new != line and self.wanted.kind is not HypervisorKind.TEST:
            options = self.options
            at = next((n for n in ("cmdline", "root", "extra") if options.has(n)), "extra")
            hint = "UUID= or LABEL= names a disk the same everywhere"
            options.warn(options.line(at), f"the kernel's arguments become: {new[:200]}", hint)
        return new

    def _firmware(self, os_element: etree._Element) -> None:
        options = self.options
        if not self.hvm:
            return
        said = options.text("firmware") or options.text("bios")
        options.use("firmware", "bios")
        if said in ("uefi", "ovmf") and self.xen:
            # The driver only looks at the type; which OVMF is loaded was fixed when Xen was built.
            loader = sub(os_element, "loader", "/usr/lib/xen/boot/ovmf.bin")
            loader.set("readonly", "yes")
            loader.set("type", "pflash")
        elif said in ("uefi", "ovmf"):
            os_element.set("firmware", "efi")
        elif said not in (None, "bios", "seabios"):
            name = "firmware" if options.has("firmware") else "bios"
            options.warn_lost(name, "write <loader> in a libvirt XML config")

    def _features(self) -> None:
        options = self.options
        features = etree.Element("features")
        if self.hvm or not self.xen:
            x86 = self.wanted.arch in ("x86_64", "i686")
            for name in ("acpi", "apic", "pae") if x86 else ("acpi",):
                if options.flag(name) is not False:
                    sub(features, name)
        if self.hvm and self.xen and options.flag("hap") is False:
            sub(features, "hap", state="off")
        if self.hvm:
            self._viridian(features)
        if self.xen:
            self._xen_features(features)
        if len(features):
            self.root.append(features)
        if options.has("nestedhvm") and self.type != "pv" and options.flag("nestedhvm"):
            sub(self.root, "cpu", mode="host-passthrough")

    def _viridian(self, features: etree._Element) -> None:
        options = self.options
        groups = [item.text for item in options.texts("viridian")]
        if not groups or groups == ["0"]:
            return
        if options.is_list("viridian") and groups != ["defaults"]:
            options.warn(options.line("viridian"), "viridian's groups become libvirt's usual ones")
        if self.xen:
            sub(features, "viridian")
            return
        hyperv = sub(features, "hyperv")
        sub(hyperv, "relaxed", state="on")
        sub(hyperv, "vapic", state="on")
        sub(hyperv, "spinlocks", state="on", retries="8191")

    def _xen_features(self, features: etree._Element) -> None:
        options = self.options
        xen = etree.Element("xen")
        if self.type == "pv" and options.flag("e820_host"):
            sub(xen, "e820_host", state="on")
        mode = options.text("passthrough")
        if mode == "disabled":
            sub(xen, "passthrough", state="off")
        elif mode in ("enabled", "sync_pt", "share_pt"):
            element = sub(xen, "passthrough", state="on")
            if mode != "enabled":
                element.set("mode", mode)
        if len(xen):
            features.append(xen)

    def _clock(self) -> None:
        options = self.options
        local, offset = bool(options.flag("localtime")), options.number("rtc_timeoffset") or 0
        clock = sub(self.root, "clock", offset="localtime" if local else "utc")
        if offset:
            clock.set("offset", "variable")
            clock.set("adjustment", str(offset))
            clock.set("basis", "localtime" if local else "utc")
        mode = options.text("tsc_mode") if self.xen else None
        if mode in _TSC_MODES:
            sub(clock, "timer", name="tsc", mode=_TSC_MODES[mode])
        if not self.xen and options.text("tsc_mode") not in (None, "default", "0"):
            options.warn_lost("tsc_mode", f"{self.wanted.kind} has no such modes")
        hpet = options.flag("hpet") if self.hvm else None
        if hpet is not None:
            sub(clock, "timer", name="hpet", present="yes" if hpet else "no")

    def _events(self) -> None:
        options = self.options
        for name, default in (
            ("on_poweroff", "destroy"),
            ("on_reboot", "restart"),
            ("on_crash", "destroy"),
        ):
            said = options.text(name) or default
            action = said
            if said == "soft-reset":
                action = default
            elif said.startswith("coredump-") and name != "on_crash":
                action = said.removeprefix("coredump-")
            if action != said:
                hint = "libvirt knows that for on_crash only" if "dump" in said else ""
                options.warn(options.line(name), f"{name}: {said} becomes {action}", hint)
            sub(self.root, name, action)

    def _device_model_arguments(self) -> list[str]:
        names = ["device_model_args", f"device_model_args_{'hvm' if self.hvm else 'pv'}"]
        return [item.text for name in names for item in self.options.texts(name)]

    def _arguments(self) -> None:
        arguments = self._device_model_arguments()
        if not arguments:
            return
        if not self.xen:
            for name in ("device_model_args", "device_model_args_hvm", "device_model_args_pv"):
                self.options.warn_lost(name, "they are for Xen's device model")
            return
        line = etree.SubElement(self.root, f"{{{XEN_COMMANDLINE}}}commandline")
        for argument in arguments:
            etree.SubElement(line, f"{{{XEN_COMMANDLINE}}}arg", {"value": argument})
