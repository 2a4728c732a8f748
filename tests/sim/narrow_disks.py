"""Stories in which a blank disk takes the place of data that is elsewhere, if one rule is missing. Each ends well as
XSM is."""

from __future__ import annotations

from tests.sim.script import Script

BEGINNING = (
    "site random hosts=3 seed=1",
    'vm vm1 DOM0 dmz01 DISK "name=root size=1G"',
    "wait 10",
)


def _told(*lines: str) -> None:
    script = Script()
    for line in (*BEGINNING, *lines, "peace"):
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


STORIES = (
    it_moves_to_a_host_without_its_disk,
    its_host_is_forgotten,
    its_pool_is_not_mounted_after_a_boot,
)
