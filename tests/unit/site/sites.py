"""Random sites and random layouts of their files, for property tests."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import strategies as st

from xsm.site.disk import Disk
from xsm.site.model import VM, Drift, Host, Migration, Power, Site, VMSet

FIGURE_3 = b"""<XSMConfig>
<Set name="My_site">
 <Owner>root@domain.com</Owner>
 <VM name="vm1" config="apache_svr">
   <DOM0>192.168.5.101</DOM0>
   <VCPUS>4</VCPUS>
   <HWADDR>AA:00:00:00:00:01</HWADDR>
   <IP>DHCP</IP>
   <MEM>96</MEM>
 </VM>
 <VM name="vm4" config="mysql_svr">
   <DOM0>192.168.5.104</DOM0>
   <VCPUS>4</VCPUS>
   <HWADDR>AA:00:00:00:00:04</HWADDR>
   <IP>DHCP</IP>
   <MEM>96</MEM>
 </VM>
</Set>
</XSMConfig>
"""

NAMES = [f"vm{i}" for i in range(6)]
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
macs = st.integers(0, 2**24 - 1).map(lambda n: "00:16:3e:" + ":".join(re.findall("..", f"{n:06x}")))
ips = st.sampled_from(["dhcp", "192.168.5.7", "10.1.2.3/8", "2001:db8::7/64", "fe80::1"])
owners = st.one_of(
    st.just(""),
    st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=12)
    .map(str.strip)
    .filter(str.isprintable),
    st.sampled_from(
        [
            "root@domain.com",
            "a: b",
            "x #y",
            "'",
            '"',
            "- x",
            "null",
            "12",
            "<&>",
            "--",
            "]]>",
            "é𝄞",
            "~",
            "?",
        ]
    ),
)


disks = st.builds(
    Disk,
    st.sampled_from(["root", "data", "1"]),
    st.sampled_from([1, 1000, 1024, 10240, 1024 * 1024]),
    st.sampled_from(["default", "fast"]),
    st.sampled_from(["", "debian-12.qcow2"]),
    st.sampled_from(["qcow2", "raw"]),
)


@st.composite
def vms(draw, name, set_name):
    vcpus, memory = draw(st.integers(1, 8)), draw(st.integers(1, 4096))
    return VM(
        name=name,
        config=draw(words),
        set_name=set_name,
        vcpus=vcpus,
        memory_mib=memory,
        host=draw(st.none() | st.sampled_from(["dmz01", "192.168.5.101", "fe80::1"])),
        mac=draw(st.none() | macs),
        ip=draw(st.none() | ips),
        uuid=draw(st.none() | st.uuids().map(str).filter(lambda u: u.strip("0-") != "")),
        max_memory_mib=draw(st.none() | st.integers(memory, 8192)),
        max_vcpus=draw(st.none() | st.integers(vcpus, 16)),
        cpu_weight=draw(st.none() | st.integers(1, 65535)),
        power=draw(st.sampled_from(Power)),
        migration=draw(st.sampled_from(Migration)),
        drift=draw(st.sampled_from(Drift)),
        disks=tuple(draw(st.lists(disks, max_size=3, unique_by=lambda d: d.name))),
        apart=tuple(sorted(draw(st.sets(st.sampled_from(["web", "db", "1", "true"]), max_size=3)))),
    )


@st.composite
def hosts(draw, name):
    return Host(
        name,
        address=draw(st.none() | st.sampled_from(["10.0.0.1", "a.example", "fe80::2"])),
        mac=draw(st.none() | macs),
        uri=draw(st.none() | st.sampled_from(["qemu:///system", "xen+ssh://root@h/?a=b&c=d#x"])),
        memory_mib=draw(st.none() | st.integers(1, 99999)),
    )


@st.composite
def sites(draw):
    """A site of few names, so that two random sites have much in common. Entries are sorted by name."""
    members: dict[str, list[VM]] = {
        name: [] for name in sorted(draw(st.sets(st.sampled_from(["A", "b", "10"]))))
    }
    for name in NAMES if members else ():
        if draw(st.booleans()):
            home = draw(st.sampled_from(sorted(members)))
            members[home].append(draw(vms(name, home)))
    sets = tuple(VMSet(name, draw(owners), tuple(inside)) for name, inside in members.items())
    named = sorted(draw(st.sets(st.sampled_from(["dmz01", "dmz02", "3"]))))
    return Site(sets, tuple(draw(hosts(name)) for name in named))


def near_site(draw, site: Site) -> Site:
    """`site` with one or two fields of each VM changed at most: what edits mostly are."""
    changed = []
    for vm_set in site.sets:
        inside = []
        for vm in vm_set.vms:
            other = draw(vms(vm.name, vm.set_name))
            names = draw(
                st.sets(
                    st.sampled_from(
                        ["config", "host", "mac", "ip", "cpu_weight", "power", "apart", "disks"]
                    ),
                    max_size=2,
                )
            )
            inside.append(replace(vm, **{n: getattr(other, n) for n in sorted(names)}))
        changed.append(replace(vm_set, vms=tuple(inside)))
    return replace(site, sets=tuple(changed))


@st.composite
def site_pairs(draw):
    first = draw(sites())
    return first, near_site(draw, first) if draw(st.booleans()) else draw(sites())
