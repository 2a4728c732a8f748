"""VMs whose disks only their host has, on real QEMU: they move live with their disks, there and back."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import CONSOLES, HOSTS
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, Site
from tests.lab.test_disks import Own, pools, volumes
from tests.lab.test_migration_faults import failures

__all__ = ["pools"]
AFTER_LIMIT_S = 120.0
"""Until a copy that was cut off was noticed, tried again after a pause, and done."""
IMAGES = "/var/lib/libvirt/images"
SIZE_MIB = 48


@dataclass(frozen=True)
class Copied(Own):
    @property
    def entry(self) -> str:
        return super().entry.replace("</VM>", "<COPY_DISKS>yes</COPY_DISKS></VM>")


def vm(name: str, host: str) -> Copied:
    return Copied(name, host, disks=(f"name=root size={SIZE_MIB}M",))


def content(lab: Lab, host: str, volume: str) -> str:
    """A digest of what a guest would read of the volume behind its first sectors, which the guest itself writes."""
    script = (
        f"qemu-img convert -U -O raw {IMAGES}/{volume} /tmp/raw && "
        "tail -c +1048577 /tmp/raw | sha256sum && rm /tmp/raw"
    )
    return str(lab[host].run("sh", "-c", script).stdout.split()[0])


def fill(lab: Lab, host: str, volume: str) -> None:
    """Known contents, while no guest has it open."""
    script = (
        "dd if=/dev/urandom of=/tmp/raw bs=1M count=24 2>/dev/null && "
        f"truncate -s {SIZE_MIB}M /tmp/raw && "
        f"qemu-img convert -O qcow2 /tmp/raw {IMAGES}/{volume} && rm /tmp/raw"
    )
    lab[host].run("sh", "-c", script)


def test_a_guest_moves_live_with_its_disk_and_back_again(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a running guest moves to a host that hasn't got its disk, with the disk and what is in it, and no
    gap; that what it left behind has another name; and that it comes back in the same way."""
    lab["dmz01"].run("mkdir", "-p", IMAGES)
    fill(lab, "dmz01", "copy1-root.qcow2")
    known = content(lab, "dmz01", "copy1-root.qcow2")
    site.apply(vm("copy1", "dmz01"))
    observer.wait_ticks("copy1", 5, host="dmz01")
    shown = site.apply(vm("copy1", "dmz02"))
    assert "its disks are copied: root 48 MiB" in shown
    observer.wait_ticks("copy1", 15, host="dmz02")
    assert observer.hosts("copy1") == ["dmz02"]
    assert content(lab, "dmz02", "copy1-root.qcow2") == known
    left = volumes(lab, "dmz01", "default", "copy1")
    assert len(left) == 1
    assert left[0].startswith("copy1-root.qcow2.left-")
    site.apply(vm("copy1", "dmz01"))
    observer.wait_ticks("copy1", 15, host="dmz01")
    assert content(lab, "dmz01", "copy1-root.qcow2") == known
    assert observer.gaps("copy1") == []
    assert len({tick.boot for tick in observer.ticks("copy1")}) == 1
    text = (HOSTS["dmz02"].inside(CONSOLES) / "copy1.log").read_text(errors="replace")
    assert "BOOTED" not in text
    site.apply()


def test_the_targets_libvirtd_is_killed_in_mid_copy(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a guest runs on where it was when the copy of its disk is cut off, that the incomplete copy is put
    aside and not used, and that the move is made once the target is well again."""
    lab["dmz03"].run("mkdir", "-p", IMAGES)
    fill(lab, "dmz03", "copy2-root.qcow2")
    known = content(lab, "dmz03", "copy2-root.qcow2")
    site.apply(vm("copy2", "dmz03"))
    observer.wait_ticks("copy2", 5, host="dmz03")
    with lab.slow("dmz04"):
        site.write(lab["dmz01"], vm("copy2", "dmz04"))
        lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "copy2 goes to dmz04")
        wait_for(
            "the copy is under way", lambda: observer.hosts("copy2") == ["dmz03", "dmz04"], SOON_S
        )
        lab["dmz04"].kill_daemon("libvirtd")
        lab["dmz04"].start_libvirtd()
        lab["dmz04"].kill_daemon("xsmd")
        lab["dmz04"].start_xsmd()
        wait_for(
            "the source has given up", lambda: "migrate" in failures(lab, "dmz03"), AFTER_LIMIT_S
        )
    wait_for("it is there", lambda: observer.hosts("copy2") == ["dmz04"], AFTER_LIMIT_S)
    site.wait_converged(limit_s=AFTER_LIMIT_S)
    observer.wait_ticks("copy2", 15, host="dmz04")
    assert observer.gaps("copy2") == []
    assert content(lab, "dmz04", "copy2-root.qcow2") == known
    first, *others = volumes(lab, "dmz04", "default", "copy2")
    assert first == "copy2-root.qcow2"  # libvirt may have deleted the incomplete one itself
    assert all(name.startswith("copy2-root.qcow2.cut-off") for name in others)
    site.apply()
