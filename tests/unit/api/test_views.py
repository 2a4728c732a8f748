"""What `xsm why` says of a VM, word by word."""

from __future__ import annotations

import pytest

from tests.unit.plan.planned_site import NOW, document, made, report, vm
from xsm.api.views import observed_story, wanted_story
from xsm.plan.wanted import wanted


@pytest.mark.parametrize(("vcpus", "told"), [(1, "1 VCPU, 96 MiB"), (2, "2 VCPUs, 96 MiB")])
def test_one_vcpu_is_one(vcpus: int, told: str) -> None:
    doc = document(vm("vm1", "dmz01", vcpus=vcpus))
    assert told in wanted_story(wanted(doc).by_name["vm1"], doc)[1]
    there = made(doc)["vm1"]
    (line,) = observed_story({"dmz01": there}, {"dmz01": report("dmz01", there)}, NOW)
    assert line.split(" (")[0].endswith(f"96 MiB, {told.split(',', maxsplit=1)[0]}")
