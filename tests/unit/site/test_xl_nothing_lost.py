"""No option of an xl.cfg disappears silently: it changes the domain XML, or a warning names it."""

from __future__ import annotations

import pytest

from xsm.site import config_file, domain
from xsm.site.model import VM, HypervisorKind
from xsm.site.xl_options import CHOICES, KNOWN, RANGES, Shape

UUID = "91d0230c-45f2-5479-83cc-fba30a5e8ab6"
MAC = "00:16:3e:95:7f:71"

DECIDED_BY_THE_VM = {"name", "memory", "vcpus"}
"""The site file always says these, and it wins (xsm/site/model.py); no warning is due."""

SAMPLES = {
    "disk": "['/srv/b.img,qcow2,xvdb,rw']",
    "vif": "['bridge=br7', 'bridge=br8']",
    "vfb": "['vnc=1,vncdisplay=7']",
    "channel": "['name=org.example,connection=pty']",
    "usbdev": "['hostbus=1,hostaddr=3']",
    "pci": "['01:00.0']",
    "cpus": "'0-3'",
    "serial": "'file:/srv/log'",
    "usbdevice": "['tablet']",
    "viridian": "1",
    "boot": "'n'",
    "maxmem": "4096",
    "maxvcpus": "9",
    "uuid": "'11111111-2222-3333-4444-555555555555'",
    "builder": "'hvm'",
    "type": "'hvm'",
    "firmware": "'uefi'",
    "tsc_mode": "'native'",
    "vga": "'qxl'",
    "soundhw": "'ac97'",
    "passthrough": "'enabled'",
    "bios": "'ovmf'",
    "vnclisten": "'192.0.2.1'",
    "spicehost": "'192.0.2.1'",
    "vncdisplay": "7",
    "rtc_timeoffset": "'-60'",
    "hdtype": "'ahci'",
    "device_model_version": "'qemu-xen-traditional'",
}
# What an option needs beside it to mean anything.
COMPANIONS = {
    "bootloader_args": "bootloader = 'pygrub'",
    "ramdisk": "kernel = '/boot/vmlinuz'",
    "root": "kernel = '/boot/vmlinuz'",
    "extra": "kernel = '/boot/vmlinuz'",
    "cmdline": "kernel = '/boot/vmlinuz'",
    "vnclisten": "vnc = 1",
    "vncdisplay": "vnc = 1",
    "vncunused": "vnc = 1\nvncdisplay = 3",
    "vncpasswd": "vnc = 1",
    "keymap": "vnc = 1",
    "display": "sdl = 1",
    "xauthority": "sdl = 1",
    "pci_permissive": "pci = ['01:00.0']",
    "pci_seize": "pci = ['01:00.0']",
    "spicedisable_ticketing": "spice = 1\nspicepasswd = 'x'",
    "videoram": "vga = 'stdvga'",
    "nographic": "vnc = 1",
}
# Options that are given with their default, or that only another one completes: nothing is lost.
SAME_AS_DEFAULT = {
    ("usb", "hvm"),  # libvirt adds a USB controller where a device needs one
    ("usb", "pv"),
    ("type", "hvm"),
    ("builder", "hvm"),
    ("builder", "pv"),  # type= counts
}


def _sample(name: str, guest: str) -> str:
    known = KNOWN[name]
    if name == "vnc":  # on by default for hvm, off for pv
        return "0" if guest == "hvm" else "1"
    if name in SAMPLES:
        return SAMPLES[name]
    if known.shape is Shape.FLAG:
        return "0" if known.neutral == ("1",) or name in ("hpet", "spiceagent_mouse") else "1"
    if known.shape is Shape.NUMBER:
        low, high = RANGES.get(name, (0, 1 << 31))
        return str(max(low, min(high, 129)))
    if known.shape in (Shape.TEXTS, Shape.TEXT_OR_TEXTS):
        return "['alpha']"
    if known.shape is Shape.NESTED:
        return "[['alpha']]"
    choices = [c for c in CHOICES.get(name, ("alpha",)) if c not in ("destroy", "restart")]
    return f"'{choices[-1]}'"


def _render(text: str, kind: HypervisorKind) -> tuple[str, str]:
    config = config_file.parse("c", "configs/c.cfg", text.encode())
    vm = VM("vm1", "c", "web", vcpus=1, memory_mib=96)
    rendered = domain.render(vm, config, uuid=UUID, mac=MAC, kind=kind, tag=None)
    return rendered.xml, "\n".join(str(problem) for problem in rendered.warnings)


@pytest.mark.parametrize("kind", list(HypervisorKind))
@pytest.mark.parametrize("guest", ["pv", "pvh", "hvm"])
def test_every_known_option_shows_or_is_warned_about(guest: str, kind: HypervisorKind) -> None:
    silent = []
    for name in sorted(KNOWN.keys() - DECIDED_BY_THE_VM):
        if (name, "hvm" if guest == "hvm" else "pv") in SAME_AS_DEFAULT:
            continue
        companion = COMPANIONS.get(name, "spice = 1" if name.startswith("spice") else "")
        companion = "" if companion.startswith(f"{name} ") else companion
        base = f"{companion}\ntype = '{guest}'\n" if name != "type" else f"{companion}\n\n"
        before, warned_before = _render(base, kind)
        after, warned = _render(f"{base}{name} = {_sample(name, guest)}\n", kind)
        if before == after and not (name in warned and warned != warned_before):
            silent.append(name)
    assert silent == []


def test_an_unknown_option_is_named_with_its_line_and_the_nearest_known_one() -> None:
    _, warned = _render("type = 'pv'\non_poweof = 'destroy'\n", HypervisorKind.XEN)
    assert (
        "configs/c.cfg:2: warning: unknown option on_poweof is ignored (did you mean on_poweroff?)"
        in warned
    )
