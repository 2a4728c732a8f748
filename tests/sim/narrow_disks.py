"""Stories in which a blank disk takes the place of data that is elsewhere, if one rule is missing. Each ends well as
XSM is."""

from __future__ import annotations

from tests.sim.script import Script

BEGINNING = (
    "site random hosts=3 seed=1",
    'vm vm1 DOM0 dmz01 DISK "name=root size=1G"',
    "wait 10",
)


COPIED = (
    "site random hosts=4 seed=1 live fence",
    'vm vm1 DOM0 dmz01 DISK "name=root size=1G pool=local" COPY_DISKS yes',
    "wait 10",
    *(f"slow dmz0{i} migrate 3" for i in (1, 2)),
    *(f"fail dmz0{i} set_aside 'its xsmd died' 9" for i in (1, 2)),
)


def _told(*lines: str, beginning: tuple[str, ...] = BEGINNING) -> None:
    script = Script()
    for line in (*beginning, *lines, "peace"):
        script.perform(line)


def it_moves_to_a_host_without_its_disk() -> None:
    """Stopped here and started there, where the pool is another one of the same name."""
    _told(
        "edit dmz02 vm1 STATE stopped",
        "wait 10",
        "edit dmz02 vm1 DOM0 dmz02 STATE running",
        "wait 10",
    )


def its_host_is_forgotten() -> None:
    """Its data is on the disks of a host that is off, and may come back."""
    _told(
        "crash dmz01",
        "wait 40",
        "forget dmz02 dmz01 it-is-off",
        "wait 5",
        "edit dmz02 vm1 DOM0 dmz03",
        "wait 10",
    )


def its_pool_is_not_mounted_after_a_boot() -> None:
    """Its first host, whose claim is still the first: but it had the disk before."""
    _told("crash dmz01", "unmount dmz01 default", "boot dmz01", "wait 20", "mount dmz01 default")


def its_sources_xsmd_dies_as_it_moves() -> None:
    """What it leaves behind keeps its name, and the VM is started there again later."""
    _told(
        "edit dmz03 vm1 DOM0 dmz02",
        "wait 3",
        "kill dmz01",
        "wait 4",
        "boot dmz01",
        "wait 10",
        "edit dmz03 vm1 STATE stopped",
        "wait 10",
        "edit dmz03 vm1 DOM0 dmz01 STATE running",
        "wait 15",
        beginning=COPIED,
    )


def its_source_is_lost_as_it_moves() -> None:
    """The target has a part of its disk."""
    _told(
        "edit dmz03 vm1 DOM0 dmz02",
        "wait 3",
        "crash dmz01",
        "wait 40",
        "forget dmz03 dmz01 it-is-off",
        "wait 15",
        beginning=COPIED,
    )


def its_host_comes_back_after_it_ran_elsewhere() -> None:
    """It was fenced; the VM ran on by somebody's word, and moved on since."""
    _told(
        "edit dmz03 vm1 DOM0 dmz02",
        "wait 15",
        "crash dmz02",
        "wait 40",
        "fence dmz03 dmz02",
        "wait 30",
        "edit dmz03 vm1 DOM0 dmz01",
        "wait 5",
        "command dmz03 use-disk vm1 root dmz01",
        "wait 15",
        "edit dmz03 vm1 DOM0 dmz04",
        "wait 15",
        "boot dmz02",
        "wait 30",
        "edit dmz03 vm1 STATE stopped",
        "wait 10",
        "edit dmz03 vm1 DOM0 dmz02 STATE running",
        "wait 15",
        beginning=COPIED,
    )


def its_migration_failed_and_its_host_is_fenced() -> None:
    """Its host had let go of it for that, and yet it ran there, to the end; somebody starts it elsewhere, and it moves
    on from there, so that the word is none any more as its first host comes back."""
    _told(
        "slow dmz01 migrate 10",
        "edit dmz03 vm1 DOM0 dmz02",
        "wait 5",
        "crash dmz02",
        "wait 15",
        "crash dmz01",
        "boot dmz02",
        "wait 40",
        "fence dmz03 dmz01",
        "wait 30",
        "command dmz03 use-disk vm1 root dmz02",
        "wait 15",
        "edit dmz03 vm1 DOM0 dmz04",
        "wait 15",
        "boot dmz01",
        "wait 30",
        "edit dmz03 vm1 STATE stopped",
        "wait 10",
        "edit dmz03 vm1 DOM0 dmz01 STATE running",
        "wait 15",
        beginning=COPIED,
    )


def it_comes_back_without_one_of_its_disks() -> None:
    """What its host has of that one is as old as before, though its guest runs there. Then it gets it back."""
    both = 'DISK "name=root size=1G pool=local,name=data size=1G pool=local"'
    _told(
        "edit dmz03 vm1 STATE stopped",
        "wait 5",
        f"edit dmz03 vm1 {both} STATE running",
        "wait 15",
        "edit dmz03 vm1 DOM0 dmz02",
        "wait 15",
        "edit dmz03 vm1 STATE stopped",
        "wait 5",
        'edit dmz03 vm1 DISK "name=root size=1G pool=local" STATE running',
        "wait 15",
        "edit dmz03 vm1 DOM0 dmz01",
        "wait 15",
        f"edit dmz03 vm1 {both}",
        "wait 5",
        "edit dmz03 vm1 STATE stopped",
        "wait 5",
        "edit dmz03 vm1 STATE running",
        "wait 15",
        beginning=(*COPIED[:3], "fail dmz01 set_aside 'its xsmd died' 2"),
    )


def somebody_put_a_volume_where_it_goes() -> None:
    _told(
        "edit dmz03 vm1 DOM0 dmz02",
        "wait 15",
        "edit dmz03 vm1 DOM0 dmz03",
        "wait 15",
        "used-volume dmz04 local vm1-root.qcow2 1024",
        "edit dmz03 vm1 DOM0 dmz04",
        "wait 15",
        beginning=COPIED,
    )


STORIES = (
    it_moves_to_a_host_without_its_disk,
    its_host_is_forgotten,
    its_pool_is_not_mounted_after_a_boot,
    its_sources_xsmd_dies_as_it_moves,
    its_source_is_lost_as_it_moves,
    its_host_comes_back_after_it_ran_elsewhere,
    its_migration_failed_and_its_host_is_fenced,
    it_comes_back_without_one_of_its_disks,
    somebody_put_a_volume_where_it_goes,
)
