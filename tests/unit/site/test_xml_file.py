"""site.xml: reading, its errors, writing and byte-exact editing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.site.sites import FIGURE_3, site_pairs, sites
from xsm.site import changes as ch
from xsm.site import xml_file
from xsm.site.changes import AddHost, AddSet, AddVM, RemoveVM, SetHost, SetOwner, SetVM
from xsm.site.model import VM, Host, Power
from xsm.site.problems import Invalid


def problems(text: bytes | str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        xml_file.read(text if isinstance(text, bytes) else text.encode(), "site.xml")
    return [str(p) for p in caught.value.problems]


def one_vm(inner: str, attributes: str = 'name="vm1" config="c"') -> str:
    return f'<XSMConfig><Set name="s">\n<VM {attributes}>\n{inner}\n</VM></Set></XSMConfig>'


GOOD = "<VCPUS>1</VCPUS><MEM>64</MEM>"


def test_figure_3():
    site = xml_file.read(FIGURE_3, "site.xml")
    vm1, vm4 = site.vms()
    assert vm1 == VM(
        "vm1",
        "apache_svr",
        "My_site",
        4,
        96,
        host="192.168.5.101",
        mac="aa:00:00:00:00:01",
        ip="dhcp",
    )
    assert (vm4.config, vm4.host, vm4.line) == ("mysql_svr", "192.168.5.104", 11)
    assert (site.sets[0].name, site.sets[0].owner, site.sets[0].line) == (
        "My_site",
        "root@domain.com",
        2,
    )
    assert site.hosts == ()


def test_every_field():
    site = xml_file.read(
        b"""<XSMConfig>
