"""Differences between sites: found, made, and said in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.unit.site.sites import site_pairs
from xsm.site.changes import (
    AddHost,
    AddSet,
    AddVM,
    RemoveSet,
    RemoveVM,
    SetHost,
    SetOwner,
    SetVM,
    Unfit,
    apply,
    describe,
    diff,
    in_order,
)
from xsm.site.model import VM, Host, Power, Site, VMSet

VM1 = VM("vm1", "c", "s", 2, 96, line=7)
SITE = Site((VMSet("s", "me", (VM1,)),), (Host("h"),))


@given(site_pairs())
@settings(max_examples=60, deadline=None)
def test_a_diff_makes_the_other_site(pair):
    first, second = pair
    assert apply(first, diff(first, second)) == in_order(second)
    assert (diff(first, second) == ()) == (in_order(first) == in_order(second))


def test_order_of_the_changes():
    new = Site((VMSet("t", "", (replace(VM1, set_name="t", vcpus=4), VM("a", "c", "t", 1, 1))),))
    assert [type(c).__name__ for c in diff(SITE, new)] == [
        "RemoveHost", "AddSet", "SetVM", "SetVM", "AddVM", "RemoveSet",
    ]  # fmt: skip
    assert diff(SITE, replace(SITE, sets=(replace(SITE.sets[0], line=9),))) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (SetVM("vm1", "memory_mib", 96, 128), "vm1: MEM 96 => 128"),
        (SetVM("vm1", "host", "dmz01", None), "vm1: DOM0 dmz01 => floating"),
        (
            SetVM("vm1", "mac", None, "00:16:3e:00:00:01"),
            "vm1: HWADDR derived => 00:16:3e:00:00:01",
        ),
        (SetVM("vm1", "ip", None, "dhcp"), "vm1: IP - => DHCP"),
        (SetVM("vm1", "power", Power.RUNNING, Power.STOPPED), "vm1: STATE running => stopped"),
        (SetVM("vm1", "apart", (), ("a", "b")), "vm1: APART - => a,b"),
        (SetVM("vm1", "set_name", "s", "t"), "vm1: set s => t"),
        (AddVM(VM("vm5", "c", "s", 2, 256)), "vm5: added (256 MiB, 2 VCPUs, floating)"),
        (AddVM(VM("vm5", "c", "s", 1, 256, host="h")), "vm5: added (256 MiB, 1 VCPU, on h)"),
        (RemoveVM(VM1), "vm1: removed"),
        (AddSet("s", "me"), "set s: added (owner me)"),
        (RemoveSet("s"), "set s: removed"),
        (SetOwner("s", "", "me"), "set s: owner - => me"),
        (AddHost(Host("h", address="10.0.0.1")), "host h: added (10.0.0.1)"),
        (SetHost("h", "memory_mib", None, 5), "host h: MEM - => 5"),
    ],
)
def test_in_words(change, words):
    assert describe(change) == words


def test_changes_that_do_not_fit():
    for change in (
        RemoveSet("s"),  # its VM is still there
        RemoveSet("x"),
        AddSet("s", ""),
        AddVM(VM1),
        AddHost(Host("h")),
        SetHost("h", "name", "h", "i"),
        SetVM("vm1", "memory_mib", 96, None),
        SetVM("vm1", "set_name", "s", "x"),
    ):
        with pytest.raises(Unfit):
            apply(SITE, [change])
