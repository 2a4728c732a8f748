"""Merging two revisions: what goes through silently, what becomes a conflict, and that nothing ever breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xsm.site import state_file, xml_file, yaml_file
from xsm.site.conflicts import active_conflicts
from xsm.site.disk import Disk
from xsm.site.document import Files, load
from xsm.site.merge import merge
from xsm.site.merge_site import VM_FIELDS
from xsm.site.model import VM, Host, Power, Site, VMSet
from xsm.site.problems import Invalid
from xsm.site.state import Conflict, Member, State

ID = "11111111-1111-4111-8111-111111111111"
A, B = "a" * 40, "b" * 40
CFG = b'kernel = "/boot/vmlinuz"\nmemory = 64\n'
MEMBERS = {
    n: Member(n, f"192.168.5.{i}", f"https://192.168.5.{i}:8701")
    for i, n in enumerate(("h1", "h2"), 101)
}


def vm(name: str, **fields: object) -> VM:
    return replace(VM(name, "web", "s", 1, 96), **fields)  # type: ignore[arg-type]


def site(*vms: VM, hosts: tuple[Host, ...] = ()) -> Site:
    return Site((VMSet("s", "root@domain.com", vms),), hosts)


def files(
    of: Site, state: State | None = None, form: str = "xml", **more: bytes | None
) -> dict[str, bytes]:
    text = (xml_file if form == "xml" else yaml_file).write(of)
    state = state or State(site_id=ID, members=MEMBERS)
    tree = {
        f"site.{form}": text,
        "configs/web.cfg": CFG,
        "configs/db.cfg": CFG,
        **state_file.write(state),
    }
    changed = {path.replace("__", "/").replace("_", "."): content for path, content in more.items()}
    return {path: content for path, content in {**tree, **changed}.items() if content is not None}


def both(
    base: Files, first: Files, second: Files
) -> tuple[Site, State, list[tuple[str, str, str, str]], dict[str, bytes]]:
    merged = merge(base, first, second, A, B)
    document = load(merged.files)
    told = [(c.vm, c.what, c.shown, c.other) for c in document.state.conflicts]
    assert [(c.vm, c.what, c.shown, c.other) for c in merged.conflicts] == told
    assert active_conflicts(document.site, document.state) == document.state.conflicts
    return document.site, document.state, told, merged.files


def test_different_fields_and_vms_merge_silently() -> None:
    base = files(site(vm("vm1"), vm("vm2")))
    first = files(site(vm("vm1", memory_mib=128), vm("vm2"), vm("vm3")))
    second = files(site(vm("vm1", vcpus=2, host="h1")))
    merged, _, told, _ = both(base, first, second)
    assert told == []
    assert set(merged.vms()) == {vm("vm1", memory_mib=128, vcpus=2, host="h1"), vm("vm3")}


def test_one_field_changed_by_both_shows_the_later_and_tells() -> None:
    base = files(site(vm("vm1")))
    merged, state, told, _ = both(
        base, files(site(vm("vm1", memory_mib=128))), files(site(vm("vm1", memory_mib=256)))
    )
    assert merged.vm("vm1") == vm("vm1", memory_mib=256)
    assert told == [("vm1", "memory_mib", "256", "128")]
    assert state.conflicts[0].revisions == (A, B)


def test_modify_beats_delete_in_both_orders() -> None:
    base = files(site(vm("vm1"), vm("vm2")))
    changed, gone = files(site(vm("vm1", vcpus=2), vm("vm2"))), files(site(vm("vm2")))
    for first, second in ((changed, gone), (gone, changed)):
        merged, _, told, _ = both(base, first, second)
        assert merged.vm("vm1") == vm("vm1", vcpus=2)
        assert told == [("vm1", "removal", "kept", "removed")]


def test_an_untouched_vm_is_removed() -> None:
    base = files(site(vm("vm1"), vm("vm2")))
    merged, _, told, _ = both(
        base, files(site(vm("vm2"))), files(site(vm("vm1"), vm("vm2", vcpus=3)))
    )
    assert [v.name for v in merged.vms()] == ["vm2"]
    assert told == []


def test_hosts_by_dom0_and_by_placement_are_compared_with_one_another() -> None:
    base = files(site(vm("vm1")), State(ID, members=MEMBERS, placement={"vm1": "h1"}))
    pinned = files(site(vm("vm1", host="h2")))
    third = {**MEMBERS, "h3": Member("h3", "192.168.5.103", "https://192.168.5.103:8701")}
    found = State(ID, members=third, placement={"vm1": "h3"})
    merged, _, told, _ = both(base, pinned, files(site(vm("vm1")), found))
    assert (merged.vm("vm1"), told) == (vm("vm1", host="h2"), [])
    chosen = files(site(vm("vm1")), replace(found, chosen=frozenset({"vm1"})))
    merged, _, told, _ = both(base, pinned, chosen)
    assert (merged.vm("vm1"), told) == (vm("vm1"), [("vm1", "host", "h3", "h2")])


def test_pinning_a_vm_where_it_floats_is_a_decision_too() -> None:
    base = files(site(vm("vm1")), State(ID, members=MEMBERS, placement={"vm1": "h1"}))
    _, _, told, _ = both(base, files(site(vm("vm1", host="h2"))), files(site(vm("vm1", host="h1"))))
    assert told == [("vm1", "host", "h1", "h2")]


def test_the_same_decision_on_both_sides_is_no_conflict() -> None:
    base = files(site(vm("vm1")), State(ID, members=MEMBERS, placement={"vm1": "h1"}))
    first = files(site(vm("vm1")), State(ID, members=MEMBERS, placement={"vm1": "h2"}))
    second = files(site(vm("vm1", vcpus=2)), State(ID, members=MEMBERS, placement={"vm1": "h2"}))
    assert both(base, first, second)[2] == []


def test_a_floating_vm_kept_against_its_removal_keeps_its_place() -> None:
    placed = State(ID, members=MEMBERS, placement={"vm1": "h1"})
    base = files(site(vm("vm1")), placed)
    gone, changed = files(site()), files(site(vm("vm1", vcpus=2)), placed)
    for first, second in ((gone, changed), (changed, gone)):
        assert both(base, first, second)[1].placement == {"vm1": "h1"}


def test_both_added_the_same_vm() -> None:
    base = files(site())
    first = files(site(vm("vm1", host="h1", vcpus=2)))
    second = files(site(vm("vm1", host="h2", vcpus=2)))
    merged, _, told, _ = both(base, first, second)
    assert merged.vm("vm1") == vm("vm1", host="h2", vcpus=2)
    assert told == [("vm1", "host", "h2", "h1")]


@pytest.mark.parametrize(
    ("field", "value"), [("mac", "00:16:3e:00:00:01"), ("uuid", ID), ("ip", "10.0.0.7/24")]
)
def test_both_gave_one_address_to_different_vms(field: str, value: str) -> None:
    base = files(site(vm("vm1")))
    first = files(site(vm("vm1"), vm("vm2", **{field: value})))
    second = files(site(vm("vm1", **{field: value})))
    merged, _, told, _ = both(base, first, second)
    assert getattr(merged.vm("vm1"), field) == value
    assert getattr(merged.vm("vm2"), field) is None
    assert [(name, what) for name, what, _, _ in told] == [("vm1", field), ("vm2", field)]


def test_limits_that_contradict_one_another_are_the_later_sides() -> None:
    base = files(site(vm("vm1")))
    first = files(site(vm("vm1", max_memory_mib=100)))
    second = files(site(vm("vm1", memory_mib=200)))
    merged, _, told, _ = both(base, first, second)
    assert merged.vm("vm1") == vm("vm1", memory_mib=200)
    assert told == [("vm1", "max_memory_mib", "", "100"), ("vm1", "memory_mib", "200", "96")]


def test_a_host_that_one_side_removed_and_the_other_uses_is_kept() -> None:
    known = (Host("x1"), Host("x2", address="10.0.0.2"))
    base = files(site(vm("vm1", host="x1"), hosts=known))
    first = files(site(vm("vm1", host="x1"), hosts=known[:1]))
    second = files(site(vm("vm1", host="10.0.0.2"), hosts=known))
    merged, _, told, _ = both(base, first, second)
    assert {h.name for h in merged.hosts} == {"x1", "x2"}
    assert [t[:3] for t in told] == [("vm1", "host", "10.0.0.2")]


def test_hosts_listed_for_the_first_time_beside_a_vm_on_another() -> None:
    base = files(site(vm("vm1", host="x1")))
    first = files(site(vm("vm1", host="x1"), hosts=(Host("x1"),)))
    second = files(site(vm("vm1", host="fe80::7")))
    merged, _, _, _ = both(base, first, second)
    assert Host("x1") in merged.hosts
    assert [h.address for h in merged.hosts if h.name != "x1"] == ["fe80::7"]


def test_a_host_listed_for_the_first_time_smaller_than_the_vm_it_gets_meanwhile() -> None:
    base = files(site(vm("vm1")))
    listed = files(site(vm("vm1"), vm("new"), hosts=(Host("h1", memory_mib=70),)))
    pins = [files(site(vm("vm1", host=written))) for written in ("h1", MEMBERS["h1"].address)]
    for first, second in ((a, b) for pin in pins for a, b in ((listed, pin), (pin, listed))):
        merged = merge(base, first, second, A, B)
        shown = load(merged.files).site
        assert shown.vm("new") is not None and shown.hosts[0].memory_mib is None
        assert [(c.vm, c.what, c.other) for c in merged.conflicts] == [
            ("vm1", "memory_mib", "70 MiB of host h1")
        ]


def test_a_vm_too_big_for_the_host_that_became_smaller() -> None:
    base = files(site(vm("vm1", host="x1"), hosts=(Host("x1", memory_mib=500),)))
    first = files(site(vm("vm1", host="x1", memory_mib=400), hosts=(Host("x1", memory_mib=500),)))
    second = files(site(vm("vm1", host="x1"), hosts=(Host("x1", memory_mib=100),)))
    merged, _, told, _ = both(base, first, second)
    assert merged.hosts == (Host("x1", memory_mib=500),)
    assert told == [("vm1", "memory_mib", "400", "100 MiB of host x1")]


def test_the_later_authors_layout_and_comments_stay() -> None:
    text = (
        b'<XSMConfig>\n<!-- ours -->\n<Set name="s"><Owner>root@domain.com</Owner>\n'
        b'  <VM name="vm1" config="web"><VCPUS>1</VCPUS> <MEM>96</MEM></VM> <!-- the first -->\n</Set>\n</XSMConfig>\n'
    )
    base = {**files(site(vm("vm1"))), "site.xml": text}
    first = {**base, "site.xml": text.replace(b"<MEM>96", b"<MEM>128")}
    second = {
        **base,
        "site.xml": text.replace(b"<!-- ours -->", b"<!-- theirs -->").replace(
            b"<VCPUS>1", b"<VCPUS>2"
        ),
    }
    merged = merge(base, first, second, A, B).files["site.xml"]
    assert merged == second["site.xml"].replace(b"<MEM>96", b"<MEM>128")


@pytest.mark.parametrize("convert_first", [True, False])
def test_one_side_changed_the_format(convert_first: bool) -> None:
    base = files(site(vm("vm1")))
    turned, edited = (
        files(site(vm("vm1", vcpus=2)), form="yaml"),
        files(site(vm("vm1", memory_mib=128))),
    )
    pair = (turned, edited) if convert_first else (edited, turned)
    merged, _, told, tree = both(base, *pair)
    assert "site.yaml" in tree and "site.xml" not in tree
    assert merged.vm("vm1") == vm("vm1", vcpus=2, memory_mib=128)
    assert told == []


def test_configs_go_as_a_whole_and_a_dispute_is_every_users() -> None:
    base = files(site(vm("vm1"), vm("vm2"), vm("vm3", config="db")))
    first = {**base, "configs/web.cfg": b"memory = 1\n", "configs/db.cfg": b"memory = 3\n"}
    second = {**base, "configs/web.cfg": b"memory = 2\n"}
    _, _, told, tree = both(base, first, second)
    assert (tree["configs/web.cfg"], tree["configs/db.cfg"]) == (b"memory = 2\n", b"memory = 3\n")
    assert [t[:3] for t in told] == [("vm1", "config", "web"), ("vm2", "config", "web")]


def test_a_deleted_config_that_the_other_side_uses_is_kept() -> None:
    base = files(site(vm("vm1")))
    first, second = (
        files(site(vm("vm1")), configs__db_cfg=None),
        files(site(vm("vm1", config="db"))),
    )
    for pair in ((first, second), (second, first)):
        assert both(base, *pair)[3]["configs/db.cfg"] == CFG


def test_a_config_turned_into_xml_while_the_other_side_edited_it() -> None:
    base = files(site(vm("vm1")))
    xml = b"<domain type='xen'><os><type>hvm</type></os></domain>\n"
    turned = files(site(vm("vm1")), configs__web_cfg=None, configs__web_xml=xml)
    edited = files(site(vm("vm1")), configs__web_cfg=b"memory = 9\n")
    for pair, form in (((turned, edited), "cfg"), ((edited, turned), "xml")):
        _, _, told, tree = both(base, *pair)
        assert [p for p in tree if p.startswith("configs/web")] == [f"configs/web.{form}"]
        assert [t[:2] for t in told] == [("vm1", "config")]


def test_state_tables_merge_by_key_and_the_later_wins() -> None:
    base = files(site(vm("vm1")))
    first = files(
        site(vm("vm1")),
        State(ID, members=MEMBERS, drained=frozenset({"h1"}), restarts={"vm1": "1"}),
    )
    second = files(
        site(vm("vm1")),
        State(ID, members=MEMBERS, drained=frozenset({"h2"}), restarts={"vm1": "2"}),
    )
    _, state, told, _ = both(base, first, second)
    assert (state.drained, state.restarts, told) == (frozenset({"h1", "h2"}), {"vm1": "2"}, [])


def test_conflicts_are_united_and_settled_ones_go() -> None:
    one = Conflict("vm1", "vcpus", "1", "4", (A, B))
    two = Conflict("vm1", "host", "floating", "h9", (A, B))
    three = Conflict("vm2", "vcpus", "1", "7", (A, B))
    vms = site(vm("vm1"), vm("vm2"))
    base = files(vms, State(ID, members=MEMBERS, conflicts=(one, two)))
    first = files(vms, State(ID, members=MEMBERS, conflicts=(two,)))
    second = files(vms, State(ID, members=MEMBERS, conflicts=(one, two, three)))
    assert set(load(merge(base, first, second, A, B).files).state.conflicts) == {two, three}


def test_a_side_that_knows_nothing_of_a_conflict_does_not_settle_it() -> None:
    """Two had disagreed over 128 and 256; a third, who knew of 128 only, says 512: 256 is not forgotten."""
    conflict = Conflict("vm1", "memory_mib", "128", "256", (A, B))
    base = files(site(vm("vm1", memory_mib=128)))
    with_it = State(ID, members=MEMBERS, conflicts=(conflict,))
    disputed = files(site(vm("vm1", memory_mib=128)), with_it)
    for other, told in ((512, {replace(conflict, shown="512")}), (256, set())):
        unaware = files(site(vm("vm1", memory_mib=other)))
        for first, second in ((disputed, unaware), (unaware, disputed)):
            merged = load(merge(base, first, second, A, B).files)
            assert merged.vms["vm1"].memory_mib == other
            assert set(merged.state.conflicts) == told


def test_a_conflict_that_two_views_show_the_other_way_round_stays() -> None:
    """Each side knows of it, and the base shows the one value: what is shown goes with its own row."""
    rows = [Conflict("vm1", "vcpus", *pair, (A, B)) for pair in (("2", "4"), ("4", "2"))]
    sides = [
        files(site(vm("vm1", vcpus=int(row.shown))), State(ID, members=MEMBERS, conflicts=(row,)))
        for row in rows
    ]
    for first, second in (sides, sides[::-1]):
        merged = load(merge(sides[0], first, second, A, B).files)
        assert merged.vms["vm1"].vcpus == 4
        assert set(merged.state.conflicts) == {rows[1]}


def test_a_third_value_does_not_put_the_second_out_of_mind() -> None:
    """64 lost against 128; now 512 comes, made without knowledge of either: both have lost."""
    base = files(site(vm("vm1")))
    conflict = Conflict("vm1", "memory_mib", "128", "64", (A, B))
    first = files(
        site(vm("vm1", memory_mib=128)), State(ID, members=MEMBERS, conflicts=(conflict,))
    )
    second = files(site(vm("vm1", memory_mib=512)))
    assert both(base, first, second)[2] == [("vm1", "memory_mib", "512", "128 or 64")]
    assert both(base, second, first)[2] == [("vm1", "memory_mib", "128", "512 or 64")]


def test_a_vm_in_a_new_conflict_is_not_removed_in_silence() -> None:
    """Two disagree over its memory and what is shown is what the base had; a third, who knew of that, removed it."""
    conflict = Conflict("vm1", "memory_mib", "96", "512", (A, B))
    base = files(site(vm("vm1"), vm("vm2")))
    state = State(ID, members=MEMBERS, conflicts=(conflict,))
    disputed, gone = files(site(vm("vm1"), vm("vm2")), state), files(site(vm("vm2")))
    for first, second in ((disputed, gone), (gone, disputed)):
        merged = load(merge(base, first, second, A, B).files)
        assert merged.vms["vm1"] == vm("vm1")
        assert {c.what for c in merged.state.conflicts} == {"memory_mib", "removal"}


def test_a_place_below_a_pin_is_not_lost() -> None:
    """One side pinned the VM where it was shown, the other lets it float: it keeps the place that it has there."""
    placed = State(ID, members=MEMBERS, placement={"vm1": "h1"})
    base = files(site(vm("vm1", host="h2")), placed)
    pinned = files(site(vm("vm1", host="h2", vcpus=2)))
    floats = files(site(vm("vm1")), placed)
    for first, second in ((pinned, floats), (floats, pinned)):
        assert both(base, first, second)[1].placement == {"vm1": "h1"}


def test_another_conflict_over_the_same_field_is_not_settled_along() -> None:
    """One side settled 128 against 256 with 512; the other has got a conflict of 512 against 64 meanwhile."""
    old = Conflict("vm1", "memory_mib", "128", "256", (A, B))
    new = replace(old, shown="512", other="64")
    base = files(site(vm("vm1", memory_mib=128)), State(ID, members=MEMBERS, conflicts=(old,)))
    settled = files(site(vm("vm1", memory_mib=512)))
    disputed = files(site(vm("vm1", memory_mib=512)), State(ID, members=MEMBERS, conflicts=(new,)))
    for first, second in ((settled, disputed), (disputed, settled)):
        assert load(merge(base, first, second, A, B).files).state.conflicts == (new,)


def test_a_vm_that_lost_its_place_does_not_get_it_back() -> None:
    """Its host was drained, or forgotten, and no other can have it."""
    placed = State(ID, members=MEMBERS, placement={"vm1": "h1"})
    base = files(site(vm("vm1"), vm("vm2", host="h1")), placed)
    lost = files(site(vm("vm1"), vm("vm2", host="h1")))
    other = files(site(vm("vm1"), vm("vm2", host="h2")), placed)
    for first, second in ((lost, other), (other, lost)):
        assert both(base, first, second)[1].placement == {}


def test_a_conflict_ends_when_another_value_is_chosen() -> None:
    conflict = Conflict("vm1", "vcpus", "1", "4", (A, B))
    state = State(ID, conflicts=(conflict, Conflict("vm2", "removal", "kept", "removed", (A, B))))
    assert active_conflicts(site(vm("vm1"), vm("vm2")), state) == state.conflicts
    assert active_conflicts(site(vm("vm1", vcpus=2)), state) == ()


def test_a_side_that_cannot_be_read_never_stops_the_merge() -> None:
    base = files(site(vm("vm1")))
    broken = {**base, "site.xml": b"<XSMConfig><Set", "state/placement.json": b"[[[["}
    edited = files(site(vm("vm1", vcpus=2)), State(ID, members=MEMBERS, placement={"vm1": "h1"}))
    for first, second in ((broken, edited), (edited, broken), (broken, {**broken, "a": b""})):
        assert merge(base, first, second, A, B) == merge(base, first, second, A, B)
    assert merge(base, edited, broken, A, B).files["site.xml"] == edited["site.xml"]
    assert merge({}, broken, {"a/b": b"1"}, A, B).files["a/b"] == b"1"


def test_a_file_and_a_folder_of_one_name() -> None:
    base = files(site(vm("vm1")))
    tree = merge(
        base, {**base, "a": b"1", "c/d": b"1"}, {**base, "a/b": b"2", "c": b"2"}, A, B
    ).files
    assert {p: c for p, c in tree.items() if p[0] in "ac" and p[1:2] in ("", "/")} == {
        "a/b": b"2",
        "c": b"2",
    }


# -- properties ---------------------------------------------------------------------------------------------------

NAMES = [f"vm{i}" for i in range(5)]
VALUES = {
    "config": ["web", "db"],
    "vcpus": [1, 2, 3],
    "memory_mib": [64, 96, 128],
    "max_memory_mib": [None, 96, 128],
    "host": [None, "h1", "h2", "192.168.5.101"],
    "mac": [None, "00:16:3e:00:00:01", "00:16:3e:00:00:02"],
    "ip": [None, "dhcp", "10.0.0.1", "10.0.0.1/8"],
    "power": list(Power),
    "apart": [(), ("web",)],
    "disks": [(), *((Disk("root", n),) for n in (1, 2)), (Disk("root", 1), Disk("data", 1))],
    "set_name": ["s", "t"],
}


@st.composite
def edited_site(draw: st.DrawFn, old: Site) -> Site:
    """`old` after a few edits by one person."""
    vms = {v.name: v for v in old.vms()}
    hosts = {h.name: h for h in old.hosts}
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(NAMES))
        what = draw(st.sampled_from(["field", "field", "field", "remove", "add", "host"]))
        if what == "remove":
            vms.pop(name, None)
        elif what == "host":
            host = draw(st.sampled_from(["h1", "H2", "x3"]))
            if draw(st.booleans()):
                hosts.pop(host, None)
            else:
                hosts[host] = Host(
                    host,
                    draw(st.sampled_from([None, "192.168.5.101"])),
                    memory_mib=draw(st.sampled_from([None, 70, 100])),
                )
        elif what == "add" or name in vms:
            field = draw(st.sampled_from(sorted(VALUES)))
            vms[name] = replace(
                vms.get(name, vm(name)), **{field: draw(st.sampled_from(VALUES[field]))}
            )
    sets = {n: tuple(v for v in vms.values() if v.set_name == n) for n in ("s", "t")}
    return Site(
        tuple(VMSet(n, "o", inside) for n, inside in sets.items() if inside or n == "s"),
        tuple(hosts.values()),
    )


@st.composite
def tree(draw: st.DrawFn, of: Site) -> dict[str, bytes]:
    floating = [v.name for v in of.vms() if v.host is None]
    placement = {name: draw(st.sampled_from(["h1", "h2"])) for name in floating}
    state = State(
        ID,
        members=MEMBERS,
        placement=placement,
        drained=frozenset(draw(st.sets(st.sampled_from(["h1", "h2"])))),
    )
    result = files(of, state, draw(st.sampled_from(["xml", "xml", "yaml"])))
    if draw(st.integers(0, 3)) == 0:
        result["configs/web.cfg"] = draw(st.sampled_from([b"memory = 1\n", b"memory = 2\n"]))
    return result


@st.composite
def three(draw: st.DrawFn) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]:
    old = draw(
        edited_site(site(vm("vm0"), vm("vm1", mac="00:16:3e:00:00:01"), vm("vm2", host="h1")))
    )
    trees = tuple(draw(tree(s)) for s in (old, draw(edited_site(old)), draw(edited_site(old))))
    for one in trees:
        try:
            load(one)
        except Invalid:
            assume(False)
    return trees  # type: ignore[return-value]


@settings(max_examples=120, deadline=None)
@given(three())
def test_merging_two_valid_revisions_gives_one_valid_revision(
    trees: tuple[Files, Files, Files],
) -> None:
    base, first, second = trees
    merged = merge(base, first, second, A, B)
    document = load(merged.files)
    assert merged == merge(
        dict(reversed(base.items())), dict(reversed(first.items())), second, A, B
    )
    assert merge(base, merged.files, merged.files, A, B).files == merged.files
    assert (
        merge(base, base, second, A, B).files == second
        and merge(base, first, base, A, B).files == first
    )
    assert {(c.vm, c.what) for c in merged.conflicts} <= {
        (c.vm, c.what) for c in document.state.conflicts
    }
    assert active_conflicts(document.site, document.state) == document.state.conflicts


@settings(max_examples=120, deadline=None)
@given(three())
def test_no_edit_is_lost_without_a_word(trees: tuple[Files, Files, Files]) -> None:
    """Each field that a side changed is as that side wants it, or the VM is in conflict."""
    base, first, second = trees
    merged = merge(base, first, second, A, B)
    result = load(merged.files).site
    disputed = {c.vm for c in merged.conflicts}
    for side in (load(first).site, load(second).site):
        before = load(base).site
        for name in NAMES:
            was, now, then = before.vm(name), side.vm(name), result.vm(name)
            if was == now or name in disputed:
                continue
            if now is None or then is None:
                assert now is then
                continue
            for field in VM_FIELDS:
                if was is None or getattr(was, field) != getattr(now, field):
                    assert getattr(then, field) == getattr(now, field), (name, field)


@settings(max_examples=60, deadline=None)
@given(three())
def test_who_is_the_later_decides_only_the_shown_values(trees: tuple[Files, Files, Files]) -> None:
    base, first, second = trees
    one, other = merge(base, first, second, A, B), merge(base, second, first, B, A)
    told, also = ({(c.vm) for c in m.conflicts} for m in (one, other))
    left, right = load(one.files).site, load(other.files).site
    for name in NAMES:
        if name not in told | also:
            assert left.vm(name) == right.vm(name)
