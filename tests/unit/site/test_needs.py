"""What a domain needs of its host."""

from __future__ import annotations

from xsm.site import needs
from xsm.site.needs import Needs

DOMAIN = """<domain type='kvm'><name>vm1</name>
<os><kernel>/boot/vmlinuz</kernel><initrd>/boot/initrd</initrd><loader>hvmloader</loader></os>
<cpu mode='custom'><model>Skylake-Client</model></cpu>
<devices>
  <disk type='file' device='disk'><source file='/srv/a.qcow2'/><target dev='vda'/></disk>
  <disk type='block' device='disk'><source dev='/dev/vg/b'/><target dev='vdb'/></disk>
  <disk type='volume' device='disk'><source pool='fast' volume='c'/><target dev='vdc'/></disk>
  <disk type='network' device='disk'><source protocol='rbd' name='pool/d'/><target dev='vdd'/></disk>
  <disk type='file' device='cdrom'><target dev='hda'/></disk>
  <disk type='file' device='cdrom'><source file='/srv/x.iso' startupPolicy='optional'/></disk>
  <disk type='block' device='disk'><source dev='/dev/drbd0'/><script path='block-drbd'/></disk>
  <interface type='bridge'><source bridge='br7'/></interface>
  <interface type='network'><source network='default'/></interface>
  <interface type='network'><source network='default'/></interface>
</devices></domain>"""


def test_each_sort_is_found_once_and_sorted() -> None:
    assert needs.of(DOMAIN) == Needs(
        paths=("/boot/initrd", "/boot/vmlinuz", "/dev/vg/b", "/srv/a.qcow2"),
        bridges=("br7",),
        networks=("default",),
        volumes=(("fast", "c"),),
        cpu='<cpu mode="custom"><model>Skylake-Client</model></cpu>',
    )


def test_a_domain_that_needs_nothing_needs_no_look() -> None:
    plain = "<domain type='test'><name>a</name><cpu mode='host-model'/><devices/></domain>"
    assert needs.of(plain).nothing
