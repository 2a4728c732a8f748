"""All that is wrong with a file is told at once: values, and what only the whole site can tell."""

import pytest

from xsm.site.document import load
from xsm.site.problems import Invalid

CONFIG = b'kernel = "/boot/vmlinuz"\n'
XML = b"""<XSMConfig>
<Set name="s">
 <VM name="vm1" config="web"><DOM0>h1</DOM0><VCPUS>4</VCPUS><HWADDR>aa:00:00:00:00:01</HWADDR><MEM>lots</MEM></VM>
 <VM name="vm2" config="wed"><DOM0>h1</DOM0><MEM>96</MEM></VM>
 <VM name="vm3" config="web"><DOM0>h1</DOM0><VCPUS>4</VCPUS><HWADDR>AA:00:00:00:00:01</HWADDR><MEM>96</MEM></VM>
</Set>
</XSMConfig>
"""
YAML = b"""sets:
  - name: s
    vms:
      - {name: vm1, config: web, dom0: h1, vcpus: 4, hwaddr: "aa:00:00:00:00:01", mem: lots}
      - {name: vm2, config: wed, dom0: h1, mem: 96}
      - {name: vm3, config: web, dom0: h1, vcpus: 4, hwaddr: "AA:00:00:00:00:01", mem: 96}
"""


@pytest.mark.parametrize(("path", "text", "first"), [("site.xml", XML, 3), ("site.yaml", YAML, 4)])
def test_a_wrong_value_hides_no_other_mistake(path, text, first):
    with pytest.raises(Invalid) as caught:
        load({path: text, "configs/web.cfg": CONFIG})
    told = {(p.line, p.message.split(":")[0].split(" (")[0]) for p in caught.value.problems}
    lines = sorted(p.line for p in caught.value.problems)
    assert lines == [first, first + 1, first + 1, first + 2], told


def test_with_a_host_entry_that_can_not_be_read_no_dom0_is_called_unknown():
    text = XML.replace(b"<Set", b'<Host name="-h1-"/>\n<Set', 1).replace(b"lots", b"96")
    with pytest.raises(Invalid) as caught:
        load({"site.xml": text, "configs/web.cfg": CONFIG})
    assert not [p for p in caught.value.problems if "unknown host" in p.message]
