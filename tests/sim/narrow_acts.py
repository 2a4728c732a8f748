"""Stories about edits and about what is done to domains, in which one missing rule does harm: what they need to happen
is too seldom, or not there at all, in lives by chance. Each ends well as XSM is.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.sim.checkers import Violation
from tests.sim.narrow import cut, edit, peace, settled_site
from tests.sim.script import Script
from tests.sim.world import World
from xsm.edge.repository import Repository
from xsm.edge.revisions import Moved, Revisions
from xsm.peer import commands
from xsm.plan.actions import Step
from xsm.site import state_file, tag_xml
from xsm.site.changes import AddVM, RemoveVM
from xsm.site.model import VM, Migration, Power

OTHER_SITE = "99999999-0000-4000-8000-000000000000"
PLAIN = """<domain type="test"><name>{name}</name>{uuid}<memory unit="MiB">64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os>{mark}</domain>"""
HOUR_S = 3600.0
SCENARIOS = Path(__file__).parents[1] / "scenarios"


def by_hand(
    world: World,
    on: str,
    name: str,
    *,
    site_id: str = "",
    of: str = "",
    uuid: str = "",
    start: bool = True,
) -> str:
    """Somebody defines a domain with virsh; with the mark of a VM of some site, if one is given."""
    mark = f'<x:vm xmlns:x="{tag_xml.NAMESPACE}" site="{site_id}" name="{of}"/>' if site_id else ""
    text = PLAIN.format(
        name=name,
        uuid=f"<uuid>{uuid}</uuid>" if uuid else "",
        mark=f"<metadata>{mark}</metadata>" if mark else "",
    )
    return world.hosts[on].hypervisor.by_hand_define(text, start=start)


def add(world: World, vm: str, host: str, via: str = "dmz01") -> None:
    on = world.hosts[via]
    new = VM(vm, "apache_svr", on.document.site.sets[0].name, 1, 64, host=host)
    world.propose(via, commands.edit_site(on.head_files, on.document, [AddVM(new)]), "An edit")


def remove(world: World, vm: str) -> None:
    on = world.hosts["dmz01"]
    changes = [RemoveVM(on.document.vms[vm])]
    world.propose("dmz01", commands.edit_site(on.head_files, on.document, changes), "An edit")


def is_there(world: World, host: str, uuid: str) -> None:
    if not any(d.uuid == uuid for d in world.hosts[host].hypervisor.domains_unchecked()):
        raise Violation(f"a domain that isn't the site's is gone from {host}")


def a_domain_has_the_vms_name(mark: str) -> World:
    """The site gets a VM, and loses it, whose name a domain has that is not the site's."""
    world = settled_site()
    uuid = by_hand(world, "dmz03", "vm9", site_id=mark, of="vm9")
    world.run(2.0)
    add(world, "vm9", "dmz03")
    world.run(10.0)
    remove(world, "vm9")
    world.run(70.0)
    is_there(world, "dmz03", uuid)
    return world


def a_foreign_domain_has_the_vms_name() -> World:
    return a_domain_has_the_vms_name("")


def another_sites_domain_has_the_vms_name() -> World:
    return a_domain_has_the_vms_name(OTHER_SITE)


def a_copy_outlives_the_vm() -> World:
    """Somebody clones vm1, mark and all, under another name; then vm1 is removed."""
    world = settled_site()
    site_id = world.hosts["dmz01"].document.state.site_id
    uuid = by_hand(world, "dmz02", "vm1-copy", site_id=site_id, of="vm1", start=False)
    world.run(2.0)
    remove(world, "vm1")
    world.run(70.0)
    is_there(world, "dmz02", uuid)
    return world