<Host name="dmz01"><ADDRESS>10.0.0.1</ADDRESS><HWADDR>00-16-3E-00-00-01</HWADDR><URI>xen:///system</URI><MEM>4096</MEM></Host>
<Set name="s"><VM name="v" config="c"><MEM> 64 </MEM><VCPUS>2</VCPUS><IP>10.0.0.7/255.0.0.0</IP><WEIGHT>512</WEIGHT>
<UUID>6C0B2E0A-9D7C-4A7B-8F43-1E5E3C2B7A11</UUID><MAXMEM>128</MAXMEM><MAXVCPUS>4</MAXVCPUS><STATE>paused</STATE>
<MIGRATION>cold</MIGRATION><DRIFT>report</DRIFT><APART>web</APART><APART>db</APART></VM></Set>
<Host name="dmz02"/></XSMConfig>"""
    )
    assert site.hosts == (
        Host("dmz01", "10.0.0.1", "00:16:3e:00:00:01", "xen:///system", 4096),
        Host("dmz02"),
    )
    (vm,) = site.vms()
    assert (vm.memory_mib, vm.max_memory_mib, vm.vcpus, vm.max_vcpus, vm.cpu_weight) == (
        64,
        128,
        2,
        4,
        512,
    )
    assert (vm.ip, vm.uuid) == ("10.0.0.7/8", "6c0b2e0a-9d7c-4a7b-8f43-1e5e3c2b7a11")
    assert (vm.power, vm.migration, vm.drift, vm.apart) == (
        "paused",
        "cold",
        "report",
        ("db", "web"),
    )
    assert vm.host is None


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("<VCPUS>0</VCPUS><MEM>64</MEM>", "site.xml:3: error: VM vm1: <VCPUS> 0 is too small (whole number from 1 to 4096)"),  # noqa: E501
        ("<VCPUS>5000</VCPUS><MEM>64</MEM>", "<VCPUS> 5000 is too large"),
        ("<VCPUS>1</VCPUS><MEM>-5</MEM>", "<MEM> -5 is too small"),
        ("<VCPUS>1</VCPUS><MEM>67108865</MEM>", "<MEM> 67108865 is too large"),
        ("<VCPUS>1</VCPUS><MEM>2 GiB</MEM>", "in MiB without a unit: 2048"),
        ("<VCPUS>1</VCPUS><MEM>064</MEM>", "write 64"),
        ("<VCPUS>1</VCPUS><MEM>\u0661</MEM>", "is not a whole number"),
        ("<VCPUS>1</VCPUS><MEM>" + "9" * 5000 + "</MEM>", "has 5000 characters"),
        ("<VCPUS>1</VCPUS>", "site.xml:2: error: VM vm1 has no <MEM> (whole number"),
        ("<VCPUS>1</VCPUS><MEM/>", "<MEM> is empty"),
        (GOOD + "\n<DOM0/>", "site.xml:4: error: VM vm1: <DOM0> is empty"),
        (GOOD + "<DOMO>dmz01</DOMO>", "<DOMO> is not known inside <VM> (did you mean <DOM0>?)"),
        (GOOD + "<vcpus>1</vcpus>", "did you mean <VCPUS>"),
        (GOOD + "<config>x</config>", 'write it as an attribute: <VM config="...">'),
        (GOOD + "<MEM>1</MEM>", "<MEM> twice, first on line 3"),
        (GOOD + "<DOM0>192.168.5.999</DOM0>", "'192.168.5.999' is not an IP address"),
        (GOOD + "<DOM0>a b;c</DOM0>", "neither a host's name nor an address"),
        (GOOD + "<HWADDR>AB:00:00:00:00:01</HWADDR>", "multicast MAC address (its first pair must be even, for example aa:00"),  # noqa: E501
        (GOOD + "<HWADDR>AA:00:00:00:01</HWADDR>", "is not a MAC address"),
        (GOOD + "<HWADDR>00:00:00:00:00:00</HWADDR>", "can't be all zeros"),
        (GOOD + "<IP>10.0.0.256</IP>", "is not an IP address (DHCP, or"),
        (GOOD + "<IP>224.0.0.1</IP>", "no VM can have"),
        (GOOD + "<IP>10.0.0.0/24</IP>", "is the address of the network"),
        (GOOD + "<IP>10.0.0.255/24</IP>", "broadcast"),
        (GOOD + "<MAXVCPUS>1</MAXVCPUS><MAXMEM>63</MAXMEM>", "MAXMEM 63 MiB is less than MEM 64 MiB"),
        (GOOD + "<UUID>x</UUID>", "is not a UUID"),
        (GOOD + "<WEIGHT>65536</WEIGHT>", "too large"),
        (GOOD + "<STATE>up</STATE>", "running, paused or stopped"),
        (GOOD + "<APART>web</APART><APART>web</APART>", "<APART> web twice"),
        (GOOD + "".join(f"<APART>t{i}</APART>" for i in range(33)), "more than 32"),
        (GOOD + "<IP><b>x</b></IP>", "<b> inside <IP>"),
        (GOOD + '<IP kind="x">DHCP</IP>', "unknown attribute kind="),
        (GOOD + "\nhello", "site.xml:4: error: text inside <VM>: 'hello'"),
        (GOOD + "<IP>&who;</IP>", "an unknown &entity;"),
        (GOOD + "<IP>a & b</IP>", "not well-formed"),
        (GOOD + "<IP>DHCP</ip>", "</ip> closes nothing: <IP> of line 3 is open here (write </IP>)"),
    ],
)  # fmt: skip
def test_bad_values(inner, expected):
    found = problems(one_vm(inner))
    assert any(expected in p for p in found), found
    assert len(found) <= 2


@pytest.mark.parametrize(
    "name",
    ["", ".hidden", "-rf", "a b", "a/b", "../x", "$(x)", "a;b", "a\tb", "é", "x" * 64, "a&#10;b"],
)
def test_bad_names(name):
    (found,) = problems(one_vm(GOOD, f'name="{name}" config="c"'))
    assert "name=" in found
    (found,) = problems(one_vm(GOOD, f'name="vm1" config="{name}"'))
    assert "config=" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "site.xml: error: the file is empty"),
        (b" \n ", "the file is empty"),
        (b"hello", "site.xml:1: error: not well-formed XML"),
        (b"<!-- x -->", "no XML element"),
        (b"<site/>", "the root element is <site> (a site file starts with <XSMConfig>)"),
        (b"<XSMConfig>\n\xff</XSMConfig>", "site.xml:2: error: byte 0xff is not UTF-8"),
        (b"<XSMConfig>\n\n\0</XSMConfig>", "site.xml:3: error: a NUL byte"),
        (b"<XSMConfig>\n\x1b</XSMConfig>", "site.xml:2: error: the control character U+001B"),
        ("<XSMConfig/>".encode("utf-16"), "the file is UTF-16 (save it as UTF-8)"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><XSMConfig/>', "'ISO-8859-1' is not allowed"),
        (b"<!DOCTYPE XSMConfig>\n<XSMConfig/>", "site.xml:1: error: a DOCTYPE is not allowed"),
        (b"<XSMConfig/><XSMConfig/>", "something after the closing </XSMConfig>"),
        (b"<XSMConfig><!-- x", "a comment that is never closed"),
        (b'<XSMConfig a="1"/>', "<XSMConfig> has an unknown attribute a= (it takes none)"),
        (b'<XSMConfig>\n<VM name="a" config="b"/></XSMConfig>', "site.xml:2: error: <VM> outside a <Set>"),
        (b"<XSMConfig><Set/></XSMConfig>", "this set has no name="),
        (b'<XSMConfig><Set name="a" name="b"/></XSMConfig>', "the same attribute twice"),
        (b'<XSMConfig><set name="a"/></XSMConfig>', "did you mean <Set>?"),
        (b'<XSMConfig>\n<Set name="a">\n', "site.xml:1: error: <XSMConfig> is not closed before the file ends"),
    ],
)  # fmt: skip
def test_bad_files(text, expected):
    found = problems(text)
    assert any(expected in p for p in found), found


def test_missing_end_tags_as_printed_in_the_paper():
    """Figure 3 as printed lacks </HWADDR> and has DOMO with a letter O; all of it is reported at once."""
    text = FIGURE_3.replace(b"</HWADDR>", b"").replace(b"DOM0", b"DOMO")
    assert problems(text) == [
        "site.xml:5: error: <DOMO> is not known inside <VM> (did you mean <DOM0>?)",
        "site.xml:7: error: <HWADDR> is not closed before <IP> comes on line 8 (add </HWADDR>)",
        "site.xml:12: error: <DOMO> is not known inside <VM> (did you mean <DOM0>?)",
        "site.xml:14: error: <HWADDR> is not closed before <IP> comes on line 15 (add </HWADDR>)",
    ]


def test_all_problems_at_once_and_a_bound_on_them():
    text = one_vm("<VCPUS>0</VCPUS><MEM>x</MEM><FOO/>", 'name="." config="/"')
    assert len(problems(text)) == 5
    many = problems('<XSMConfig><Set name="s">' + "<X/>\n" * 5000 + "</Set></XSMConfig>")
    assert len(many) == 101
    assert "more than 100 problems" in many[0]


def test_lines_beyond_65535():
    text = (
        "<XSMConfig>"
        + "\n" * 70_000
        + '<Set name="s">\n<VM name="v" config="c">\n<VCPUS>x</VCPUS><MEM>1</MEM></VM></Set></XSMConfig>'
    )
    assert problems(text)[0].startswith("site.xml:70003: error: VM v: <VCPUS>")
    (vm,) = xml_file.read(text.replace("x<", "1<").encode()).vms()
    assert vm.line == 70_002


def test_layout_that_is_fine():
    text = (
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n<?xml-model href="xsm-site.rng"?><!-- <Set> -->\r\n'
        b'<XSMConfig xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="x.xsd"><Set name=\'s\' >'  # noqa: E501
        b'<VM\r\n config="c" name = "v"><MEM><!-- was 3 -->6<!-- x -->4</MEM><VCPUS><![CDATA[2]]></VCPUS></VM ></Set><!-- -->'  # noqa: E501
        b"</XSMConfig>\r\n\r\n<!-- end -->"
    )
    (vm,) = xml_file.read(text).vms()
    assert (vm.memory_mib, vm.vcpus, vm.config, vm.line) == (64, 2, "c", 3)


@given(sites())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(site):
    assert xml_file.read(xml_file.write(site)) == site


NOISE = st.sampled_from(
    [
        "",
        "",
        "",
        "<!-- c -->",
        "<!--MEM>1</MEM--> ",
        "\n\n",
        "  ",
        "\t",
        "<!-- a\n b -->\n",
        "<?p x?>",
    ]
)


@st.composite
def odd_layouts(draw, text: bytes) -> bytes:
    """The same site with comments and white space in odd places."""
    style = draw(st.sampled_from(["spread", "joined", "asis"]))
    pieces = re.split(r"(?<=>)\s*(?=<)", text.decode())
    gap = {"spread": "\n", "joined": "", "asis": None}[style]
    if gap is None:
        pieces = re.split(r"(?<=>)(?=\s*\n\s*<)", text.decode())
    result = pieces[0]
    for piece in pieces[1:]:
        noise = draw(NOISE)
        # Only element content takes noise: not the inside of a value, where white space would still be harmless.
        result += noise + (gap or "") + piece
    if draw(st.booleans()):
        result = result.replace("\n", "\r\n")
    if draw(st.booleans()):
        result = re.sub(r"<(Set|XSMConfig|Host)([^>]*)/>", r"<\1\2></\1>", result)
    return result.encode()


@given(st.data(), site_pairs())
@settings(max_examples=100, deadline=None)
def test_an_edit_makes_the_other_site(data, pair):
    first, second = pair
    text = data.draw(odd_layouts(xml_file.write(first)))
    assert ch.in_order(xml_file.read(text)) == first
    edited = xml_file.edit(text, ch.diff(first, second))
    assert ch.in_order(xml_file.read(edited)) == second
    comments = re.findall(rb"<!--.*?-->", edited, re.DOTALL)
    before = {b" ".join(c.split()) for c in re.findall(rb"<!--.*?-->", text, re.DOTALL)}
    assert {b" ".join(c.split()) for c in comments} <= before  # a moved one is indented anew
    assert ch.diff(second, xml_file.read(edited)) == ()


@given(st.data(), sites())
@settings(max_examples=40, deadline=None)
def test_no_change_is_no_change(data, site):
    text = data.draw(odd_layouts(xml_file.write(site)))
    assert xml_file.edit(text, ()) == text
    assert xml_file.edit(text, ch.diff(site, site)) == text


def edited(changes, text=FIGURE_3) -> str:
    return xml_file.edit(text, changes).decode()


FIG = FIGURE_3.decode()
VM5 = VM("vm5", "apache_svr", "My_site", 2, 256)


def test_edit_touches_only_what_it_means():
    vm1, vm4 = xml_file.read(FIGURE_3).vms()
    assert edited([SetVM("vm1", "memory_mib", 96, 128)]) == FIG.replace("96", "128", 1)
    assert edited([SetVM("vm4", "host", vm4.host, None)]) == FIG.replace(
        "   <DOM0>192.168.5.104</DOM0>\n", ""
    )
    assert edited([SetVM("vm4", "config", "mysql_svr", "db")]) == FIG.replace("mysql_svr", "db")
    assert edited([SetOwner("My_site", "", "a<b")]) == FIG.replace("root@domain.com", "a&lt;b")
    assert (
        edited([RemoveVM(vm4)]) == FIG[: FIG.index(' <VM name="vm4"')] + FIG[FIG.index("</Set>") :]
    )
    assert edited([RemoveVM(vm1), AddVM(replace(vm1, memory_mib=5))]).count('name="vm1"') == 1


def test_what_is_added_looks_like_its_neighbours():
    assert edited([AddVM(VM5)]) == FIG.replace(
        " </VM>\n</Set>",
        ' </VM>\n <VM name="vm5" config="apache_svr">\n   <VCPUS>2</VCPUS>\n   <MEM>256</MEM>\n </VM>\n</Set>',
    )
    assert edited([SetVM("vm1", "power", Power.RUNNING, Power.STOPPED)]) == FIG.replace(
        "<MEM>96</MEM>\n", "<MEM>96</MEM>\n   <STATE>stopped</STATE>\n", 1
    )
    floating = edited([SetVM("vm1", "host", "x", None)])
    back = xml_file.edit(floating.encode(), [SetVM("vm1", "host", None, "192.168.5.101")])
    assert back == FIGURE_3
    assert edited([AddSet("db", ""), SetVM("vm4", "set_name", "My_site", "db")]).endswith(
        '<Set name="db">\n <VM name="vm4" config="mysql_svr">\n   <DOM0>192.168.5.104</DOM0>\n   <VCPUS>4</VCPUS>\n'
        "   <HWADDR>AA:00:00:00:00:04</HWADDR>\n   <IP>DHCP</IP>\n   <MEM>96</MEM>\n </VM>\n</Set>\n</XSMConfig>\n"
    )
    assert edited([AddHost(Host("h", address="10.0.0.1"))]).startswith(
        '<XSMConfig>\n<Host name="h">\n <ADDRESS>10.0.0.1</ADDRESS>\n</Host>\n<Set name="My_site">'
    )
    crlf = FIGURE_3.replace(b"\n", b"\r\n")
    assert xml_file.edit(crlf, [AddVM(VM5)]) == edited([AddVM(VM5)]).replace("\n", "\r\n").encode()


def test_entries_in_empty_parents():
    text = b'<XSMConfig>\n\t<Host name="h" />\n\t<Set name="s"/>\n</XSMConfig>'
    changes = [
        AddVM(replace(VM5, set_name="s")),
        SetHost("h", "memory_mib", None, 64),
        SetOwner("s", "", "me"),
    ]
    assert xml_file.edit(text, changes).decode() == (
        '<XSMConfig>\n\t<Host name="h">\n\t\t<MEM>64</MEM>\n\t</Host>\n\t<Set name="s">\n\t\t<Owner>me</Owner>\n'
        '\t\t<VM name="vm5" config="apache_svr">\n\t\t\t<VCPUS>2</VCPUS>\n\t\t\t<MEM>256</MEM>\n\t\t</VM>\n\t</Set>\n</XSMConfig>'  # noqa: E501
    )


def test_comments_stay_where_they_were():
    text = FIGURE_3.replace(
        b"<MEM>96</MEM>", b"<MEM><!-- a --> 96 <!-- b --></MEM> <!-- MiB -->", 1
    )
    result = edited([SetVM("vm1", "memory_mib", 96, 5), SetVM("vm1", "cpu_weight", None, 9)], text)
    assert (
        "<MEM><!-- a --> 5 <!-- b --></MEM> <!-- MiB -->\n   <WEIGHT>9</WEIGHT>\n </VM>" in result
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (SetVM("vm9", "memory_mib", 1, 2), "there is no VM vm9"),
        (SetVM("vm1", "memory_mib", 1, None), "can't do without"),
        (SetVM("vm1", "name", "a", "b"), "no field name"),
        (AddVM(replace(VM5, name="vm1")), "already"),
        (AddVM(replace(VM5, set_name="x")), "no set x"),
    ],
)
def test_a_change_that_does_not_fit(change, expected):
    with pytest.raises(Invalid, match=expected):
        xml_file.edit(FIGURE_3, [change])
