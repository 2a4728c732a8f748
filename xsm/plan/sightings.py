"""Which observed domain is which VM's: by the tag first, checked against UUID and name.

Decides what counts as the site's own domain, and what is foreign and must be left alone. A copy of
a domain carries the tag of the original (virt-clone copies <metadata>), so that a tag alone proves
nothing. Must not know what is wanted of a VM's power or size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xsm.plan.observed import ACTIVE, XEN_DOM0_UUID, Domain
from xsm.plan.view import View
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site import identity
from xsm.site.document import Document
from xsm.site.model import VM


@dataclass(frozen=True)
class Sighting:
    host: str
    domain: Domain

    @property
    def active(self) -> bool:
        return self.domain.state in ACTIVE

    @property
    def runs(self) -> bool:
        return self.domain.is_guest


@dataclass
class Seen:
    """All that was seen of one wanted VM. Sorted by host, then UUID."""

    own: list[Sighting] = field(default_factory=list)
    rivals: list[Sighting] = field(
        default_factory=list
    )  # not its domains, but with its name or UUID

    def running(self) -> list[Sighting]:
        return [s for s in self.own if s.runs]

    def cut_off(self) -> list[Sighting]:
        return [s for s in self.own if s.active and s.domain.cut_off]

    def at(self, host: str | None) -> Sighting | None:
        return next((s for s in self.own if s.host == host), None)


@dataclass
class Sorted:
    """Every domain of the scanned reports in its drawer."""

    seen: dict[str, Seen] = field(default_factory=dict)  # wanted VM -> what was seen of it
    removed: list[Sighting] = field(
        default_factory=list
    )  # the site's own, of VMs that the file no longer names
    foreign: list[Sighting] = field(default_factory=list)
    copies: list[Sighting] = field(default_factory=list)  # bear the tag of a VM that they are not


def is_own(w: WantedVM, domain: Domain, site_id: str) -> bool:
    """Whether the domain is the VM's: tagged for it, and having its UUID or its name."""
    tag = domain.tag
    if tag is None or tag.site_id != site_id or tag.vm != w.name:
        return False
    return domain.uuid == w.uuid or domain.name == w.name


def is_foreign(domain: Domain, site_id: str) -> bool:
    """Whether it is somebody's domain that is not the site's. Xen's own Domain-0 is nobody's."""
    return domain.uuid != XEN_DOM0_UUID and (domain.tag is None or domain.tag.site_id != site_id)


def sort_domains(
    wanted: Wanted,
    document: Document,
    view: View,
    interest: Iterable[str],
    only_host: str | None = None,
) -> Sorted:
    """Sort the reports' domains: `interest` names the wanted VMs to look for, on all hosts.

    Domains that are nobody's of interest are sorted for `only_host` (None: all hosts), and skipped
    for others.
    """
    found = Sorted(seen={name: Seen() for name in interest})
    names = found.seen
    uuids = {wanted.by_name[name].uuid: name for name in names}
    site_id = wanted.site_id
    for host in sorted(view.reports):
        report = view.reports[host]
        if host not in document.state.members or report.facts is None:
            continue
        whole = only_host is None or host == only_host
        for domain in report.domains:
            tag = domain.tag
            ours = tag is not None and tag.site_id == site_id and site_id != ""
            known = domain.uuid in uuids or domain.name in names
            if not whole and not known and not (ours and tag is not None and tag.vm in names):
                continue
            _sort_one(wanted, found, uuids, Sighting(host, domain), whole=whole)
    for seen in found.seen.values():
        seen.own.sort(key=lambda s: (s.host, not s.active, s.domain.uuid))
    return found


def _sort_one(
    wanted: Wanted, found: Sorted, uuids: dict[str, str], sighting: Sighting, *, whole: bool
) -> None:
    domain = sighting.domain
    if domain.uuid == XEN_DOM0_UUID:
        return
    tag, site_id = domain.tag, wanted.site_id
    owner = tag.vm if tag is not None and tag.site_id == site_id != "" else None
    if owner is not None:
        w = wanted.by_name.get(owner)
        if w is not None and is_own(w, domain, wanted.site_id):
            if owner in found.seen:
                found.seen[owner].own.append(sighting)
        elif w is None and _was_vm(wanted.site_id, domain, owner):
            if whole:
                found.removed.append(sighting)
        elif whole:
            found.copies.append(sighting)
    elif whole:
        found.foreign.append(sighting)
    for rival in {domain.name, uuids.get(domain.uuid, "")}:
        if rival in found.seen and rival != owner:
            found.seen[rival].rivals.append(sighting)


def _was_vm(site_id: str, domain: Domain, vm: str) -> bool:
    """A removed VM's own domain, and not a copy of it under another name."""
    if domain.name == vm:
        return True
    return domain.uuid == identity.uuid_of(site_id, VM(vm, "", "", vcpus=1, memory_mib=1))
