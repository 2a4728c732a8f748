"""cloud-init's NoCloud seed: what the CD-ROM of a VM with USER_DATA holds, and how its domain gets it.

Decides the files of the seed, from the user's own beside the site file, and what is wrong with those. Must not make the
CD-ROM's image: the host does that before it starts or receives the VM.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lxml import etree

from xsm.site.entries import near
from xsm.site.model import VM, HypervisorKind
from xsm.site.problems import Problem, Severity

FOLDER = "configs"
USER_DATA, NETWORK_CONFIG = ".user-data", ".network-config"
MAX_BYTES = 256 * 1024
"""Of one file. Hypervisors with a metadata service take 16 to 64 KiB."""
BEGINNINGS = (
    b"#cloud-config", b"#!", b"#include", b"#cloud-boothook", b"#part-handler", b"## template:", b"Content-Type:",
    b"MIME-Version:", b"\x1f\x8b",
)  # fmt: skip
"""With which cloud-init knows what it is: the last is gzip's."""
IDE = ("hdd", "hdc", "hdb", "hda")
"""As many disks as an IDE controller has, the last one first: a config's own begin with hda."""
LETTERS = "zyxwvutsrqponmlkjihgfedcba"


@dataclass(frozen=True)
class UserData:
    """A user-data file that VMs may name, with the network-config of the same name, b"" for none."""

    name: str
    path: str
    user_data: bytes
    network_config: bytes = b""


@dataclass(frozen=True)
class Seed:
    """One VM's. Equal seeds make equal images."""

    uuid: str
    files: tuple[tuple[str, bytes], ...]  # name on the CD-ROM -> content, by name

    @property
    def digest(self) -> str:
        """Of all that the guest finds."""
        said = hashlib.sha256()
        for name, content in self.files:
            said.update(f"{name} {len(content)}\n".encode() + content)
        return said.hexdigest()[:12]


def seed_of(vm: VM, uuid: str, data: UserData) -> Seed:
    """cloud-init runs what is "once per instance" anew when the instance-id changes: here with the VM's UUID only."""
    meta = {"instance-id": uuid, "local-hostname": vm.name}
    files = {"meta-data": (json.dumps(meta) + "\n").encode(), "user-data": data.user_data}
    if data.network_config:
        files["network-config"] = data.network_config
    return Seed(uuid, tuple(sorted(files.items())))


def image_path(seeds_dir: str, uuid: str) -> str:
    return f"{seeds_dir}/{uuid}.iso"


def read(files: Mapping[str, bytes]) -> dict[str, UserData]:
    """The user-data files of a revision, by name."""
    found = {}
    for path in sorted(files):
        folder, _, file = path.rpartition("/")
        if folder == FOLDER and file.endswith(USER_DATA) and file != USER_DATA:
            name = file.removesuffix(USER_DATA)
            network = files.get(f"{FOLDER}/{name}{NETWORK_CONFIG}", b"")
            found[name] = UserData(name, path, files[path], network)
    return found


def check(site_path: str, vms: Iterable[VM], found: Mapping[str, UserData]) -> Iterator[Problem]:
    """What is wrong with the seeds that VMs name, and with what they name."""
    used = set()
    for vm in vms:
        if vm.user_data is None:
            continue
        used.add(vm.user_data)
        if vm.user_data not in found:
            missing = f"{FOLDER}/{vm.user_data}{USER_DATA}"
            hint = near(vm.user_data, found) if found else f"make the file {missing}"
            message = f"{vm.name}: USER_DATA {vm.user_data}: there is no {missing}"
            yield Problem(site_path, vm.line, message, hint)
    for name in sorted(used & found.keys()):
        yield from _check_file(found[name])


def _check_file(data: UserData) -> Iterator[Problem]:
    network_path = data.path.removesuffix(USER_DATA) + NETWORK_CONFIG
    for path, content in ((data.path, data.user_data), (network_path, data.network_config)):
        if len(content) > MAX_BYTES:
            message = f"the file has {len(content)} bytes; at most {MAX_BYTES} go on a seed"
            yield Problem(path, 0, message, "have the guest fetch the rest (#include URL)")
    if not data.user_data.startswith(BEGINNINGS):
        message = "cloud-init will not know what this is"
        hint = "the first line is #cloud-config, #!INTERPRETER, or MIME's"
        yield Problem(data.path, 1, message, hint, Severity.WARNING)


def insert(root: etree._Element, path: str, kind: HypervisorKind) -> None:
    """Give the domain a read-only CD-ROM with the image at `path`."""
    devices = root.find("devices")
    if devices is None:
        devices = etree.SubElement(root, "devices")
    name, bus = _place(root, devices, kind)
    disk = etree.Element("disk", {"type": "file", "device": "cdrom"})
    if kind is not HypervisorKind.XEN:
        etree.SubElement(disk, "driver", {"name": "qemu", "type": "raw"})
    etree.SubElement(disk, "source", {"file": path})
    etree.SubElement(disk, "target", {"dev": name, "bus": bus})
    etree.SubElement(disk, "readonly")
    disks = devices.findall("disk")
    after = disks[-1] if disks else devices.find("emulator")
    devices.insert(0 if after is None else devices.index(after) + 1, disk)
    if bus == "scsi" and devices.find("controller[@type='scsi']") is None:
        controller = etree.Element("controller", {"type": "scsi", "model": "virtio-scsi"})
        devices.insert(devices.index(disk) + 1, controller)


def _place(root: etree._Element, devices: etree._Element, kind: HypervisorKind) -> tuple[str, str]:
    """A name that no disk of the config has, and a bus that the guest knows: kernels for clouds have no AHCI (SATA),
    and q35 has no IDE."""
    targets = devices.findall("disk/target")
    taken = {target.get("dev") for target in targets}
    machine = root.find("os/type")
    ide = next((name for name in IDE if name not in taken), "")
    if kind is HypervisorKind.XEN:
        if ide and machine is not None and (machine.text or "").strip() == "hvm":
            return ide, "ide"
        return _free("xvd", taken), "xen"
    of_machine = machine.get("machine", "") if machine is not None else ""
    if ide and (of_machine in ("", "pc") or of_machine.startswith("pc-i440fx")):
        return ide, "ide"
    return _free("sd", taken), "sata" if any(t.get("bus") == "sata" for t in targets) else "scsi"


def _free(prefix: str, taken: set[str | None]) -> str:
    """libvirt refuses two disks of one name, and tells the user so."""
    return next((n for n in (prefix + c for c in LETTERS) if n not in taken), f"{prefix}aa")
