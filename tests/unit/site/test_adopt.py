"""What can't be taken in, and what is said of it."""

from __future__ import annotations

import pytest

from xsm.site.adopt import CannotAdopt, adopt
from xsm.site.model import Power

DOMAIN = "<domain type='test'><name>%s</name><uuid>%s</uuid><memory>65536</memory></domain>"
UUID = "6f1c1c0a-6d6e-4f8e-9c9b-3d5f0a7b1c2d"


def test_a_name_that_no_vm_may_have_is_to_be_changed_first() -> None:
    xml = DOMAIN % ("my db (old) ü", UUID)
    with pytest.raises(CannotAdopt) as refused:
        adopt(xml, host="dmz01", set_name="a", power=Power.RUNNING, memory_mib=64, vcpus=1)
    assert str(refused.value) == "'my db (old) ü' is not a name for a VM"
    assert "`virsh domrename` while it is off" in refused.value.hint
