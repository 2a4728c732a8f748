"""What `xl list -v` says of domains that libvirt doesn't show. The text is Xen 4.17's own, from the Xen lab."""

from __future__ import annotations

from xsm.edge.xen_domains import LOOK_EVERY_S, Row, Unshown, rows
from xsm.plan.observed import DomainState

HEAD = (
    "Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID"
    "                            Reason-Code\tSecurity Label\n"
)
DOM0 = (
    "Domain-0                                     0   768     1     r-----     105.0 "
    "00000000-0000-0000-0000-000000000000        -                -\n"
)
VM1 = (
    "vm1                                          1   128     2     -b----      27.7 "
    "11111111-2222-4333-8444-000000000001        -                -\n"
)
BOX = (
    "a box                                        7    96     1     --p---       0.0 "
    "11111111-2222-4333-8444-00000000000b        -                -\n"
)
UUID_VM1, UUID_BOX = (line.split()[-3] for line in (VM1, BOX))


def test_rows_are_read_and_domain_0_is_none() -> None:
    assert rows(HEAD + DOM0 + VM1 + BOX) == (
        Row(1, "vm1", UUID_VM1, 128, 2, DomainState.RUNNING),
        Row(7, "a box", UUID_BOX, 96, 1, DomainState.PAUSED),
    )
    assert rows("") == rows(HEAD) == rows("xl: no such command\n" + VM1[:60]) == ()


def test_states() -> None:
    def state(letters: str) -> DomainState:
        (row,) = rows(VM1.replace("-b----", letters))
        return row.state

    assert state("------") is state("r-----") is DomainState.RUNNING
    assert state("---ss-") is state("-----d") is DomainState.SHUTDOWN
    assert state("---sc-") is DomainState.CRASHED
    assert state("---s--") is DomainState.SHUTDOWN  # powered off, not yet gone


class Xl:
    """What xl prints now, and when it is asked."""

    def __init__(self) -> None:
        self.text = HEAD + DOM0 + VM1
        self.now = 0.0
        self.asked = 0

    def ask(self) -> str:
        self.asked += 1
        return self.text

    def unshown(self) -> Unshown:
        return Unshown(ask=self.ask, clock=lambda: self.now)


def names(unshown: Unshown, *shown: str) -> list[str]:
    return [domain.name for domain in unshown.domains(shown)]


def test_one_counts_when_two_looks_found_it_and_libvirt_shows_it_at_neither() -> None:
    xl = Xl()
    unshown = xl.unshown()
    xl.text += BOX
    assert names(unshown, UUID_VM1) == []
    xl.now += LOOK_EVERY_S
    (box,) = unshown.domains([UUID_VM1])
    assert (box.name, box.uuid, box.memory_mib, box.state) == (
        "a box",
        UUID_BOX,
        96,
        DomainState.PAUSED,
    )
    assert box.unshown and not box.persistent and box.tag is None
    assert names(unshown, UUID_VM1, UUID_BOX) == []  # libvirt shows it by now: at once
    xl.text = HEAD + DOM0 + VM1
    xl.now += LOOK_EVERY_S
    assert names(unshown, UUID_VM1) == []


def test_what_libvirt_is_just_making_is_none() -> None:
    """xl lists a domain before libvirt does, and so one that arrives by a migration."""
    xl = Xl()
    unshown = xl.unshown()
    assert names(unshown) == []
    xl.now += LOOK_EVERY_S
    assert names(unshown, UUID_VM1) == []


def test_another_domain_of_the_same_name_starts_anew() -> None:
    xl = Xl()
    unshown = xl.unshown()
    names(unshown)
    xl.text = HEAD + VM1.replace("  1   128", "  2   128")
    xl.now += LOOK_EVERY_S
    assert names(unshown) == []


def test_xl_is_asked_seldom_and_its_silence_is_no_domain() -> None:
    xl = Xl()
    unshown = xl.unshown()
    for _ in range(5):
        names(unshown)
        xl.now += LOOK_EVERY_S / 5
    assert xl.asked == 1
    assert names(unshown) == ["vm1"] and xl.asked == 2
    xl.text = ""
    xl.now += LOOK_EVERY_S
    assert names(unshown) == []
