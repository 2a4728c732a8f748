"""What a simulated hypervisor keeps: domains with their definitions, and faults to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree

from xsm.edge import domain_facts
from xsm.edge.domain_facts import DomainFacts
from xsm.edge.hypervisor import HypervisorError
from xsm.plan.observed import ACTIVE, DomainState
from xsm.site import tag as tags
from xsm.site import tag_xml


@dataclass
class Fault:
    """The next `times` calls of `call` ("" for any) fail."""

    call: str
    reason: str
    times: int
    lost: bool
    after: bool  # it took effect, only the answer is lost


@dataclass
class SimDomain:
    """Invariant: `config` is None when transient, `live` is None when inactive; never both."""

    name: str
    uuid: str
    config: DomainFacts | None
    live: DomainFacts | None = None
    state: DomainState = DomainState.SHUTOFF
    autostart: bool = False
    managed_save: bool = False
    snapshots: int = 0
    incoming: bool = False
    cut_off: bool = False  # what a migration left here; its guest may run elsewhere
    xml: dict[str, str] = field(default_factory=dict)  # "config", "live" -> text as it was defined

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    def shown(self) -> DomainFacts:
        facts = self.live if self.active else self.config
        assert facts is not None
        return facts


def checked(xml: str) -> DomainFacts:
    """Read a definition and refuse what libvirt refuses."""
    try:
        facts = domain_facts.read(xml)
    except ValueError as error:
        raise HypervisorError(f"XML error: {error}") from error
    if etree.fromstring(xml.encode()).find("os/type") is None:
        raise HypervisorError("XML error: an os <type> must be specified")
    if facts.vcpus > facts.max_vcpus:
        raise HypervisorError("XML error: maxvcpus must not be less than current vcpus")
    return facts


def open_seed(facts: DomainFacts, uuid: str, seeds: Mapping[str, str], booting: bool) -> None:
    """The domain's CD-ROM is opened. `seeds`: UUID -> digest of the images on this host. One that boots has to find
    what its definition was made for."""
    wanted = facts.tag.fingerprint.get("user_data", "") if facts.tag is not None else ""
    if not wanted:
        return
    if uuid not in seeds:
        raise HypervisorError(f"Could not open '{uuid}.iso': No such file or directory")
    if booting and seeds[uuid] != wanted:
        raise HypervisorError(f"{uuid}.iso is not the seed that {facts.name} is to find")


def written(xml: str, facts: DomainFacts, uuid: str) -> str:
    """The definition with the values that were set since."""
    root = etree.fromstring(xml.encode())
    for path, text in (("uuid", uuid), ("currentMemory", str(facts.memory_mib))):
        element = root.find(path)
        if element is None:
            element = etree.SubElement(root, path)
        element.text = text
        if path == "currentMemory":
            element.set("unit", "MiB")
    vcpu = root.find("vcpu")
    if vcpu is not None:
        vcpu.set("current", str(facts.vcpus))
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    for old in metadata.findall(f"{{{tags.NAMESPACE}}}vm"):
        metadata.remove(old)
    if facts.tag is not None:
        metadata.append(tag_xml.to_element(facts.tag))
    return etree.tostring(root, encoding="unicode")
