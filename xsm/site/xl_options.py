"""The options of xl.cfg(5) (Xen 4.17 and its older names): their types, and why some can't be
carried over.

Decides what value an option may have, and keeps account of which options a rendering used: what
it didn't use is warned about, so that nothing is dropped silently. Must not know how a domain XML
looks.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import Enum

from xsm.site.problems import Problem, Severity
from xsm.site.xlcfg import XlConfig, XlList, XlOption, XlString, XlValue


class Shape(Enum):
    """What an option's value may be. xl takes numbers in quotes too."""

    TEXT = "a string"
    NUMBER = "a number"
    FLAG = "0 or 1"
    TEXTS = 'a list of strings, ["...", "..."]'
    TEXT_OR_TEXTS = "a string or a list of strings"
    NESTED = "a list of lists of strings"
    ANY = "a value"


@dataclass(frozen=True)
class Known:
    """One option. `lost`: what is told when it isn't carried over; `neutral`: values that change
    nothing.
    """

    shape: Shape
    lost: str = ""
    neutral: tuple[str, ...] = ()


_XEN_ONLY = "libvirt's Xen driver has no word for it"
_TEXT, _NUMBER, _FLAG, _TEXTS = Shape.TEXT, Shape.NUMBER, Shape.FLAG, Shape.TEXTS
_EITHER, _NESTED, _ANY = Shape.TEXT_OR_TEXTS, Shape.NESTED, Shape.ANY


def _group(shape: Shape, names: str, lost: str = "", *neutral: str) -> dict[str, Known]:
    return {name: Known(shape, lost, neutral) for name in names.split()}


KNOWN: dict[str, Known] = {
    **_group(_TEXT, "name uuid type builder kernel ramdisk root extra cmdline bootloader boot"),
    **_group(_TEXT, "on_poweroff on_reboot on_crash firmware bios keymap"),
    **_group(_NUMBER, "memory maxmem vcpus maxvcpus cpu_weight cap rtc_timeoffset"),
    **_group(_EITHER, "bootloader_args cpus serial usbdevice viridian"),
    **_group(_FLAG, "localtime usb vnc vncunused sdl nographic stdvga hpet nestedhvm e820_host"),
    **_group(_FLAG, "acpi apic pae hap", "this hypervisor decides that itself", "1"),
    **_group(_TEXTS, "disk vif vfb channel usbdev pci device_model_args"),
    **_group(_TEXTS, "device_model_args_pv device_model_args_hvm"),
    **_group(_TEXT, "vnclisten vncpasswd vga soundhw passthrough display xauthority"),
    **_group(_NUMBER, "vncdisplay videoram max_event_channels max_grant_frames"),
    **_group(_TEXT, "tsc_mode device_model_override acpi_firmware"),
    **_group(_FLAG, "spice spicedisable_ticketing spiceagent_mouse spice_clipboard_sharing"),
    **_group(_TEXT, "spicehost spicepasswd spice_image_compression spice_streaming_video"),
    **_group(_NUMBER, "spiceport spicetls_port"),
    **_group(_FLAG, "spicevdagent", "libvirt ties it to spice_clipboard_sharing"),
    **_group(_FLAG, "pci_permissive pci_seize"),
    # Understood, and nobody to give it to.
    **_group(_TEXT, "on_watchdog on_soft_reset", "libvirt has no such event action"),
    **_group(_TEXT, "pool", "libvirt doesn't know Xen's CPU pools"),
    **_group(_EITHER, "cpus_soft", "libvirt knows no soft affinity; use cpus"),
    **_group(_NUMBER, "spiceusbredirection", "write <redirdev> in a libvirt XML config", "0"),
    **_group(_NUMBER, "usbversion", "write <controller> in a libvirt XML config", "0"),
    **_group(_TEXTS, "usbctrl", "libvirt adds the controllers that usbdev needs"),
    **_group(_NESTED, "vnuma", "write <numa> in a libvirt XML config's <cpu>"),
    **_group(_EITHER, "cpuid", "write <cpu> with <feature> in a libvirt XML config"),
    **_group(_TEXT, "seclabel init_seclabel", "write <seclabel> in a libvirt XML config"),
    **_group(_TEXT, "device_model_stubdomain_seclabel", _XEN_ONLY),
    **_group(_FLAG, "nomigrate", "say so with the VM's Migration in the site file", "0"),
    **_group(_FLAG, "pci_msitranslate pci_power_mgmt", _XEN_ONLY, "0"),
    **_group(_ANY, "gfx_passthru", "write <hostdev> in a libvirt XML config", "0"),
    **_group(_TEXTS, "vtpm p9 pvcalls vdispl vkb dtdev ioports iomem irqs mca_caps", _XEN_ONLY),
    **_group(_TEXTS, "vif2", _XEN_ONLY),
    **_group(_NESTED, "vsnd", _XEN_ONLY),
    **_group(_FLAG, "pvh", "use type='pvh'", "0"),
    **_group(
        _FLAG, "pvshim driver_domain xend_suspend_evtchn_compat vpmu msr_relaxed", _XEN_ONLY, "0"
    ),
    **_group(_FLAG, "altp2mhvm acpi_laptop_slate dm_restrict opengl", _XEN_ONLY, "0"),
    **_group(_FLAG, "nx oos acpi_s3 acpi_s4 vpt_align vkb_device xen_platform_pci", _XEN_ONLY, "1"),
    **_group(_FLAG, "device_model_stubdomain_override", _XEN_ONLY, "0"),
    **_group(
        _TEXT,
        "pvshim_path pvshim_cmdline pvshim_extra device_tree tee gic_version vuart",
        _XEN_ONLY,
    ),
    **_group(
        _TEXT, "rdm bios_path_override firmware_override smbios_firmware ms_vm_genid", _XEN_ONLY
    ),
    **_group(_TEXT, "device_model_user stubdomain_kernel stubdomain_cmdline", _XEN_ONLY),
    **_group(_TEXT, "stubdomain_ramdisk colo_compare_suite timer_mode", _XEN_ONLY),
    **_group(_TEXT, "vendor_device", _XEN_ONLY, "none"),
    **_group(_TEXT, "altp2m", _XEN_ONLY, "disabled"),
    **_group(_TEXT, "hdtype", "libvirt's Xen driver emulates IDE", "ide"),
    **_group(_TEXT, "sched", "the host decides that"),
    **_group(_NUMBER, "max_maptrack_frames max_grant_version vmtrace_buf_kb", _XEN_ONLY),
    **_group(_NUMBER, "shadow_memory", "libvirt's Xen driver computes it"),
    **_group(_NUMBER, "rdm_mem_boundary mmio_hole stubdomain_memory", _XEN_ONLY),
    **_group(_NUMBER, "period slice latency extratime", "a parameter of a scheduler that is gone"),
    **_group(_TEXT, "device_model_version", "libvirt finds out from the emulator", "qemu-xen"),
    **_group(_TEXT, "device_model", "use device_model_override"),
    # Options of xm's Python programs that plain files often still carry; xl ignores them, too.
    **_group(_ANY, "ip netmask gateway hostname dhcp nfs_server nfs_root", "xm's; xl ignores it"),
    **_group(_ANY, "vncconsole vncviewer on_shutdown restart parallel", "xm's; xl ignores it"),
    **_group(_ANY, "console monitor superpages bootargs guest_os_type isa", "xm's; xl ignores it"),
    **_group(
        _ANY, "shadow timeoffset tpm bootentry suppress_spurious_page_faults", "xm's; xl ignores it"
    ),
}

