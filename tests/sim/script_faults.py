"""Commands of a scenario script that befall hosts, guests and the network, and the peace after them.

Every fault says when it makes no sense now (`Senseless`); none can be told that would break XSM's own assumptions, such
as a guest that is started on a host without power.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.sim.checkers import Violation, at_rest
from tests.sim.disk import TORN, Torn
from tests.sim.hints import Hints
from tests.sim.script_members import ERRAND_LIMIT_S, Members
from tests.sim.stage import Senseless
from tests.sim.volumes import SimVolume
from tests.sim.world import OFF, SimHost
from xsm.peer.contacts import Hint
from xsm.peer.events import Hinted
from xsm.plan.observed import ACTIVE

FOREIGN = """<domain type="test"><name>{name}</name>{uuid}<memory unit="MiB">64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
NEED_NO_GUEST = frozenset({"start", "undefine", "autostart", "set-memory", "set-vcpus", "deaf"})
"""What hands can do with a domain that does not run; for anything else it has to."""
PEACE_LIMIT_S = 400.0
"""By then a site without faults has nothing left to do: the longest backoff and a guest's minute to shut down twice."""
HEAR_S = 10.0
"""By then everybody has heard that the faults are over."""
FAULTS = ("no majority", "does not answer", "failed")
"""What is said while something is broken; at rest nobody should have a reason to."""


