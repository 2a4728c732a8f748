"""The lab's guest: Debian's cloud kernel and a small initramfs with busybox and the guest agent.

Decides what is in it. The packages are fetched and unpacked into the project's own folder, never installed: a kernel
or an agent is nothing that the machine itself should get.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab.places import HERE, IMAGES, KEPT
from tests.lab.processes import LabFailed

KERNEL = "linux-image-cloud-amd64"
AGENT = "qemu-guest-agent"
MODULES = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover",
    "net_failover", "virtio_net", "virtio_blk", "virtio_balloon", "virtio_console", "button", "evdev",
    "libata", "ata_piix", "scsi_common", "scsi_mod", "cdrom", "sr_mod", "isofs",
)  # fmt: skip
BUSYBOX = Path("/usr/bin/busybox")
FETCH_LIMIT_S = 300.0
FOLDERS = (
    "bin",
    "sbin",
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "etc",
    "lib",
    "lib/modules",
    "lib64",
    "usr",
    "usr/sbin",
    "var",
)


def ensure() -> None:
    """Make `vmlinuz` and `initrd.gz`, unless they are there and made from what is here now. One process at a time."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        _make()


def _make() -> None:
    stamp = IMAGES / "stamp"
    init = (HERE / "guest_init.sh").read_bytes()
    wanted = hashlib.sha256(init + Path(__file__).read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    kernel = unpacked(_kernel_package())
    agent = unpacked(AGENT)
    shutil.copyfile(next((kernel / "boot").glob("vmlinuz-*")), IMAGES / "vmlinuz")
    files = {"init": init, "bin/busybox": BUSYBOX.read_bytes()}
    for module in MODULES:
        found = next((kernel / "lib/modules").rglob(f"{module}.ko"))
        files[f"lib/modules/{module}.ko"] = found.read_bytes()
    program = agent / "usr/sbin/qemu-ga"
    files["usr/sbin/qemu-ga"] = program.read_bytes()
    for library in _libraries(program):
        files[str(library).lstrip("/")] = library.read_bytes()
    (IMAGES / "initrd.gz").write_bytes(gzip.compress(b"".join(cpio(files)), 1, mtime=0))
    stamp.write_text(wanted)


def _kernel_package() -> str:
    """The package that the metapackage stands for now."""
    text = _output("apt-cache", "depends", KERNEL)
    found = re.search(r"Depends: (linux-image-\S+)", text)
    if found is None:
        raise LabFailed(f"apt knows no {KERNEL}: run `apt-get update`")
    return found[1]


def unpacked(package: str) -> Path:
    """The files of a Debian package."""
    folder = KEPT / "packages" / package
    if folder.exists():
        return folder
    download = KEPT / "download"
    shutil.rmtree(download, ignore_errors=True)
    download.mkdir(parents=True)
    # As root: apt's own user may not write here, and says so in a warning otherwise.
    _output("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=download)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    _output("dpkg", "-x", str(next(download.glob("*.deb"))), str(partial))
    partial.rename(folder)
    shutil.rmtree(download)
    return folder


def _libraries(program: Path) -> list[Path]:
    """What the program is linked with, the loader too; from this machine, which is the same Debian."""
    text = _output("ldd", str(program))
    if "not found" in text:
        raise LabFailed(f"{program} needs a library that is not installed here: {text}")
    return sorted({Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+)", text, re.MULTILINE)})


def _output(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, check=False, timeout=FETCH_LIMIT_S,
        stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode != 0:
        raise LabFailed(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def cpio(files: dict[str, bytes], folders: Sequence[str] = FOLDERS) -> Iterator[bytes]:
    """A newc archive: what the kernel unpacks as its first file system."""
    all_folders = {
        *folders,
        *(str(p) for name in files for p in Path(name).parents if str(p) != "."),
    }
    entries = [(name, 0o040755, b"") for name in sorted(all_folders)]
    entries += [(name, 0o100755, files[name]) for name in sorted(files)]
    entries.append(("TRAILER!!!", 0, b""))
    for number, (name, mode, content) in enumerate(entries, start=1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + path
        yield header + b"\0" * (-len(header) % 4)
        yield content + b"\0" * (-len(content) % 4)