CHOICES: dict[str, tuple[str, ...]] = {
    "type": ("pv", "pvh", "hvm"),
    "builder": ("generic", "linux", "hvm"),
    "vga": ("none", "stdvga", "cirrus", "qxl"),
    "passthrough": ("disabled", "enabled", "sync_pt", "share_pt", "default"),
    "tsc_mode": ("default", "always_emulate", "native", "native_paravirt", "0", "1", "2", "3"),
    "bios": ("rombios", "seabios", "ovmf"),
}
ACTIONS = (
    *("destroy", "restart", "rename-restart", "preserve"),
    *("coredump-destroy", "coredump-restart", "soft-reset"),
)
CHOICES |= dict.fromkeys(("on_poweroff", "on_reboot", "on_crash", "on_watchdog"), ACTIONS)

RANGES: dict[str, tuple[int, int]] = {
    "memory": (1, 1 << 30),
    "maxmem": (1, 1 << 30),
    "vcpus": (1, 4096),
    "maxvcpus": (1, 4096),
    "cpu_weight": (1, 65535),
    "cap": (0, 65535),
    "vncdisplay": (0, 59635),
    "spiceport": (0, 65535),
    "spicetls_port": (0, 65535),
    "rtc_timeoffset": (-(1 << 31), (1 << 31) - 1),
}
DEFAULT_RANGE = (0, (1 << 31) - 1)

_NUMBER_TEXT = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,18})\s*")

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def number(text: str) -> int | None:
    """The number that C's strtol(text, 0, 0) would read; None when the text is none."""
    match = _NUMBER_TEXT.fullmatch(text)
    if match is None:
        return None
    sign, digits = match.groups()
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    else:
        value = int(digits, 8 if digits[0] == "0" else 10)
    return -value if sign == "-" else value