def another_domain_in_its_place() -> World:
    """While vm1 is about to be stopped somebody puts a domain of his own in its place, with its name and UUID."""
    world = settled_site()
    host = world.hosts["dmz01"]
    host.hypervisor.slow_s = {"shutdown": 4.0}
    uuid = next(d.uuid for d in host.hypervisor.domains_unchecked() if d.name == "vm1")
    edit(world, "dmz01", "power", Power.STOPPED)
    world.run(2.0)
    host.hypervisor.by_hand_destroy("vm1")
    host.hypervisor.by_hand_undefine("vm1")
    by_hand(world, "dmz01", "vm1", uuid=uuid)
    world.run(10.0)
    is_there(world, "dmz01", uuid)
    return world


def a_newer_merge_rule() -> World:
    """Somebody's newer xsmd commits a revision by a merge rule that this one doesn't know. Nothing is done by it."""
    world = settled_site()
    host = world.hosts["dmz01"]
    edit(world, "dmz01", "power", Power.STOPPED)
    table = {"id": host.document.state.site_id, "merge_version": 99}
    host.commit(
        {**host.head_files, state_file.path_of("site"): state_file.canonical(table)}, "An edit"
    )
    world.run(30.0)
    return world


def a_stop_that_was_taken_back() -> World:
    """A deaf guest is to be stopped, then not, then again: it gets its minute to shut down the second time, too."""
    world = settled_site()
    host = world.hosts["dmz01"]
    host.hypervisor.deaf.add("vm1")
    for power, wait_s in (
        (Power.STOPPED, 10.0),
        (Power.RUNNING, HOUR_S / 10),
        (Power.STOPPED, 20.0),
    ):
        edit(world, "dmz01", "power", power)
        world.run(wait_s)
    if not world.running("vm1"):
        raise Violation("vm1 was powered off 20 s after it was asked to shut down")
    host.hypervisor.deaf.clear()
    peace(world)
    return world


def without_dmz01() -> World:
    """dmz01, on which vm1 ran, is off and forgotten; all others know it."""
    world = settled_site()
    world.hosts["dmz01"].crash()
    world.hosts["dmz01"].hypervisor.lose("powered off")
    world.run(3.0)
    errand = world.forget("dmz02", "dmz01", sure=True)
    assert world.run_until(lambda: errand.done)
    assert not errand.error
    world.run(5.0)
    return world


def the_operators_word_on_both_sides() -> World:
    """Both sides of a cut give the VM of a forgotten host to a host of their own; one side is a minority."""
    world = without_dmz01()
    cut(world, ("dmz02", "dmz03"), ("dmz02", "dmz04"))
    edit(world, "dmz02", "host", "dmz02")
    edit(world, "dmz03", "host", "dmz03")
    world.run(10.0)
    world.heal()
    world.run(10.0)
    return world


def a_forgotten_host_is_back() -> World:
    """A forgotten host is switched on again, and takes long to hear of any revision. Then its VM goes to dmz02."""
    world = without_dmz01()
    back = world.hosts["dmz01"]
    back.disk.commit_s = 30.0
    back.hypervisor.restore()
    back.start_daemon()
    world.run(3.0)
    edit(world, "dmz02", "host", "dmz02")
    world.run(10.0)
    return world


def drift_is_left_to_people() -> World:
    """vm1's policy is to report what was done by hand: nothing is done about it."""
    world = settled_site()
    edit(world, "dmz01", "drift", "report")
    assert world.run_until(world.settled)
    world.hosts["dmz01"].hypervisor.by_hand_destroy("vm1")
    world.run(20.0)
    if world.running("vm1"):
        raise Violation("vm1 was turned off by hand, and runs again")
    return world


def a_move_that_can_only_be_cold() -> World:
    """vm1 may only move live, and no host here can do that: it stays where it runs."""
    world = settled_site()
    world.switch.live = False
    edit(world, "dmz01", "migration", Migration.LIVE)
    edit(world, "dmz01", "host", "dmz02")
    world.run(20.0)
    if world.running("vm1") != ["dmz01"]:
        raise Violation("vm1 may only move live, and was stopped")
    return world


def alone(world: World) -> None:
    """No host reaches another."""
    world.cut_off(*({name} for name in world.hosts))


