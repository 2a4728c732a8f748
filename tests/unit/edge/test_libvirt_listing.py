"""Which domains are asked about at a look, on libvirt's own test driver inside this process."""

import libvirt
import pytest

from xsm.edge.libvirt_listing import SWEEP, Listing
from xsm.plan.observed import Domain, DomainState

NODE = """<node><domain type='test'><name>d000</name><memory unit='MiB'>1</memory>
<os><type>hvm</type></os></domain></node>"""
STATES = {1: DomainState.RUNNING, 3: DomainState.PAUSED, 5: DomainState.SHUTOFF}


def xml(name: str) -> str:
    return (
        f"<domain type='test'><name>{name}</name><memory unit='MiB'>1</memory>"
        "<os><type>hvm</type></os></domain>"
    )


class Asked:
    """The look: asks libvirt, and notes about whom."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fails = False

    def __call__(self, dom, uuid: str, persistent: bool, autostart: bool) -> Domain:
        self.names.append(dom.name())
        if self.fails:
            raise ValueError("no answer")
        state, maximum, memory, vcpus, _ = dom.info()
        return Domain(
            name=dom.name(), uuid=uuid, state=STATES[state], memory_mib=memory // 1024,
            max_memory_mib=maximum // 1024, vcpus=vcpus, max_vcpus=vcpus, cpu_weight=None,
            persistent=persistent, autostart=autostart, mac=None, tag=None,
        )  # fmt: skip

    def take(self) -> set[str]:
        names, self.names = self.names, []
        assert len(names) == len(set(names))
        return set(names)


@pytest.fixture
def conn(tmp_path):
    node = tmp_path / "node.xml"
    node.write_text(NODE)
    opened = libvirt.open(f"test://{node}")
    yield opened
    opened.close()


@pytest.fixture
def many(conn):
    for number in range(1, 3 * SWEEP):
        conn.defineXML(xml(f"d{number:03d}"))
    return conn


def state_of(found: tuple[Domain, ...], name: str) -> DomainState:
    return next(d.state for d in found if d.name == name)


def test_a_small_host_is_looked_at_in_full(conn):
    asked = Asked()
    listing = Listing(asked)
    conn.defineXML(xml("d001"))
    for _ in range(3):
        assert [d.name for d in listing.domains(conn)] == ["d000", "d001"]
        assert asked.take() == {"d000", "d001"}


def test_of_many_a_share_is_asked_in_turn_until_all_were(many):
    asked = Asked()
    listing = Listing(asked)
    assert len(listing.domains(many)) == 3 * SWEEP
    everybody = asked.take()
    assert len(everybody) == 3 * SWEEP
    shares = []
    for _ in range(3):
        assert len(listing.domains(many)) == 3 * SWEEP
        shares.append(asked.take())
        assert len(shares[-1]) == SWEEP
    assert set.union(*shares) == everybody


def test_what_announces_nothing_is_found_by_the_turns(many):
    """The test driver tells nobody of setMemory."""
    listing = Listing(Asked())
    listing.domains(many)
    for dom in many.listAllDomains():
        dom.setMemoryFlags(512, libvirt.VIR_DOMAIN_AFFECT_CURRENT)
    for _ in range(3):
        found = listing.domains(many)
    assert {d.memory_mib for d in found} == {0}


def test_what_the_lists_show_is_seen_at_once(many):
    asked = Asked()
    listing = Listing(asked)
    listing.domains(many)
    for change, state in (
        (lambda d: d.create(), DomainState.RUNNING),
        (lambda d: d.suspend(), DomainState.PAUSED),
        (lambda d: d.resume(), DomainState.RUNNING),
        (lambda d: d.destroy(), DomainState.SHUTOFF),
    ):
        for name in ("d010", "d150"):
            change(many.lookupByName(name))
        asked.take()
        found = listing.domains(many)
        assert {"d010", "d150"} <= asked.take()
        assert {state_of(found, "d010"), state_of(found, "d150")} == {state}


def test_a_reboot_between_two_looks_is_seen(many):
    asked = Asked()
    listing = Listing(asked)
    dom = many.lookupByName("d150")
    dom.create()
    listing.domains(many)
    listing._swept = ""  # far from the domain's turn
    dom.destroy()
    dom.create()
    asked.take()
    listing.domains(many)
    assert "d150" in asked.take()


def test_what_comes_goes_or_turns_transient_is_seen_at_once(many):
    listing = Listing(Asked())
    listing.domains(many)
    many.createXML(xml("new"))
    many.lookupByName("d001").undefine()
    many.lookupByName("d000").undefine()  # runs on
    many.lookupByName("d002").setAutostart(1)
    found = {d.name: d for d in listing.domains(many)}
    assert not found["new"].persistent and not found["d000"].persistent
    assert "d001" not in found and found["d002"].autostart


def test_a_change_that_was_told_of_is_asked_about(many):
    asked = Asked()
    listing = Listing(asked)
    listing.domains(many)
    asked.take()
    listing.domains(many)
    resting = sorted({d.name() for d in many.listAllDomains()} - asked.take())
    assert listing.last() is not None
    for name in resting[:5]:
        listing.changed(many.lookupByName(name).UUIDString())
    assert listing.last() is None
    listing.domains(many)
    assert set(resting[:5]) <= asked.take()


def test_a_look_that_fails_forgets_no_change(many):
    asked = Asked()
    listing = Listing(asked)
    listing.domains(many)
    uuid = many.lookupByName("d150").UUIDString()
    asked.take()
    listing.changed(uuid)
    asked.fails = True
    with pytest.raises(ValueError, match="no answer"):
        listing.domains(many)
    asked.fails = False
    asked.take()
    listing.domains(many)
    assert "d150" in asked.take()
    assert listing.last() is not None
