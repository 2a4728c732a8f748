"""A VM and its config, merged into the libvirt domain XML that a host of some kind gets.

Decides what the domain looks like, how far it can grow live, where it can run, and which of its
parts change only at a boot. The VM's parameters win over the config. Must not know any host, nor
what runs now.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from xsm.site import config_file, disk_xml, io_limits, seed, tag_xml, template, xl_domain
from xsm.site.config import Config
from xsm.site.model import VM, HypervisorKind
from xsm.site.problems import Problem, Severity
from xsm.site.tag import NAMESPACE, Tag
from xsm.site.template import Template
from xsm.site.wanted import SEEDS_DIR, Limits, Wanted
from xsm.site.xlcfg import XlConfig, XlString, XlValue

CACHED_CONFIGS = 4096
"""Configs of which is kept what they come to: more than two revisions can have, so that going through one never
starts anew."""
CACHED_TEMPLATES = 64
"""Read domain XMLs that are kept while what they come to is worked out; they are large."""

_QEMU_FAMILY = frozenset({HypervisorKind.KVM, HypervisorKind.QEMU})

MAX_SHARES = 10_000
"""Largest <shares> that libvirt takes on a host with control groups v2."""

LIVE_OPTIONS = frozenset({"name", "uuid", "memory", "maxmem", "vcpus", "maxvcpus", "cpu_weight"})
"""Options of an xl.cfg that the VM's parameters decide, that change live, or that `limits` covers.
"""

_PARTS = {
    option: part
    for part, options in {
        "kernel": "kernel ramdisk root extra cmdline bootloader bootloader_args boot firmware bios",
        "disks": "disk",
        "interfaces": "vif",
        "graphics": "vfb vnc vnclisten vncdisplay vncunused vncpasswd sdl display xauthority"
        " keymap vga stdvga videoram nographic spice spicehost spiceport spicetls_port spicepasswd",
        "cpus": "cpus cap cpus_soft cpuid nestedhvm",
        "type": "type builder",
        "clock": "localtime rtc_timeoffset tsc_mode hpet",
        "features": "acpi apic pae hap viridian",
        "consoles": "serial channel",
        "host_devices": "pci usbdev pci_permissive pci_seize",
    }.items()
    for option in options.split()
}
"""Options by the part of the VM that they describe; any other option is a part of its own."""


@dataclass(frozen=True)
class Rendered:
    """Domain XML, and what of the config was lost or changed its meaning on the way."""

    xml: str
    warnings: tuple[Problem, ...]


def _read(config: Config) -> XlConfig | Template:
    if config.path.endswith(".xml"):
        return _template(config)
    return config_file.read_xl(config.text, config.path)


@functools.lru_cache(maxsize=CACHED_TEMPLATES)
def _template(config: Config) -> Template:
    return config_file.read_xml(config.text, config.path)


def render(
    vm: VM,
    config: Config,
    *,
    uuid: str,
    mac: str,
    kind: HypervisorKind,
    tag: Tag | None,
    arch: str = "x86_64",
    seeds_dir: str = SEEDS_DIR,
) -> Rendered:
    """The domain XML that a host of `kind` gets for the VM.

    `uuid` and `mac` are the VM's (`identity`), `arch` the host's as libvirt names it. Without a
    `tag` the domain isn't marked as the site's (`xsm domxml` shows it so). `seeds_dir`: where the
    host keeps the images for cloud-init. Raises `Invalid` only
    for a config that `config_file.parse` would refuse.
    """
    wanted = Wanted(vm, uuid, mac, kind, arch, limits(vm, config), cpu_weight(vm, config))
    read = _read(config)
    if isinstance(read, Template):
        root, warnings = template.render(read, wanted)
    else:
        root, warnings = xl_domain.render(read, wanted)
    if wanted.cpu_weight is not None and wanted.cpu_weight > MAX_SHARES and kind in _QEMU_FAMILY:
        message = f"CPU weight {wanted.cpu_weight}: hosts with control groups v2 refuse it"
        hint = f"1 to {MAX_SHARES} on {kind}"
        warnings += (Problem(config.path, 0, message, hint, Severity.WARNING),)
    disk_xml.append(root, vm.name, vm.disks, kind)
    if vm.user_data is not None:
        seed.insert(root, seed.image_path(seeds_dir, uuid), kind)
    _mark(root, tag)
    etree.indent(root, space="  ")
    return Rendered(etree.tostring(root, encoding="unicode") + "\n", warnings)


def _mark(root: etree._Element, mark: Tag | None) -> None:
    """Put XSM's mark into <metadata>, beside the user's own, in place of an older one."""
    metadata = root.find("metadata")
    if metadata is None:
        if mark is None:
            return
        metadata = etree.Element("metadata")
        uuid = root.find("uuid")
        root.insert(0 if uuid is None else root.index(uuid) + 1, metadata)
    for old in metadata.findall(f"{{{NAMESPACE}}}*"):
        metadata.remove(old)
    if mark is not None:
        metadata.append(tag_xml.to_element(mark))


def limits(vm: VM, config: Config) -> Limits:
    """How far the VM can grow live: its own word, else the config's, else no further."""
    memory_mib, vcpus = _config_limits(config)
    return Limits(
        max_memory_mib=max(vm.max_memory_mib or memory_mib or 0, vm.memory_mib),
        max_vcpus=max(vm.max_vcpus or vcpus or 0, vm.vcpus),
    )


