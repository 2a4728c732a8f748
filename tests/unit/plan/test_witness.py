"""A witness is one by the table of members, whatever it reports; rows of older revisions leave it to that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plan.planned_site import KVM, NOW, document, facts, plan_of, report, view, vm
from xsm.peer import commands, fencing
from xsm.peer.commands import CommandRefused
from xsm.peer.edit import Surroundings, edit
from xsm.plan import witness
from xsm.plan.draining import order
from xsm.plan.observed import HostReport
from xsm.plan.order import ASSUMED_PACE
from xsm.plan.place import place
from xsm.plan.view import target_trouble
from xsm.site import state_file
from xsm.site.document import Document, Files, load
from xsm.site.model import HypervisorKind
from xsm.site.problems import Invalid

SAYS_WITNESS = report("w", of=facts(HypervisorKind.NONE))
SAYS_KVM = report("w", of=facts(KVM))
NEVER = "w is a witness, which runs no VMs"
XML = (
    '<XSMConfig><Set name="s"><Owner>o</Owner><VM name="a" config="c">{}<VCPUS>1</VCPUS><MEM>96</MEM>'
    "</VM></Set></XSMConfig>"
)


def with_row(doc: Document, said: bool | None) -> Document:
    members = {**doc.state.members, "w": replace(doc.state.members["w"], witness=said)}
    return replace(doc, state=replace(doc.state, members=members))


def site(said: bool | None, *vms: str, host: str = "dmz01") -> Document:
    there = [vm(name, host) for name in vms]
    return with_row(document(*there, vm("floats"), hosts=("dmz01", "w")), said)


def files(doc: Document, dom0: str = "") -> Files:
    text = XML.format(f"<DOM0>{dom0}</DOM0>" if dom0 else "")
    tables = state_file.write(doc.state)
    return {"site.xml": text.encode(), "configs/c.cfg": b'kernel = "/k"\n', **tables}


@pytest.mark.parametrize(
    ("said", "seen", "is_one", "wrong"),
    [
        (True, None, True, ""),
        (True, SAYS_WITNESS, True, ""),
        (True, SAYS_KVM, True, "joined as a witness, but its xsmd manages a hypervisor (kvm)"),
        (True, HostReport("w", NOW, "r1", error="no libvirt"), True, ""),
        (False, None, False, ""),
        (False, SAYS_KVM, False, ""),
        (False, SAYS_WITNESS, False, "joined as a host that runs VMs, but its xsmd says that it"),
        (None, None, False, ""),
        (None, SAYS_KVM, False, ""),
        (None, SAYS_WITNESS, True, ""),
    ],
)
def test_the_table_of_members_decides_and_where_it_is_silent_the_report(
    said: bool | None, seen: HostReport | None, is_one: bool, wrong: str
) -> None:
    doc = site(said)
    member = doc.state.members["w"]
    assert witness.is_witness(member, seen) is is_one
    assert wrong in witness.contradiction(member, seen)
    assert bool(witness.contradiction(member, seen)) is bool(wrong)
    found = witness.why_no_vms(doc.state, "w", seen)
    assert found == NEVER if is_one else found == witness.contradiction(member, seen)
    notices = [n.message for n in plan_of(doc, view(*([seen] if seen else []))).notices]
    assert any(wrong and wrong in message for message in notices) is bool(wrong)


def test_nothing_comes_to_a_witness_that_was_never_heard_of() -> None:
    doc = site(True)
    full = {"dmz01": report("dmz01", of=facts(KVM, memory_mib=100))}
    silent = {"w": "timed out"}
    assert place(doc, full, silent, NOW).placements == {}
    assert NEVER in place(doc, full, silent, NOW).unplaced["floats"]
    assert place(site(None), full, silent, NOW).placements == {"floats": "w"}, "as ever"
    assert target_trouble(doc, view(unreachable=silent), "w") == NEVER
    assert place(doc, full, {}, NOW, moving={"floats": "w"}).refused == {"floats": NEVER}
    placed = replace(doc, state=replace(doc.state, placement={"floats": "dmz01"}))
    drained = order(placed, {**full, "w": SAYS_KVM}, {}, "dmz01", ASSUMED_PACE)
    assert drained.moves == () and "floats" in drained.stays


def test_a_vm_stays_where_it_may_run_though_its_host_says_that_it_has_no_hypervisor() -> None:
    doc = site(False)
    doc = replace(doc, state=replace(doc.state, placement={"floats": "w"}))
    reports = {"dmz01": report("dmz01"), "w": SAYS_WITNESS}
    assert place(doc, reports, {}, NOW).placements == {"floats": "w"}
    fresh = replace(doc, state=replace(doc.state, placement={}))
    assert place(fresh, reports, {}, NOW).placements == {"floats": "dmz01"}


def test_a_silent_witness_makes_no_vm_unknown() -> None:
    silent = {"w": "timed out", "dmz09": "never a member"}
    assert witness.without_witnesses(site(True).state, silent, {}) == {"dmz09": "never a member"}
    assert witness.without_witnesses(site(None).state, silent, {}) == silent
    known = {"w": SAYS_WITNESS}
    assert "w" not in witness.without_witnesses(site(None).state, silent, known)


@pytest.mark.parametrize("dom0", ["w", "W", "192.168.5.102"])
def test_an_edit_that_pins_a_vm_to_it_is_refused_and_names_the_line(dom0: str) -> None:
    doc = site(True)
    around = Surroundings({}, {"w": "timed out"}, NOW)
    head, mine = files(doc, "dmz01"), files(doc, dom0)
    with pytest.raises(Invalid) as refused:
        edit(head, "h", head, "h", mine, around)
    (problem,) = refused.value.problems
    assert str(problem) == (
        f"site.xml:1: error: VM a: {NEVER} (another DOM0, or none: then the site places it)"
    )
    assert edit(head, "h", head, "h", files(site(None), dom0), around, site(None).state).changes


def test_what_two_edits_at_once_came_to_is_told_and_hinders_nobody() -> None:
    doc = site(True)
    head = files(doc, "w")
    assert [p.message for p in load(head).warnings] == [f"VM a: {NEVER}"]
    larger = {**head, "site.xml": head["site.xml"].replace(b"96", b"128")}
    around = Surroundings({"w": SAYS_WITNESS}, {}, NOW)
    edited = edit(head, "h", head, "h", larger, around)
    assert edited.changes == ("a: MEM 96 => 128",)
    assert [p.message for p in edited.warnings] == [f"VM a: {NEVER}"], "once"


def test_a_host_does_not_join_as_a_witness_while_a_vm_is_pinned_to_it() -> None:
    before = document(hosts=("dmz01",))
    head = files(before, "w")
    with pytest.raises(Invalid, match="w is a witness"):
        edit(head, "h", head, "h", head, Surroundings({}, {}, NOW), site(True).state)


def test_a_silent_witness_is_neither_drained_nor_fenced_and_is_forgotten_with_a_word() -> None:
    doc = site(True)
    with pytest.raises(CommandRefused, match=NEVER):
        commands.refuse_witness(doc, "w", {})
    commands.refuse_witness(site(False), "w", {"w": SAYS_WITNESS})  # it may have to be emptied
    with pytest.raises(CommandRefused, match="no VMs that could start elsewhere"):
        fencing.fence(files(doc), doc, "w", "dmz01")
    with pytest.raises(CommandRefused, match="it would not hear of it"):
        commands.forget(files(doc), doc, "w", None, alive=False, sure=False, me="dmz01")
    for alive, sure in ((True, False), (False, True)):
        gone = commands.forget(files(doc), doc, "w", None, alive=alive, sure=sure, me="dmz01")
        assert [*gone.state.members] == ["dmz01"]
    plain = site(None)
    with pytest.raises(CommandRefused, match="does not say what it runs"):
        commands.forget(files(plain), plain, "w", None, alive=True, sure=False, me="dmz01")
