"""Where floating VMs go."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from planned_site import KVM, NOW, document, facts, foreign, made, report, vm

from xsm.plan.capacity import capacity_mib, unfit
from xsm.plan.observed import DomainState, HostReport
from xsm.plan.place import Placement, place
from xsm.site.document import Document
from xsm.site.model import VM, Host


def placed(doc: Document, *reports: HostReport, **values) -> Placement:
    unreachable = values.pop("unreachable", {})
    return place(doc, {r.host: r for r in reports}, unreachable, NOW, **values)


def three(*memory_mib: int) -> list[HostReport]:
    return [report(f"dmz0{i}", of=facts(memory_mib=m)) for i, m in enumerate(memory_mib, 1)]


def test_the_host_with_the_largest_free_share_gets_a_new_vm() -> None:
    doc = document(vm("vm1"), vm("p", "dmz01", memory_mib=4000))
    found = placed(doc, *three(8192, 8192, 4096))
    assert found.placements == {"vm1": "dmz02"}  # as empty as dmz03, and first by name
    assert found.reasons["vm1"] == "dmz02 has most free memory (7373 of 7373 MiB)"


def test_equal_vms_spread() -> None:
    doc = document(*(vm(f"vm{i}") for i in range(6)))
    found = placed(doc, *three(8192, 8192, 8192))
    assert sorted(found.placements.values()) == sorted(["dmz01", "dmz02", "dmz03"] * 2)


def test_a_placement_is_kept_even_while_its_host_does_not_answer() -> None:
    doc = document(vm("vm1"), placement={"vm1": "dmz03"})
    found = placed(doc, *three(8192, 8192), unreachable={"dmz03": "timeout"})
    assert (found.placements, found.reasons) == ({"vm1": "dmz03"}, {})


def test_a_placement_ends_with_a_drain_a_forgotten_host_or_no_room() -> None:
    drained = document(vm("vm1"), placement={"vm1": "dmz01"}, drained=["dmz01"])
    assert placed(drained, *three(8192, 8192, 8192)).placements == {"vm1": "dmz02"}
    assert placed(drained, *three(8192, 8192, 8192)).reasons["vm1"].startswith("dmz01 is drained; ")
    gone = document(vm("vm1"), placement={"vm1": "dmz09"})
    assert placed(gone, *three(8192, 8192, 8192)).placements == {"vm1": "dmz01"}
    grown = document(vm("vm1", memory_mib=2000), placement={"vm1": "dmz01"})
    assert placed(grown, *three(1000, 1000, 8192)).placements == {"vm1": "dmz03"}


def test_a_running_vm_is_not_moved_to_make_room() -> None:
    floats = vm("vm5", memory_mib=600)
    running = made(document(floats))["vm5"]
    hosts = [report("dmz01"), report("dmz02", running, of=facts(memory_mib=1000))]

    def where(*others: VM, **values) -> dict:
        doc = document(floats, *others, placement={"vm5": "dmz02"}, **values)
        return dict(placed(doc, *hosts).placements)

    assert where(vm("vm1", "dmz02", memory_mib=16000)) == {"vm5": "dmz02"}
    assert where(vm("vm1", memory_mib=600))["vm5"] == "dmz02"  # nor for one that floats
    grown = document(vm("vm5", memory_mib=2000), placement={"vm5": "dmz02"})
    assert placed(grown, *hosts).placements == {"vm5": "dmz02"}
    # Somebody asked for these.
    assert where(drained=["dmz02"]) == {"vm5": "dmz01"}
    asked = document(floats, placement={"vm5": "dmz02"})
    assert placed(asked, *hosts, moving={"vm5": "dmz01"}).placements == {"vm5": "dmz01"}
    # It may run there as long as nobody says otherwise.
    big = document(floats, vm("vm1", "dmz02", memory_mib=16000), placement={"vm5": "dmz02"})
    for at, unreachable in ((NOW - 100, {}), (NOW, {"dmz02": "timeout"})):
        silent = [report("dmz01"), report("dmz02", at=at, of=facts(memory_mib=1000))]
        assert placed(big, *silent, unreachable=unreachable).placements == {"vm5": "dmz02"}
    off = [report("dmz01"), report("dmz02", of=facts(memory_mib=1000))]
    assert placed(big, *off).placements == {"vm5": "dmz01"}


def test_a_vm_is_not_moved_onto_running_ones_without_room() -> None:
    stays, goes = vm("vm5", memory_mib=600), vm("vm6", memory_mib=600)
    doc = document(stays, goes, placement={"vm5": "dmz02", "vm6": "dmz01"})
    domains = made(doc)
    hosts = [
        report("dmz01", domains["vm6"]),
        report("dmz02", domains["vm5"], of=facts(memory_mib=1000)),
    ]
    found = placed(doc, *hosts, moving={"vm6": "dmz02"})
    assert found.placements == {"vm5": "dmz02", "vm6": "dmz01"}
    assert found.refused == {"vm6": "dmz02 has 300 MiB left for VMs, 600 MiB are needed"}


def test_where_it_runs_already_comes_before_where_most_is_free() -> None:
    doc = document(vm("vm1"))
    domain = made(doc)["vm1"]
    reports = [report("dmz01"), report("dmz02", domain), report("dmz03")]
    assert placed(doc, *reports).placements == {"vm1": "dmz02"}
    old = [report("dmz01"), report("dmz02", domain, at=NOW - 100), report("dmz03")]
    assert placed(doc, *old).placements == {"vm1": "dmz01"}


def test_hosts_that_do_not_answer_are_the_last_choice() -> None:
    doc = document(vm("vm1"))
    found = placed(doc, *three(8192, 8192, 8192), unreachable={"dmz01": "t", "dmz02": "t"})
    assert found.placements == {"vm1": "dmz03"}
    none_answers = {f"dmz0{i}": "timeout" for i in (1, 2, 3)}
    found = placed(doc, *three(8192, 8192, 8192), unreachable=none_answers)
    assert found.placements == {"vm1": "dmz01"}
    assert "only dmz01 could have it" in found.reasons["vm1"]


def test_vms_that_share_an_apart_tag_go_to_different_hosts() -> None:
    vms = [vm("vm1", apart=("web",)), vm("vm2", apart=("web",)), vm("vm3", "dmz01", apart=("web",))]
    found = placed(document(*vms), *three(8192, 8192, 8192))
    assert found.placements == {"vm1": "dmz02", "vm2": "dmz03"}
    found = placed(document(*vms, vm("vm4", apart=("web", "x"))), *three(8192, 8192, 8192))
    assert "dmz01 has vm3, which is to be apart from it ('web')" in found.unplaced["vm4"]
    kept = document(*vms, placement={"vm1": "dmz01", "vm2": "dmz02"})
    assert placed(kept, *three(8192, 8192, 8192)).placements == {"vm1": "dmz03", "vm2": "dmz02"}


def test_a_config_goes_only_where_it_runs() -> None:
    doc = document(vm("vm1", config="pv"))
    kvm = [report(f"dmz0{i}", of=facts(KVM)) for i in (1, 2, 3)]
    assert "can't run its config" in placed(doc, *kvm).unplaced["vm1"]


def test_what_fits_nowhere_is_unplaced_with_figures() -> None:
    found = placed(document(vm("vm1", memory_mib=9000)), *three(1000, 1000, 8192))
    assert found.placements == {}
    assert "dmz03 has 7373 MiB left for VMs, 9000 MiB are needed" in found.unplaced["vm1"]
    assert placed(document(vm("vm1"), hosts=[])).unplaced == {
        "vm1": "no host has joined the site yet"
    }


def test_a_migration_of_a_floating_vm_is_a_placement() -> None:
    doc = document(vm("vm1"), vm("vm2", "dmz01"), placement={"vm1": "dmz01"}, drained=["dmz03"])
    moved = placed(doc, *three(8192, 8192, 8192), moving={"vm1": "dmz02"})
    assert (moved.placements, moved.refused) == ({"vm1": "dmz02"}, {})
    for name, host, why in (
        ("vm1", "dmz03", "dmz03 is drained"),
        ("vm1", "dmz09", "dmz09 is not a member"),
        ("vm2", "dmz02", "vm2 is not a floating VM"),
    ):
        found = placed(doc, *three(8192, 8192, 8192), moving={name: host})
        assert (found.placements, found.refused) == ({"vm1": "dmz01"}, {name: why})


def test_capacity_is_what_the_file_says_or_what_is_left_of_the_host() -> None:
    doc = document(listed=[Host("dmz01", memory_mib=2000)])
    dom0 = foreign("Domain-0", uuid="00000000-0000-0000-0000-000000000000", memory_mib=1000)
    rep = report("dmz01", foreign("box"), foreign("off", DomainState.SHUTOFF), dom0)
    assert capacity_mib(doc, rep, "dmz01") == 2000 - 512
    assert capacity_mib(doc, None, "dmz01") == 2000
    assert capacity_mib(document(), rep, "dmz01") == 8192 - 819 - 512 - 1000
    assert capacity_mib(document(), None, "dmz01") is None
    big = report("dmz01", of=facts(memory_mib=65536))
    assert capacity_mib(document(), big, "dmz01") == 65536 - 1024


def test_a_vm_that_is_more_than_its_host_has_for_vms_is_warned_about() -> None:
    vms = [
        vm("vm1", "dmz01", memory_mib=16000, line=4),
        vm("vm2", "dmz01"),
        vm("vm3", memory_mib=2500),
    ]
    doc = document(*vms, vm("vm4", "dmz09", memory_mib=9**9), placement={"vm3": "dmz02"})
    small = facts(memory_mib=3072)
    reports = {h: report(h, foreign("box"), of=small) for h in ("dmz01", "dmz02")}
    told = [str(problem) for problem in unfit(doc, reports)]
    hint = (
        "it keeps 307 of its 3072 MiB for itself, domains that aren't the site's hold 512 MiB; "
        "less MEM, or another host"
    )
    assert told == [
        f"site.xml:4: warning: vm1 needs 16000 MiB, dmz01 has 2253 MiB for VMs ({hint})",
        f"site.xml: warning: vm3 needs 2500 MiB, dmz02 has 2253 MiB for VMs ({hint})",
    ]
    assert not list(unfit(doc, {}))
    listed = document(vm("vm1", "dmz01", memory_mib=1600), listed=[Host("dmz01", memory_mib=2000)])
    (told_listed,) = unfit(listed, reports)
    assert told_listed.hint.startswith("the site file lists 2000 MiB, domains that aren't")


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, None, "dmz01", "dmz02"]),
            st.sampled_from([100, 500, 3000]),
            st.sampled_from([(), ("a",), ("a", "b")]),
            st.sampled_from([None, "dmz01", "dmz02", "dmz03", "dmz09"]),
        ),
        max_size=8,
    ),
    st.lists(st.sampled_from(["dmz01", "dmz02"]), max_size=1),
    st.permutations(range(3)),
)
def test_every_placement_keeps_the_rules(vms: list, drained: list, order: list) -> None:
    made_vms = [vm(f"vm{i}", h, memory_mib=m, apart=a) for i, (h, m, a, _) in enumerate(vms)]
    before = {f"vm{i}": p for i, (h, _, _, p) in enumerate(vms) if h is None and p}
    doc = document(*made_vms, placement=before, drained=drained)
    reports = three(4000, 4000, 8000)
    found = placed(doc, *(reports[i] for i in order))
    assert found == placed(document(*made_vms[::-1], placement=before, drained=drained), *reports)
    floating = {v.name for v in made_vms if v.host is None}
    assert floating == found.placements.keys() | found.unplaced.keys()
    assert not found.placements.keys() & found.unplaced.keys()
    new = {name for name in found.placements if found.placements[name] != before.get(name)}
    assert found.reasons.keys() == new
    for name, host in found.placements.items():
        assert host in doc.state.members and host not in drained
        there = [v for v in made_vms if (v.host or found.placements.get(v.name)) == host]
        mine = doc.site.vm(name)
        assert mine and all(v is mine or not {*v.apart} & {*mine.apart} for v in there)
        assert sum(v.memory_mib for v in there) <= capacity_mib(
            doc, reports[int(host[-1]) - 1], host
        )
    again = document(*made_vms, placement=found.placements, drained=drained)
    assert (
        placed(again, *reports).placements.items() >= found.placements.items()
    )  # and it is stable
