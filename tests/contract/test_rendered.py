"""A VM of the paper's site file, rendered by `xsm.site.domain`, is what a hypervisor takes and shows."""

from __future__ import annotations

from tests.contract.domains import mark, uuid_of
from tests.contract.subjects import Subject
from xsm.plan.observed import Domain, DomainState
from xsm.site import domain
from xsm.site.document import load
from xsm.site.model import VM

SITE_XML = b"""<XSMConfig>
<Set name="My_site">
 <Owner>root@domain.com</Owner>
 <VM name="vm1" config="apache_svr">
   <DOM0>192.168.5.101</DOM0>
   <VCPUS>4</VCPUS>
   <HWADDR>AA:00:00:00:00:01</HWADDR>
   <IP>DHCP</IP>
   <MEM>96</MEM>
 </VM>
</Set>
</XSMConfig>
"""
APACHE_CFG = b"""kernel = "/boot/vmlinuz-xen"
ramdisk = "/boot/initrd-xen.img"
root = "/dev/xvda1 ro"
disk = ["phy:/dev/vg/apache,xvda,w"]
vif = ["bridge=xenbr0"]
"""


def test_a_rendered_vm_is_defined_runs_and_shows_what_was_asked_for(subject: Subject) -> None:
    h = subject.hypervisor
    document = load({"site.xml": SITE_XML, "configs/apache_svr.cfg": APACHE_CFG})
    vm = document.site.vm("vm1")
    assert isinstance(vm, VM)
    assert vm.mac is not None
    facts = h.facts()
    xml = domain.render(
        vm,
        document.configs[vm.config],
        uuid=uuid_of("vm1"),
        mac=vm.mac,
        kind=facts.kind,
        tag=mark("vm1", kernel="/boot/vmlinuz-xen"),
        arch=facts.arch,
    ).xml
    h.define(xml)
    h.start(uuid_of("vm1"))
    assert h.domains() == (
        Domain(
            name="vm1",
            uuid=uuid_of("vm1"),
            state=DomainState.RUNNING,
            memory_mib=96,
            max_memory_mib=96,
            vcpus=4,
            max_vcpus=4,
            mac="aa:00:00:00:00:01",
            tag=mark("vm1", kernel="/boot/vmlinuz-xen"),
        ),
    )
