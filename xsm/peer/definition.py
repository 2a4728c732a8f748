"""What an action writes, the domain's XML and its tag; and the way of a migration.

Decides nothing that the plan didn't. Must not know claims, nor how XML gets to libvirt.
"""

from __future__ import annotations

from xsm.peer.events import Way
from xsm.peer.messages import EvictAsk
from xsm.plan import tags
from xsm.plan.actions import STARTS, Action, Step
from xsm.plan.observed import ACTIVE, HostReport, HypervisorFacts
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site import domain as domains
from xsm.site import needs
from xsm.site.disk import volumes
from xsm.site.model import PostCopy
from xsm.site.needs import Needs
from xsm.site.problems import Invalid
from xsm.site.tag import Tag
from xsm.site.wanted import SEEDS_DIR

DEFINING = (STARTS | {Step.DEFINE}) - {Step.CONTINUE}
"""Steps that define the domain."""


def definition(action: Action, wanted: Wanted, report: HostReport | None) -> tuple[str, Tag | None]:
    """The domain XML that the step needs, and the tag that the domain has afterwards (None: as it is).

    The XML is "" for none; where the step only sets limits it says which, and isn't defined.
    Raises `Invalid` when the VM's config can't be made into a domain.
    """
    seen = report.domains if report else ()
    domain = next((d for d in seen if d.uuid == action.uuid), None)
    if action.step is Step.SET_LIMITS:
        assert report is not None and report.facts is not None
        want = wanted.by_name[action.vm]
        tag = tags.fresh(wanted.site_id, want, report.facts.kind, want.vm.power)
        return _rendered(want, report.facts, tag), None
    if action.step not in DEFINING:
        return "", tags.after(domain.tag, action) if domain and domain.tag else None
    assert report is not None and report.facts is not None
    want = wanted.by_name[action.vm]
    facts = report.facts
    if action.step is Step.DEFINE and domain and domain.tag and domain.state in ACTIVE:
        tag = domain.tag
    else:
        power = tags.POWER_AFTER[action.step]
        tag = tags.fresh(wanted.site_id, want, facts.kind, power)
    return _rendered(want, facts, tag), None


def _rendered(want: WantedVM, facts: HypervisorFacts, tag: Tag | None) -> str:
    kind, arch = facts.kind, facts.arch
    return domains.render(
        want.vm, want.config, uuid=want.uuid, mac=want.mac, kind=kind, tag=tag, arch=arch,
        seeds_dir=facts.seeds_dir or SEEDS_DIR,
    ).xml  # fmt: skip


def needs_of(want: WantedVM, facts: HypervisorFacts) -> Needs:
    """What a host needs for the VM to start there; nothing where its domain can't be made: that is told elsewhere."""
    try:
        xml = _rendered(want, facts, None)
    except Invalid:
        return Needs()
    return needs.of(xml, want.seed, volumes(want.name, want.vm.disks))


def way_to(ask: EvictAsk, own: HostReport | None, want: WantedVM | None) -> Way:
    """How a VM may be migrated live to whom asks for it: over TLS where both hosts say that they can."""
    tls = ask.migrate_tls and own is not None and own.facts is not None and own.facts.migrate_tls
    if want is None:
        return Way(ask.migrate_uri, tls)
    along = tuple(v for v in volumes(want.name, want.vm.disks) if v.disk in ask.copies)
    allowed = want.vm.post_copy is PostCopy.ALLOWED
    return Way(ask.migrate_uri, tls, allowed, along, f"left-{ask.epoch}" if along else "")