@functools.lru_cache(maxsize=CACHED_CONFIGS)
def _config_limits(config: Config) -> tuple[int | None, int | None]:
    read = _read(config)
    return template.limits(read) if isinstance(read, Template) else xl_domain.limits(read)


def cpu_weight(vm: VM, config: Config) -> int | None:
    """Xen credit weight, libvirt's cpu shares; None: the hypervisor's default."""
    return vm.cpu_weight if vm.cpu_weight is not None else _config_weight(config)


@functools.lru_cache(maxsize=CACHED_CONFIGS)
def _config_weight(config: Config) -> int | None:
    read = _read(config)
    return template.cpu_weight(read) if isinstance(read, Template) else xl_domain.cpu_weight(read)


@functools.lru_cache(maxsize=CACHED_CONFIGS)
def limits_text(config: Config) -> str:
    """What limits the VM's disks and network cards, for people; "" where nothing does. A change of it needs no restart
    where the hypervisor takes it while the guest runs."""
    read = _read(config)
    return io_limits.text(read.root) if isinstance(read, Template) else ""


@functools.lru_cache(maxsize=CACHED_CONFIGS)
def runs_on(config: Config, kind: HypervisorKind) -> str:
    """Why a VM with this config can't run on a host of that kind; "" when it can.

    An xl.cfg runs on every hypervisor, translated; a domain XML where its author meant it to run.
    """
    if kind is HypervisorKind.NONE:
        return "a witness runs no VMs"
    read = _read(config)
    return template.runs_on(read, kind) if isinstance(read, Template) else ""


def kinds(config: Config) -> tuple[HypervisorKind, ...]:
    """The kinds of hosts that can run the config."""
    return tuple(kind for kind in HypervisorKind if not runs_on(config, kind))


def fingerprint(
    vm: VM, config: Config, *, uuid: str, mac: str, kind: HypervisorKind
) -> Mapping[str, str]:
    """What the user said about each part of the VM that takes effect only at its next boot.

    Two fingerprints are compared key by key; a key that differs or is missing on one side names a
    changed part. It digests the user's words and not the rendering, so that a newer XSM asks for
    no restart. "max_memory" and "max_vcpus" are what was said explicitly, "" when the limit only
    follows from MEM or VCPUS; growing beyond the running domain's own limit needs a restart
    whatever the fingerprint says.
    """
    parts = dict(_config_fingerprint(config))
    memory_mib, vcpus = _config_limits(config)
    parts["max_memory"] = str(vm.max_memory_mib or memory_mib or "")
    parts["max_vcpus"] = str(vm.max_vcpus or vcpus or "")
    parts["mac"] = mac
    if kind not in _QEMU_FAMILY:  # there it goes nowhere
        parts["ip"] = vm.ip or ""
    if vm.disks:  # their sizes change live
        own = [[d.name, d.pool, d.format] for d in vm.disks]
        parts["disks"] = template.digest(json.dumps([parts.get("disks", ""), own]))
    return parts


@functools.lru_cache(maxsize=CACHED_CONFIGS)
def _config_fingerprint(config: Config) -> Mapping[str, str]:
    read = _read(config)
    if isinstance(read, Template):
        return template.fingerprint(read)
    said: dict[str, list[object]] = {}
    for option in sorted(read.options, key=lambda option: option.name):
        if option.name not in LIVE_OPTIONS:
            part = _PARTS.get(option.name, option.name)
            said.setdefault(part, []).append([option.name, _plain(option.value)])
    return {part: template.digest(json.dumps(values)) for part, values in said.items()}


def _plain(value: XlValue) -> object:
    return value.text if isinstance(value, XlString) else [_plain(item) for item in value.items]