def one_field_on_two_sides() -> World:
    """vm1's memory is edited on both sides of a cut."""
    world = settled_site()
    alone(world)
    edit(world, "dmz02", "memory_mib", 80)
    edit(world, "dmz03", "memory_mib", 64)
    world.run(5.0)
    world.heal()
    world.run(20.0)
    return world


def a_third_edit_of_one_field() -> World:
    """vm1's memory is edited on two sides; somebody who has heard of one of them only gives it a third value."""
    world = settled_site()
    cut(world, ("dmz02", "dmz03"), ("dmz03", "dmz01"), ("dmz03", "dmz04"))
    edit(world, "dmz03", "memory_mib", 64)
    world.run(2.0)
    edit(world, "dmz02", "memory_mib", 80)  # the later one: it is shown
    world.run(5.0)
    cut(world, *((a, "dmz04") for a in ("dmz01", "dmz02", "dmz03")))
    edit(world, "dmz04", "memory_mib", 72)
    world.run(5.0)
    edit(world, "dmz03", "power", Power.STOPPED)  # on top of the conflict
    world.run(5.0)
    world.heal()
    world.run(20.0)
    return world


def a_host_runs_short() -> World:
    """vm1 is to grow, and a foreign domain has the room."""
    world = settled_site()
    hypervisor = world.hosts["dmz01"].hypervisor
    edit(world, "dmz01", "power", Power.STOPPED)
    edit(world, "dmz01", "max_memory_mib", 250)
    assert world.run_until(world.settled)
    edit(world, "dmz01", "power", Power.RUNNING)
    assert world.run_until(world.settled)
    by_hand(world, "dmz01", "scratch")
    hypervisor.memory_mib = 300
    edit(world, "dmz01", "memory_mib", 250)
    world.run(10.0)
    return world


def a_look_that_hangs() -> World:
    """dmz01 starts vm1, which takes long; meanwhile vm1 is given to dmz02. A look at the hypervisor of dmz01 begins
    before the start has ended, and ends after it."""
    world = settled_site()
    hypervisor = world.hosts["dmz01"].hypervisor
    edit(world, "dmz01", "power", Power.STOPPED)
    assert world.run_until(world.settled)
    hypervisor.slow_s = {"start": 4.0}
    edit(world, "dmz01", "power", Power.RUNNING)
    assert world.run_until(lambda: any(a.step is Step.START for _, _, a in world.performed))
    edit(world, "dmz02", "host", "dmz02")
    world.run(3.0)
    hypervisor.hang("domains")
    world.run(2.5)
    hypervisor.release()
    hypervisor.slow_s = {}
    world.run(5.0)
    peace(world)
    return world


def a_move_is_cut_off_at_its_end() -> World:
    """vm1 is on its way to dmz02 when libvirtd of dmz01 dies: the guest goes on on dmz02, dmz01 keeps a paused copy.
    Then the file says dmz01 again, and the two hear nothing of each other for a while."""
    world = settled_site()
    source, target = world.hosts["dmz01"], world.hosts["dmz02"]
    source.hypervisor.slow_s = {"migrate": 6.0, "abort": 20.0}
    world.announce_s = 5.0
    edit(world, "dmz03", "host", "dmz02")
    assert world.run_until(lambda: any(a.step is Step.MIGRATE for _, _, a in world.performed))
    source.hypervisor.by_hand_cut_off("vm1", target.hypervisor)
    cut(world, ("dmz01", "dmz02"))
    edit(world, "dmz03", "host", "dmz01")
    world.run(15.0)
    source.hypervisor.slow_s = {}
    peace(world)
    return world


def the_only_copy_is_cut_off() -> World:
    """libvirtd dies on both ends of a migration: what is paused on dmz01 is the guest itself."""
    world = settled_site()
    world.hosts["dmz02"].kill_daemon()
    edit(world, "dmz03", "host", "dmz02")
    world.hosts["dmz01"].hypervisor.by_hand_cut_off("vm1")
    world.run(10.0)
    world.hosts["dmz02"].start_daemon()
    world.run(10.0)
    edit(world, "dmz03", "host", "dmz01")
    peace(world)
    return world