class Faults(Members):
    """What nobody asked for."""

    # -- hands and guests -----------------------------------------------------

    def do_hand(self, on: str, what: str, vm: str, *args: str) -> None:
        """hand HOST CALL VM [N]: somebody uses virsh: start, destroy, suspend, resume, set-memory, set-vcpus,
        undefine, autostart, migrate (to host N), cut-off (at the end of its migration to host N, or
        to nowhere); foreign: defines and starts such a domain; twin: the same from another host's definition of
        the VM, without XSM's mark; guest-crashes; deaf: ignores shutdown."""
        host = self.host(on)
        hypervisor = host.hypervisor
        if hypervisor.lost == OFF:
            raise Senseless(f"{on} is off")
        if host.is_witness:
            raise Senseless(f"{on} is a witness")
        if what == "foreign":
            hypervisor.by_hand_define(FOREIGN.format(name=vm, uuid=""), start=True)
            return
        if what == "twin":
            uuid = f"<uuid>{self._uuid(vm)}</uuid>"
            hypervisor.by_hand_define(FOREIGN.format(name=vm, uuid=uuid), start=True)
            return
        domain = next((d for d in hypervisor.domains_unchecked() if d.name == vm), None)
        if domain is None or domain.incoming:
            raise Senseless(f"no {vm} on {on}")
        if domain.state not in ACTIVE and what not in NEED_NO_GUEST:
            raise Senseless(f"{vm} does not run on {on}")
        if what == "guest-crashes":
            hypervisor.guest_crashes(vm)
        elif what == "deaf":
            hypervisor.deaf.add(vm)
        elif any(self.host(arg).is_witness for arg in args if arg in self.world.hosts):
            raise Senseless(f"{args[0]} is a witness")
        elif what == "cut-off":
            hypervisor.by_hand_cut_off(vm, *(self.host(arg).hypervisor for arg in args))
        elif what == "migrate":
            hypervisor.by_hand_migrate(vm, self.host(args[0]).hypervisor)
        else:
            call = getattr(hypervisor, f"by_hand_{what.replace('-', '_')}")
            call(vm, *(int(arg) for arg in args))

    def _uuid(self, vm: str) -> str:
        for host in self.world.hosts.values():
            for domain in host.hypervisor.domains_unchecked():
                if domain.name == vm:
                    return domain.uuid
        raise Senseless(f"no {vm} anywhere")

    # -- the hypervisor -----------------------------------------------------

    def do_fail(self, on: str, call: str, reason: str, times: str = "1", after: str = "") -> None:
        """fail HOST CALL REASON [TIMES [after]]: the hypervisor's next such calls ("any": all) fail; after: though what
        was asked is done."""
        self.host(on).hypervisor.fail_next(
            "" if call == "any" else call, reason, times=int(times), after=bool(after)
        )

    def do_lack(self, on: str, what: str) -> None:
        """lack HOST WHAT: it hasn't got that path, bridge or libvirt network."""
        self.host(on).hypervisor.missing.add(what)

    def do_have(self, on: str, what: str) -> None:
        """have HOST WHAT: it has got it (again)."""
        self.host(on).hypervisor.missing.discard(what)

    def do_pool(self, pool: str, volume: str = "", mib: str = "") -> None:
        """pool POOL [VOLUME MIB]: a storage pool that all hosts share; and a volume in it."""
        pools = self.world.switch.pools
        there = pools.setdefault(pool, {})
        if volume:
            there[volume] = SimVolume(int(mib))

    def do_room(self, on: str, pool: str, mib: str) -> None:
        """room HOST POOL MIB: so much is left in the pool, from now on."""
        self.host(on).hypervisor.storage.free_mib[pool] = int(mib)

    def do_unmount(self, on: str, pool: str) -> None:
        """unmount HOST POOL: what is mounted there is gone, and libvirt sees an empty directory."""
        hypervisor = self.host(on).hypervisor
        if pool in hypervisor.storage.away:
            raise Senseless(f"{pool} is not mounted on {on}")
        hypervisor.unmount(pool)

    def do_mount(self, on: str, pool: str) -> None:
        """mount HOST POOL: it is mounted again, over what was made meanwhile."""
        hypervisor = self.host(on).hypervisor
        if pool not in hypervisor.storage.away:
            raise Senseless(f"{pool} is mounted on {on}")
        hypervisor.mount(pool)

    def do_volume(self, on: str, pool: str, volume: str, mib: str = "-") -> None:
        """volume HOST POOL VOLUME MIB: somebody made it, or ("-") deleted it."""
        there = self.host(on).hypervisor.pool(pool)
        if there is None:
            raise Senseless(f"no pool {pool} on {on}")
        if mib == "-":
            there.pop(volume, None)
        else:
            there[volume] = SimVolume(int(mib))

    def do_used_volume(self, on: str, pool: str, volume: str, mib: str) -> None:
        """used-volume HOST POOL VOLUME MIB: somebody brought it there, with old data in it."""
        there = self.host(on).hypervisor.pool(pool)
        if there is None:
            raise Senseless(f"no pool {pool} on {on}")
        there[volume] = SimVolume(int(mib), used=True)

    def do_slow(self, on: str, call: str, seconds: str) -> None:
        """slow HOST CALL SECONDS: such calls of the hypervisor take so long from now on."""
        self.host(on).hypervisor.slow_s[call] = float(seconds)

    def do_hang(self, on: str, call: str) -> None:
        """hang HOST CALL: the hypervisor's next such call does not return before `release`, or never when xsmd is
        killed meanwhile. CALL may be "domains": looking."""
        self.host(on).hypervisor.hang(call)

    def do_release(self, on: str) -> None:
        """release HOST: what hangs is done now."""
        self.host(on).hypervisor.release()

    def do_lose(self, on: str) -> None:
        """lose HOST: the daemon's connection to libvirtd is gone; the guests run on."""
        hypervisor = self.host(on).hypervisor
        if hypervisor.lost:
            raise Senseless(f"libvirtd of {on} does not answer as it is")
        hypervisor.lose()

    def do_restore(self, on: str) -> None:
        """restore HOST: libvirtd answers again."""
        hypervisor = self.host(on).hypervisor
        if hypervisor.lost in ("", OFF):
            raise Senseless(f"libvirtd of {on} answers, or {on} is off")
        hypervisor.restore()

    # -- hosts -----------------------------------------------------

    def do_kill(self, *words: str) -> None:
        """kill HOST... [nothing|all|torn]: kill -9 of xsmd; its domains run on. The last word: what is left of a write
        that is under way, else by chance."""
        hosts, torn = self._torn(words)
        for host in hosts:
            if host.peer is None:
                raise Senseless(f"no xsmd runs on {host.name}")
            host.kill_daemon(torn)

    def do_crash(self, *words: str) -> None:
        """crash HOST... [nothing|all|torn]: they lose power, and stay off until `boot` or `power-on`. The last word:
        what is left of a write that is under way, else by chance."""
        hosts, torn = self._torn(words)
        for host in hosts:
            if host.hypervisor.lost == OFF:
                raise Senseless(f"{host.name} is off")
            host.crash(torn)
            host.hypervisor.lose(OFF)

    def _torn(self, words: Sequence[str]) -> tuple[list[SimHost], Torn | None]:
        torn = next((torn for torn in TORN if torn in words), None)
        return [self.host(word) for word in words if word != torn], torn

    def do_power_on(self, *hosts: str) -> None:
        """power-on HOST...: they boot, libvirtd too, but xsmd does not start yet."""
        for host in map(self.host, hosts):
            if host.hypervisor.lost != OFF:
                raise Senseless(f"{host.name} is not off")
            self.may_be_switched_on(host)
            host.hypervisor.restore()

    def do_boot(self, *hosts: str) -> None:
        """boot HOST...: xsmd starts, after the host itself if that was off."""
        for host in map(self.host, hosts):
            if host.peer is not None:
                raise Senseless(f"xsmd runs on {host.name}")
            self.may_be_switched_on(host)
            if host.hypervisor.lost == OFF:
                host.hypervisor.restore()
            host.start_daemon()

    def do_clock(self, on: str, seconds: str) -> None:
        """clock HOST SECONDS: its clock is so much ahead (or behind, when negative) from now on."""
        self.host(on).clock_skew_s = float(seconds)

    def do_disk(self, on: str, fsync: str, commit: str = "0") -> None:
        """disk HOST SECONDS [SECONDS]: a vote takes so long to get on its disk from now on, and a revision."""
        disk = self.host(on).disk
        disk.fsync_s, disk.commit_s = float(fsync), float(commit)

    # -- the network -----------------------------------------------------

    def do_cut(self, *groups: str) -> None:
        """cut A,B C,D: only hosts of one group reach each other."""
        self.world.cut_off(*(group.split(",") for group in groups))

    def do_cut_pair(self, one: str, other: str) -> None:
        """cut-pair HOST HOST: these two don't reach each other any more either."""
        pair = frozenset({self.host(one).name, self.host(other).name})
        self.world.cut = {*self.world.cut, pair}

    def do_cut_one_way(self, sender: str, receiver: str) -> None:
        """cut-one-way HOST HOST: packets from the first to the second vanish; the others don't."""
        self.world.cut_one_way(self.host(sender).name, self.host(receiver).name)

    def do_heal(self) -> None:
        """heal: all hosts reach each other again."""
        self.world.heal()

    def do_lossy(self, percent: str) -> None:
        """lossy PERCENT: so many of a hundred requests get lost from now on."""
        self.world.loss = int(percent) / 100

    def do_doubled(self, percent: str) -> None:
        """doubled PERCENT: so many of a hundred requests arrive twice from now on."""
        self.world.doubled = int(percent) / 100

    def do_latency(self, seconds: str) -> None:
        """latency SECONDS: a request takes once to twice so long."""
        self.world.latency_s = float(seconds)

    def do_jitter(self, times: str) -> None:
        """jitter N: some requests take up to so many times as long as others, which overtake them."""
        self.world.jitter = float(times)

    def do_hints(self, *options: str) -> None:
        """hints [loss=PERCENT] [doubled=PERCENT] [late=SECONDS]: from now on Serf gives hints, as well as it can."""
        given = dict(option.split("=", 1) for option in options)
        shares = [int(given.get(name, "0")) / 100 for name in ("loss", "doubled")]
        self.world.hints = Hints(self.world, *shares, late_s=float(given.get("late", "1")))

    def do_lie(self, to: str, about: str, what: str) -> None:
        """lie TO ABOUT failed|left|joined|news: Serf says so of a host, whatever is true."""
        assert self.world.hints is not None, "`hints` first"
        self.world.hints.say(self.world.hosts[to], Hinted(about, Hint(what), "f" * 40))

    def do_announce(self, seconds: str) -> None:
        """announce SECONDS: the target of a live migration has the VM as "incoming" so long after its beginning."""
        self.world.announce_s = float(seconds)

    # -- the end of all faults -----------------------------------------------------

    def do_peace(self) -> None:
        """peace: all faults end, and everything has to come to rest as the one revision wants it; what somebody has to
        say (of a host that is to be forgotten) stays unsaid."""
        self.world.no_more_faults()
        self.world.run_until(lambda: all(e.done for e, _ in self.errands), ERRAND_LIMIT_S)
        self.look_after()
        for name in sorted(self.world.hosts.keys() - self.gone - self.blank):
            self._switch_on(self.world.hosts[name])
        self.world.run(HEAR_S)
        self._join_again()
        forgotten = self.forgotten()
        for name in sorted(self.gone - forgotten):
            self._switch_on(self.world.hosts[name])
        self.gone = forgotten
        for name in sorted(forgotten):
            self.world.hosts[name].kill_daemon()  # it is no part of the site
        self.world.run(HEAR_S)
        self._clear_fenced()
        if not self.world.run_until(self._at_ease, PEACE_LIMIT_S):
            raise Violation(
                f"not at rest {PEACE_LIMIT_S:.0f} s after all faults ended: {self._unrest()}"
            )
        at_rest(self.world)

    def _clear_fenced(self) -> None:
        """A host that was fenced, and to which a VM came by a migration nevertheless, can't come back with it: somebody
        stops the VM there, as `xsm why` says."""
        for host in self.world.alive():
            for domain in host.hypervisor.domains_unchecked():
                if host.peer and host.peer.expelled and domain.tag and domain.state in ACTIVE:
                    host.hypervisor.by_hand_destroy(domain.name)

    def _switch_on(self, host: SimHost) -> None:
        if host.hypervisor.lost:
            host.hypervisor.restore()
        if host.peer is None:
            host.start_daemon()

    def _join_again(self) -> None:
        """What broke off a join is over: whoever began it tries again."""
        for name in sorted(self.blank):
            via = next((h.name for h in self.world.alive() if self.readable(h)), "")
            if via and self.world.hosts[name].has_joined:
                self.world.hosts[name].hypervisor.restore()
                self.do_join(name, via)
        self.world.run_until(lambda: all(e.done for e, _ in self.errands), ERRAND_LIMIT_S)
        self.look_after()

    def _at_ease(self) -> bool:
        """Nothing is left to do, and nothing waits for a fault to end: there are none."""
        reports = [h.peer.own_report() for h in self.world.alive() if h.peer]
        held = [line for r in reports if r is not None for line in r.held]
        held = [line for line in held if not any(gone in line for gone in self.gone)]
        frozen = any(r.frozen for r in reports if r is not None)  # fenced, and not back yet
        waits = any(fault in line for line in held for fault in FAULTS)
        return self.world.settled() and not frozen and not waits

    def _unrest(self) -> str:
        peers = [(h.name, h.peer, h.peer.own_report()) for h in self.world.alive() if h.peer]
        left = [f"{name}: {line}" for name, _, r in peers if r for line in (*r.pending, *r.held)]
        left += [f"{name}: {r.frozen}" for name, _, r in peers if r and r.frozen]
        heads = [f"{name} shows {p.head.revision[:10]}" for name, p, _ in peers if p.head]
        return "; ".join([*left, *heads])
