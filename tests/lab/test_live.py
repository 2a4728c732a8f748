"""Changes of a running guest, by the guest's own word."""

from dataclasses import replace

import pytest

from tests.lab import cgroups
from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import CONSOLES
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site
from xsm.site.wanted import SEEDS_DIR


def test_memory_changes_live(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that MEM moves the guest's balloon up and down while it runs, by the guest's own count of its memory, and
    that no restart comes of it."""
    site.apply(VM("live1", "dmz01", memory_mib=96))
    small = observer.wait_ticks("live1", 5)
    site.apply(VM("live1", "dmz01", memory_mib=128))
    last = wait_more_memory(observer, small.memory_kib + 24 * 1024)
    site.apply(VM("live1", "dmz01", memory_mib=104))
    wait_for("the guest has less", lambda: memory_kib(observer) <= last - 20 * 1024, SOON_S)
    assert len({tick.boot for tick in observer.ticks("live1")}) == 1
    assert observer.gaps("live1") == []


def wait_more_memory(observer: Observer, least_kib: int) -> int:
    wait_for(f"the guest has {least_kib} KiB", lambda: memory_kib(observer) >= least_kib, SOON_S)
    return memory_kib(observer)


def memory_kib(observer: Observer) -> int:
    last = observer.last("live1")
    assert last is not None
    return last.memory_kib


def test_a_vcpu_more_while_it_runs(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that VCPUS plugs a CPU into the running guest, which then counts two."""
    site.apply(VM("live1", "dmz01"))
    observer.wait_ticks("live1", 1)
    site.apply(VM("live1", "dmz01", vcpus=2))
    wait_for(
        "the guest has two CPUs",
        lambda: (last := observer.last("live1")) and last.cpus == 2,
        SOON_S,
    )
    assert observer.gaps("live1") == []


@pytest.mark.skipif(
    "cpu" not in cgroups.usable(), reason="this machine lets nobody use its cpu control groups"
)
def test_cpu_shares_change_live(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that WEIGHT sets the guest's CPU shares in its host's control groups while it runs."""
    site.apply(VM("live1", "dmz01", vcpus=2))
    observer.wait_ticks("live1", 1)
    site.apply(VM("live1", "dmz01", vcpus=2, more="<WEIGHT>512</WEIGHT>"))
    shares = dict(line.split(":") for line in lab["dmz01"].virsh("schedinfo", "live1").splitlines())
    assert {key.strip(): value.strip() for key, value in shares.items()}["cpu_shares"] == "512"
    site.wait_converged()
    assert observer.gaps("live1") == []


def test_limits_of_its_disk_change_live_and_move_along(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that <iotune> in the config is set on the running guest, by libvirt's word, and taken away again; that it
    stays when the guest moves; and that <bandwidth>, which this kernel can't, waits for a restart with libvirt's
    reason, without being tried again and again."""
    one = VM("live2", "dmz01")
    site.apply(one)
    observer.wait_ticks("live2", 3, host="dmz01")
    limited = replace(one, disk=TUNE.format(1048576))
    said = site.apply(limited)
    assert "limits none => vda total_bytes_sec=1048576" in said and "restart needed" not in said
    assert disk_limit(lab, "dmz01") == 1048576
    site.apply(replace(limited, host="dmz02"))
    observer.wait_ticks("live2", 3, host="dmz02")
    assert disk_limit(lab, "dmz02") == 1048576
    site.apply(replace(one, host="dmz02", disk=TUNE.format(2097152)))
    assert disk_limit(lab, "dmz02") == 2097152
    site.apply(replace(one, host="dmz02"))
    assert disk_limit(lab, "dmz02") == 0
    site.apply(replace(one, host="dmz02", card="<bandwidth><inbound average='1000'/></bandwidth>"))
    (note,) = [n for n in site.json("dmz01", "status")["notes"] if "live2" in n]
    assert "restart needed: limits none => card 1 inbound.average=1000" in note
    assert "it isn't taken while the guest runs: " in note
    tries = lab["dmz02"].xsmd_log().count("set-limits: limits none => card 1")
    observer.wait_ticks("live2", 15)
    assert lab["dmz02"].xsmd_log().count("set-limits: limits none => card 1") == tries == 1
    assert len({tick.boot for tick in observer.ticks("live2")}) == 1
    assert observer.gaps("live2") == []
    site.apply()


TUNE = "<iotune><total_bytes_sec>{}</total_bytes_sec></iotune>"


def disk_limit(lab: Lab, host: str) -> int:
    lines = lab[host].virsh("blkdeviotune", "live2", "vda").splitlines()
    return int(dict(line.split(":") for line in lines if ":" in line)["total_bytes_sec"])


def test_a_guest_finds_its_user_data_and_keeps_it_when_it_moves(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a VM with USER_DATA boots with a CD-ROM that says its own name and UUID; that the target has made the
    very same one before the guest comes; that another text waits for a restart, which brings it; and that no image
    stays where the VM is gone."""
    one = VM("seed1", "dmz01", user_data="#cloud-config\n# edition 1\n")
    site.apply(one)
    observer.wait_ticks("seed1", 3, host="dmz01")
    uuid = lab["dmz01"].virsh("domuuid", "seed1").strip()
    said = seeds_said(lab, "dmz01")
    assert f'"instance-id":_"{uuid}",_"local-hostname":_"seed1"' in said[-1]
    assert said[-1].endswith("|#cloud-config|#_edition_1|")
    first = image(lab, "dmz01", uuid)
    site.apply(replace(one, host="dmz02"))
    observer.wait_ticks("seed1", 3, host="dmz02")
    assert image(lab, "dmz02", uuid) == first
    assert len({tick.boot for tick in observer.ticks("seed1")}) == 1
    wait_for("the source's image is gone", lambda: not image(lab, "dmz01", uuid), SOON_S)
    two = replace(one, host="dmz02", user_data="#cloud-config\n# edition 2\n")
    assert "definition: user_data" in site.apply(two)
    assert image(lab, "dmz02", uuid) == first
    lab["dmz02"].xsm("restart", "seed1", "--yes")
    wait_for("it finds the new text", lambda: "edition_2" in str(seeds_said(lab, "dmz02")), SOON_S)
    assert image(lab, "dmz02", uuid) != first
    site.apply()
    wait_for("no image stays", lambda: not image(lab, "dmz02", uuid), SOON_S)


def seeds_said(lab: Lab, host: str) -> list[str]:
    """What the guest found at each of its boots on the host, as it said on its console."""
    text = lab[host].run("cat", f"{CONSOLES}/seed1.log").stdout
    return [line.strip() for line in text.splitlines() if line.startswith("SEED ")]


def image(lab: Lab, host: str, uuid: str) -> str:
    """Digest of the seed's image on the host, "" for none."""
    done = lab[host].run("sh", "-c", f"sha256sum <{SEEDS_DIR}/{uuid}.iso 2>/dev/null || true")
    return done.stdout.split(" ")[0].strip()
