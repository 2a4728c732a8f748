"""What a domain needs of its host before it can start there: files, bridges, networks, volumes, a CPU.

Decides what of a domain's XML counts as such. Must not look whether it is there. What XSM can't judge (scripts that
make a disk, paths of other machines) is left out: libvirt says so when it starts the domain.
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from xsm.site import secure_xml
from xsm.site.disk import Volume
from xsm.site.seed import Seed

FILES = ("os/kernel", "os/initrd", "os/dtb", "os/loader")
"""What else than disks a domain reads when it starts, as paths of its host."""


@dataclass(frozen=True)
class Needs:
    """All sorted, each once."""

    paths: tuple[str, ...] = ()  # of disks and of files to boot from
    bridges: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()  # libvirt's
    volumes: tuple[tuple[str, str], ...] = ()  # (libvirt's storage pool, volume)
    cpu: str = ""  # <cpu> as XML, where it names a model
    seed: Seed | None = None  # what the host itself makes for it
    own: tuple[
        Volume, ...
    ] = ()  # the VM's disks by the site file: not lacking where they can be made
    runs: str = ""  # its UUID, where it has to be found out whether its guest runs here to stay

    @property
    def nothing(self) -> bool:
        return self == Needs()


def of(xml: str, seed: Seed | None = None, own: tuple[Volume, ...] = ()) -> Needs:
    """`xml`: a domain's, as XSM renders it. `seed`: the one on its CD-ROM. `own`: those of its volumes that the site
    file names as the VM's disks."""
    root = secure_xml.parse(xml.encode())
    disks = [d for d in root.iterfind("devices/disk") if _must_be_there(d)]
    sources = [s for d in disks for s in d.iterfind("source")]
    paths = {s.get("file") or s.get("dev") or "" for s in sources}
    paths |= {(root.findtext(tag) or "").strip() for tag in FILES}
    cards = list(root.iterfind("devices/interface/source"))
    volumes = {(s.get("pool", ""), s.get("volume", "")) for s in sources if s.get("pool")}
    volumes -= {(volume.pool, volume.name) for volume in own}
    return Needs(
        paths=tuple(sorted(path for path in paths if path.startswith("/"))),
        bridges=_values(cards, "bridge"),
        networks=_values(cards, "network"),
        volumes=tuple(sorted(volumes)),
        cpu=_named_cpu(root),
        seed=seed,
        own=own,
    )


def _must_be_there(disk: etree._Element) -> bool:
    """A domain starts without an optional medium; and what a driver domain or a script brings is not there before."""
    source = disk.find("source")
    if source is None or source.get("startupPolicy") in ("optional", "requisite"):
        return False
    return disk.find("script") is None and disk.find("backenddomain") is None


def _values(elements: list[etree._Element], attribute: str) -> tuple[str, ...]:
    return tuple(sorted({value for e in elements if (value := e.get(attribute))}))


def _named_cpu(root: etree._Element) -> str:
    cpu = root.find("cpu")
    if cpu is None or not (cpu.findtext("model") or "").strip():
        return ""
    return etree.tostring(cpu, encoding="unicode").strip()
