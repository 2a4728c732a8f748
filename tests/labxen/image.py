"""The disk of a Xen lab host (Debian with Xen, libvirt, git, Serf), Xen itself, and the guests' kernel and initramfs.

Decides what is in them. Made once and kept by the hash of what they are made of; Debian's packages are kept, too. Xen
and a kernel are only unpacked, never installed: they are nothing that the machine itself should get. Must not know
what the hosts do.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.guest import BUSYBOX, cpio
from tests.lab.processes import LabFailed
from tests.labxen.places import GUEST_IMAGES, HERE, HOSTS, KEPT

RELEASE = "bookworm"
PACKAGES = (
    "udev", "kmod", "iproute2", "procps", "openssh-server", "ca-certificates", "gettext-base",
    "xen-utils-4.17", "xen-utils-common", "xenstore-utils",
    "libvirt-daemon", "libvirt-daemon-driver-xen", "libvirt-clients", "gnutls-bin",
    "python3", "git", "serf",
)  # fmt: skip
XEN, XEN_VERSION = "xen-hypervisor-4.17-amd64", "4.17.5"
"""Debian's later 4.17.7 is built without shadow paging: it can't migrate PV guests live ("Failed to enable
logdirty")."""
KERNEL = "linux-image-amd64"
INITRD_MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
DOM0_MODULES = (
    "virtio_net", "virtio_rng", "xenfs", "xen_evtchn", "xen_gntdev", "xen_gntalloc", "xen_privcmd",
    "xen_netback", "xen_blkback", "bridge", "tun", "loop", "ext4",
)  # fmt: skip
GUEST_MODULES = ("xen_netfront",)
DISK_MIB = 1200
BUILD_LIMIT_S = 900.0
"""For all packages over a slow link; 45-90 s otherwise."""

INITRD = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
while read m; do insmod /lib/modules/$m; done </lib/modules/order
n=0; while [ ! -b /dev/vda -o ! -b /dev/vdb ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
mount -t ext4 -o rw,noatime /dev/vda /root || exec sh
mount --move /dev /root/dev; mount --move /proc /root/proc; mount --move /sys /root/sys
exec switch_root /root /sbin/dom0-init
"""
FOLDERS = ("bin", "dev", "proc", "sys", "run", "root", "lib", "lib/modules", "sbin", "etc", "tmp")
FAREWELL = '#!/bin/sh\necho "BYE" >/dev/hvc0\nexec /bin/busybox {} -f\n'
"""What the kernel runs when Xen asks it to shut down."""

LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
keepalive_interval = 5
keepalive_count = 3
"""
SSHD_CONF = """\
HostKey /etc/ssh/ssh_host_ed25519_key
UseDNS no
PermitRootLogin prohibit-password
UsePAM no
Ciphers aes128-ctr
"""


@dataclass(frozen=True)
class Image:
    """What a host boots from. Files of the cache; nobody may change them."""

    folder: Path

    @property
    def xen(self) -> Path:
        return self.folder / "xen"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def initrd(self) -> Path:
        return self.folder / "dom0.cpio"

    @property
    def disk(self) -> Path:
        return self.folder / "dom0.ext4"

    @property
    def key(self) -> Path:
        """By which root is let in."""
        return self.folder / "id"


def ensure() -> Image:
    """The image of what is here now; made if it isn't there yet. Raises `LabFailed`."""
    made_of = [Path(__file__), HERE / "places.py", HERE / "dom0_init.sh", HERE / "guest_init.sh"]
    text = b"\0".join(path.read_bytes() for path in made_of) + BUSYBOX.read_bytes()
    folder = KEPT / f"image-{hashlib.sha256(text).hexdigest()[:16]}"
    if not folder.exists():
        base = _base()
        with _made(folder) as new:
            _build(base, new)
        _drop_others("image-*", folder)
    return Image(folder)


def _build(base: Path, folder: Path) -> None:
    root = folder / "root"
    root.mkdir()
    _run("tar", "-xpf", str(base), "-C", str(root))
    packages = folder / "packages"
    for package, version in ((_metapackage(KERNEL), ""), (XEN, XEN_VERSION)):
        _run("dpkg-deb", "-x", str(_fetched(package, version)), str(packages))
    (version,) = os.listdir(packages / "lib/modules")
    _run("depmod", "-b", str(packages), version)
    modules = packages / "lib/modules" / version
    unpacked = subprocess.run(
        ["gzip", "-dc", *map(str, (packages / "boot").glob("xen-4.17-*.gz"))],
        check=True, capture_output=True, timeout=BUILD_LIMIT_S,
    )  # fmt: skip
    (folder / "xen").write_bytes(unpacked.stdout)
    (folder / "vmlinux").write_bytes(_vmlinux((packages / f"boot/vmlinuz-{version}").read_bytes()))
    (folder / "dom0.cpio").write_bytes(_initrd(modules, INITRD_MODULES, INITRD))
    _install_modules(root, modules, packages)
    guest = root / GUEST_IMAGES.lstrip("/")
    guest.mkdir(parents=True)
    shutil.copyfile(folder / "vmlinux", guest / "vmlinux")
    init = (HERE / "guest_init.sh").read_text()
    (guest / "initrd").write_bytes(_initrd(modules, GUEST_MODULES, init))
    _fill(root, folder)
    _run(
        "mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", str(root),
        str(folder / "dom0.ext4"), f"{DISK_MIB}M",
    )  # fmt: skip
    shutil.rmtree(root)
    shutil.rmtree(packages)


# --- the parts ------------------------------------------------------------------------------------


def _base() -> Path:
    """Debian with the packages, as a tar archive."""
    text = "\n".join((RELEASE, *PACKAGES))
    path = KEPT / f"base-{hashlib.sha256(text.encode()).hexdigest()[:16]}.tar"
    if path.exists():
        return path
    kept = KEPT / "packages"
    (kept / "archives").mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    keep = ["--skip=download/empty", "--skip=essential/unlink"]
    inside = '"$1"/var/cache/apt/archives/'
    hooks = [
        f"--setup-hook=mkdir -p {inside} && find {kept}/archives -name '*.deb' -exec cp {{}} {inside} ';'",
        f"--customize-hook=cp -n {inside}*.deb {kept}/archives/",
    ]
    _run(
        "mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", *keep, *hooks,
        f"--include={','.join(PACKAGES)}", '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("man", "doc", "locale")),
        RELEASE, str(partial), "-", stdin=_sources(),
    )  # fmt: skip
    partial.rename(path)
    _drop_others("base-*.tar", path)
    return path


def _sources() -> str:
    """Where this machine's apt has Debian from."""
    for path in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"):
        if Path(path).exists() and Path(path).read_text().strip():
            return Path(path).read_text()
    raise LabFailed("apt's sources of Debian are neither in debian.sources nor in sources.list")


def _metapackage(name: str) -> str:
    """The package that it stands for now."""
    found = re.search(r"Depends: (linux-image-\S+)", _run("apt-cache", "depends", name))
    if found is None:
        raise LabFailed(f"apt knows no {name}: run `apt-get update`")
    return found[1]


def _fetched(package: str, version: str) -> Path:
    """The package's file; `version`: how its version begins."""
    folder = KEPT / "packages"
    kept = sorted(folder.glob(f"{package}_{version}*.deb"))
    if kept:
        return kept[-1]
    wanted = package
    if version:
        lines = [line.split("|") for line in _run("apt-cache", "madison", package).splitlines()]
        versions = [parts[1].strip() for parts in lines if len(parts) > 1]
        found = next((v for v in versions if v.startswith(version)), None)
        if found is None:
            raise LabFailed(f"apt has {package} only as {', '.join(versions)}, not as {version}")
        wanted = f"{package}={found}"
    folder.mkdir(parents=True, exist_ok=True)
    # As root: apt's own user may not write here, and says so in a warning otherwise.
    _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", wanted, cwd=folder)
    return sorted(folder.glob(f"{package}_*.deb"))[-1]


def _vmlinux(bzimage: bytes) -> bytes:
    """The uncompressed kernel: under emulation it takes Xen's and libxc's decompressors seconds. Layout of a bzImage:
    the kernel's Documentation/arch/x86/boot.rst."""
    setup_sectors = bzimage[0x1F1] or 4
    offset = int.from_bytes(bzimage[0x248:0x24C], "little")
    length = int.from_bytes(bzimage[0x24C:0x250], "little")
    start = (setup_sectors + 1) * 512 + offset
    payload = bzimage[start : start + length]
    if not payload.startswith(b"\xfd7zXZ\0"):
        raise LabFailed("Debian's kernel is not compressed with xz any more")
    return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)


def _closure(modules: Path, names: Iterable[str]) -> list[str]:
    """The modules and all that they need, in the order in which to load them; paths below `modules`."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        name = Path(path).name.removesuffix(".ko").replace("-", "_")
        needs[name] = [*reversed(others.split()), path]
    built_in = {
        Path(line).name.removesuffix(".ko").replace("-", "_")
        for line in (modules / "modules.builtin").read_text().splitlines()
    }
    found: dict[str, None] = {}
    for name in names:
        if name not in needs and name not in built_in:
            raise LabFailed(f"Debian's kernel has no module {name}")
        found.update(dict.fromkeys(needs.get(name, ())))
    return list(found)


def _initrd(modules: Path, names: Sequence[str], init: str) -> bytes:
    paths = _closure(modules, names)
    files = {f"lib/modules/{Path(path).name}": (modules / path).read_bytes() for path in paths}
    order = "".join(f"{Path(path).name}\n" for path in paths)
    files |= {
        "lib/modules/order": order.encode(),
        "init": init.encode(),
        "bin/busybox": BUSYBOX.read_bytes(),
        "sbin/poweroff": FAREWELL.format("poweroff").encode(),
        "sbin/reboot": FAREWELL.format("reboot").encode(),
    }
    return b"".join(cpio(files, FOLDERS))


def _install_modules(root: Path, modules: Path, packages: Path) -> None:
    """Into Domain-0, with the list of those that its init loads."""
    version = modules.name
    target = root / "lib/modules" / version
    for path in _closure(modules, DOM0_MODULES):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(modules / path, target / path)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copyfile(modules / name, target / name)
    _run("depmod", "-b", str(root), version)
    (root / "etc/modules-lab").write_text("".join(f"{name}\n" for name in DOM0_MODULES))


def _fill(root: Path, folder: Path) -> None:
    """Settings, keys, and what makes libvirtd start under emulation."""
    # libvirt 9.0 can't name an AMD CPU under Xen, which clears SEP there, and every 64-bit model wants it.
    for model in ("kvm64", "qemu64"):
        path = root / f"usr/share/libvirt/cpu_map/x86_{model}.xml"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if "'sep'" not in line))
    for path in (root / "usr/lib/x86_64-linux-gnu/libvirt/connection-driver").glob("*.so"):
        if path.name != "libvirt_driver_libxl.so":
            path.unlink()
    _run(
        "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "xsm-lab-xen", "-f", str(folder / "id")
    )
    addresses = "".join(f"{place.address} {place.name}\n" for place in HOSTS.values())
    texts = {
        "etc/libvirt/libvirtd.conf": LIBVIRTD_CONF,
        "etc/libvirt/libxl.conf": "autoballoon = 0\nkeepalive_interval = 5\nkeepalive_count = 3\n",
        "etc/xen/xl.conf": 'autoballoon="off"\n',
        "etc/ssh/sshd_config": SSHD_CONF,
        # Its own name must not stand for 127.x: a migration would be told to come there.
        "etc/hosts": f"127.0.0.1 localhost\n{addresses}",
        "root/.ssh/authorized_keys": (folder / "id.pub").read_text(),
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "root/.ssh").chmod(0o700)
    for path in (root / "etc/ssh").glob("ssh_host_*"):
        path.unlink()
    _run(
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-f",
        str(root / "etc/ssh/ssh_host_ed25519_key"),
    )
    shutil.copyfile(HERE / "dom0_init.sh", root / "sbin/dom0-init")
    (root / "sbin/dom0-init").chmod(0o755)
    for name in ("var/log/libvirt", "proc/xen", "opt/xsm"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for program in ("xsm", "xsmd"):
        (root / "usr/local/bin" / program).symlink_to(f"/opt/xsm/venv/bin/{program}")


# --- how --------------------------------------------------------------------------------------------


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """A folder that is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    try:
        yield new
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _drop_others(pattern: str, kept: Path) -> None:
    for path in kept.parent.glob(pattern):
        if path != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run(*command: str, cwd: Path | None = None, stdin: str = "") -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, check=False, timeout=BUILD_LIMIT_S,
            input=stdin, env={**os.environ, "LC_ALL": "C", "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise LabFailed(f"there is no {error.filename}: `make lab-xen-setup`") from None
    if done.returncode != 0:
        raise LabFailed(
            f"{' '.join(command)}: {(done.stderr.strip() or done.stdout.strip())[-3000:]}"
        )
    return done.stdout