def check(config: XlConfig) -> list[Problem]:
    """Errors in the values of the options that xl knows; options it doesn't know are warned about
    later.
    """
    problems: list[Problem] = []
    for option in config.options:
        known = KNOWN.get(option.name)
        wrong = _wrong(option, known.shape) if known else None
        if wrong is not None:
            line, message, hint = wrong
            problems.append(Problem(config.path, line, f"{option.name}: {message}", hint))
    return problems


def _wrong(option: XlOption, shape: Shape) -> tuple[int, str, str] | None:
    value = option.value
    if any(_NOT_XML.search(text) for text in _strings(value)):
        return value.line, "the text holds a control character", "remove it; XML can't hold it"
    if isinstance(value, XlList):
        if shape in (Shape.TEXTS, Shape.TEXT_OR_TEXTS):
            inner = next((item for item in value.items if isinstance(item, XlList)), None)
            return (inner.line, "a list stands where a string should be", "") if inner else None
        return None if shape in (Shape.NESTED, Shape.ANY) else (value.line, "a list", shape.value)
    if shape in (Shape.TEXTS, Shape.NESTED):
        return value.line, f"{value.text[:60]!r} is not in a list", f"it takes {shape.value}"
    if shape in (Shape.NUMBER, Shape.FLAG):
        return _wrong_number(option.name, value, shape)
    choices = CHOICES.get(option.name)
    if choices and value.text not in choices:
        return value.line, f"{value.text[:60]!r} is not known", f"one of {', '.join(choices)}"
    return None


def _wrong_number(name: str, value: XlString, shape: Shape) -> tuple[int, str, str] | None:
    read = number(value.text)
    if read is None:
        return value.line, f"{value.text[:60]!r} is no number", f"it takes {shape.value}"
    low, high = RANGES.get(name, DEFAULT_RANGE)
    if shape is Shape.NUMBER and not low <= read <= high:
        return value.line, f"{read} is out of range", f"{low} to {high}"
    return None


def _strings(value: XlValue) -> list[str]:
    if isinstance(value, XlString):
        return [value.text]
    return [text for item in value.items for text in _strings(item)]


class Options:
    """One rendering's view of a checked xl.cfg: reading an option marks it as carried over."""

    def __init__(self, config: XlConfig) -> None:
        self._options = {option.name: option for option in config.options}
        self._path = config.path
        self._used: set[str] = set()
        self._warnings: list[Problem] = list(config.warnings)

    def use(self, *names: str) -> None:
        """Say that these options are taken care of, whatever their values."""
        self._used.update(names)

    def has(self, name: str) -> bool:
        return name in self._options

    def line(self, name: str) -> int:
        return self._options[name].line if name in self._options else 0

    def text(self, name: str) -> str | None:
        """The option's text, None when it isn't set. An empty string is a value."""
        self._used.add(name)
        option = self._options.get(name)
        return option.value.text if option and isinstance(option.value, XlString) else None

    def number(self, name: str) -> int | None:
        text = self.text(name)
        return None if text is None else number(text)

    def flag(self, name: str) -> bool | None:
        value = self.number(name)
        return None if value is None else value != 0

    def texts(self, name: str) -> list[XlString]:
        """The strings of a list; a single string counts as a list of one."""
        self._used.add(name)
        option = self._options.get(name)
        if option is None:
            return []
        items = option.value.items if isinstance(option.value, XlList) else (option.value,)
        return [item for item in items if isinstance(item, XlString)]

    def is_list(self, name: str) -> bool:
        return name in self._options and isinstance(self._options[name].value, XlList)

    def warn(self, line: int, message: str, hint: str = "") -> None:
        self._warnings.append(Problem(self._path, line, message, hint, Severity.WARNING))

    def warn_lost(self, name: str, why: str = "") -> None:
        """Say that an option that is set is not carried over."""
        self._used.add(name)
        if name in self._options:
            self.warn(self.line(name), f"{name} is not carried over", why)

    def warnings(self, kind: str) -> tuple[Problem, ...]:
        """All warnings, with one for each option that nobody read and whose value matters."""
        found = list(self._warnings)
        for name in sorted(self._options.keys() - self._used):
            option, known = self._options[name], KNOWN.get(name)
            if known is None:
                near = difflib.get_close_matches(name, KNOWN, n=1)
                hint = f"did you mean {near[0]}?" if near else "xl.cfg(5) doesn't know it either"
                message = f"unknown option {name[:60]} is ignored"
            else:
                if isinstance(option.value, XlString) and option.value.text in known.neutral:
                    continue
                message = f"{name} is not carried over"
                hint = known.lost or f"it means nothing for this kind of guest on {kind}"
            found.append(Problem(self._path, option.line, message, hint, Severity.WARNING))
        return tuple(sorted(set(found)))