def two_claims_of_one_epoch() -> None:
    """Two hosts are given one new VM at the same instant, and no host hears of the other's edit for a while."""
    for latency_s in (0.002, 0.005, 0.02, 0.1):
        world = settled_site()
        world.latency_s = latency_s
        for name in ("dmz02", "dmz03"):
            add(world, "vm9", name, via=name)
        for host in world.hosts.values():
            host.disk.commit_s = 30.0
        world.run(20.0)


def a_look_from_before_it_came() -> World:
    """dmz02 looks at its hypervisor, which takes long, and gets vm1 by a live migration meanwhile. Then vm1 is given to
    dmz03, which asks dmz02 to let go of it."""
    world = settled_site()
    world.announce_s = 2.0
    for host in world.hosts.values():
        host.hypervisor.slow_s = {"migrate": 4.0}
    edit(world, "dmz02", "host", "dmz02")
    assert world.run_until(lambda: any(a.step is Step.MIGRATE for _, _, a in world.performed))
    world.run(0.5)
    world.hosts["dmz02"].hypervisor.hang("domains")
    world.run(6.0)
    edit(world, "dmz03", "host", "dmz03")
    world.run(3.0)
    world.hosts["dmz02"].hypervisor.release()
    world.run(5.0)
    peace(world)
    return world


def a_move_to_a_dead_host() -> World:
    """vm1 is to move cold to dmz02, which is off: it is not stopped before dmz02 has claimed it."""
    world = settled_site()
    world.switch.live = False
    world.hosts["dmz02"].crash()
    edit(world, "dmz01", "migration", Migration.COLD)
    edit(world, "dmz01", "host", "dmz02")
    world.run(20.0)
    if world.running("vm1") != ["dmz01"]:
        raise Violation("vm1 was stopped for a host that is off")
    return world


def told(name: str) -> World:
    """A scenario of tests/scenarios, with the checkers."""
    script = Script()
    for line in (SCENARIOS / f"{name}.txt").read_text().splitlines():
        if line.startswith("$ "):
            script.run(line[2:])
    return script.world


def it_arrives_at_a_fenced_host() -> World:
    return told("fence_arrives_later")


def an_edit_beside_the_head() -> None:
    """Two people commit to one repository, both on top of the same revision: the second is told that it moved on."""

    async def tell(folder: str) -> None:
        repository = Repository.create(Path(folder) / "site.git")
        root = repository.write_commit({"a": b"1"}, (), "root <root@domain.com>", 1, "Start").id
        revisions = Revisions(repository)
        try:
            await revisions.take((root,))
            await revisions.commit({"a": b"2"}, root, "anna <a@domain.com>", "One", 2)
            try:
                await revisions.commit({"a": b"1", "b": b"1"}, root, "b <b@domain.com>", "Two", 3)
            except Moved:
                return
            raise Violation("an edit was committed that undoes one that it knows nothing of")
        finally:
            revisions.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(tell(folder))


ACTS = (
    a_foreign_domain_has_the_vms_name,
    another_sites_domain_has_the_vms_name,
    a_copy_outlives_the_vm,
    another_domain_in_its_place,
    a_newer_merge_rule,
    a_stop_that_was_taken_back,
    the_operators_word_on_both_sides,
    a_forgotten_host_is_back,
    drift_is_left_to_people,
    a_move_that_can_only_be_cold,
    a_host_runs_short,
    two_claims_of_one_epoch,
    a_move_is_cut_off_at_its_end,
    the_only_copy_is_cut_off,
    a_move_to_a_dead_host,
    a_look_that_hangs,
    a_look_from_before_it_came,
    one_field_on_two_sides,
    a_third_edit_of_one_field,
    an_edit_beside_the_head,
)
