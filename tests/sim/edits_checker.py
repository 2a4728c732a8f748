"""What a site has promised about edits, checked from outside: none is lost, none is overruled in silence.

Decides what the view of several newest commits must show, from what each single commit changed and from who knew of
what; it must not use the merge's own code, nor derive or history. A checker of worlds like those of `checkers.py`: it
looks only when a host shows another revision, does something, or has asked its hypervisor for something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tests.sim.said import ANYWHERE, FIELDS, THERE, WHOLE, Edit, Key, Said, edit_between, readable
from tests.sim.world import SimHost, Violation, World
from xsm.site.document import load
from xsm.site.problems import Invalid
from xsm.site.state import MERGE_VERSION

NOTHING = object()


class EditsChecker:
    """One for each world: it remembers what was shown."""

    def __init__(self, world: World) -> None:
        self._said: dict[str, Said | None] = {}
        self._edits: dict[str, Edit] = {}
        self._pasts: dict[str, frozenset[str]] = {}
        self._shown: dict[str, str] = {}  # host -> revision
        self._views: dict[tuple[str, ...], str] = {}  # heads -> the revision that they make
        self._disputed: dict[str, set[Key]] = {}  # revision -> what must be marked in it
        self._held: dict[str, frozenset[str]] = {}  # host -> the edits in what it showed last
        self._since_edit: dict[str, set[str]] = {}  # host -> revisions since the last edit
        self._known: set[str] = set()  # edits that were looked at by themselves
        self._edits_seen = 0
        self._performed = 0
        self._calls: dict[str, int] = {}
        self._foreign: dict[str, frozenset[str]] = {}
        self._heads_at = self._domains_at = -1
        world.checkers.append(self.check)

    def check(self, world: World) -> None:
        if self._heads_at != world.heads_heard:
            self._heads_at = world.heads_heard
            self._look_at_heads(world)
        self._nothing_done_in_a_conflict(world)
        if self._domains_at != world.switch.generation:
            self._domains_at = world.switch.generation
            self._foreign_is_left_alone(world)

    def _look_at_heads(self, world: World) -> None:
        for host in world.hosts.values():
            if host.peer is not None and host.peer.head is not None:
                revision = host.peer.head.revision
                if self._shown.get(host.name) != revision:
                    self._shown[host.name] = revision
                    self._new_revision(world, host, revision)

    # -- revisions -----------------------------------------------------------------------------------------------------

    def _new_revision(self, world: World, host: SimHost, revision: str) -> None:
        assert host.peer is not None and host.peer.head is not None
        heads = host.peer.head.heads
        self._heads_are_edits(world, host.name, heads, revision)
        known = self._views.setdefault(heads, revision)
        if known != revision:
            raise Violation(f"{host.name} makes {revision[:10]} of heads that gave {known[:10]}")
        lost = self._held.get(host.name, frozenset()) - self._past(world, revision)
        if lost:
            raise Violation(f"{host.name} had the edits {sorted(lost)}, and shows {revision[:10]}")
        self._held[host.name] = self._past(world, revision)
        self._no_storm(world, host.name, revision)
        for commit_id in sorted(self._held[host.name] - self._known):
            self._known.add(commit_id)
            self._follows_its_parents(world, commit_id)
            self._does_what_was_asked(world, commit_id)
        if revision not in self._disputed:
            self._disputed[revision] = set(self._judge(world, heads, revision))
        if len(heads) == 1:
            self._settles_only_what_it_touches(world, revision)

    def _heads_are_edits(
        self, world: World, host: str, heads: tuple[str, ...], revision: str
    ) -> None:
        commits = world.archive.commits
        for head in heads:
            if commits[head][0].merge:
                raise Violation(f"{host} takes its own merge {head[:10]} for an edit")
            if any(head in self._past(world, other) for other in heads if other != head):
                raise Violation(f"{host} has {head[:10]} as a head, which another head contains")
        parents = commits[revision][0].parents
        if (len(heads) == 1 and revision != heads[0]) or (
            len(heads) > 1 and (not commits[revision][0].merge or sorted(parents) != sorted(heads))
        ):
            raise Violation(f"{host} shows {revision[:10]}, which is not made of its heads")

    def _no_storm(self, world: World, host: str, revision: str) -> None:
        """Once people stop editing, a host shows at most one new revision for each edit that it had not heard of."""
        edits = sum(not commit.merge for commit, _ in world.archive.commits.values())
        if edits != self._edits_seen:
            self._edits_seen = edits
            self._since_edit = {}
        since = self._since_edit.setdefault(host, set())
        since.add(revision)
        if len(since) > edits:
            raise Violation(f"{host} makes revision after revision ({len(since)}) of {edits} edits")

    def _follows_its_parents(self, world: World, commit_id: str) -> None:
        """The later of two edits at once is shown: so no clock may put one before what it follows."""
        commit = world.archive.commits[commit_id][0]
        for parent in commit.parents:
            if world.archive.commits[parent][0].date >= commit.date:
                raise Violation(f"{commit_id[:10]} is dated before {parent[:10]}, which it follows")

    def _does_what_was_asked(self, world: World, commit_id: str) -> None:
        """What somebody saved is what he changed in what he had opened, on top of what came since."""
        if commit_id not in world.asked:
            return
        opened, saved = (readable(files) for files in world.asked[commit_id])
        after = self._says(world, commit_id)
        before = self._says(world, world.archive.commits[commit_id][0].parents[0])
        if not (opened and saved and after and before):
            return
        tables = [said.document.vms for said in (opened, saved, before, after)]
        for vm in sorted({name for table in tables for name in table}):
            was, now, head, done = (table.get(vm) for table in tables)
            if (done is None) != ((head if (was is None) == (now is None) else now) is None):
                raise Violation(f"{commit_id[:10]} has {vm} otherwise than the one who saved it")
            for field in WHOLE if done is not None else ():
                mine, own = getattr(now, field, None), getattr(was, field, None)
                expected = mine if mine != own or head is None else getattr(head, field)
                if getattr(done, field) != expected:
                    raise Violation(
                        f"{commit_id[:10]} has {getattr(done, field)!r} as {vm}'s {field}: "
                        f"{own!r} was opened, {mine!r} was saved, the head had {expected!r}"
                    )

    def _settles_only_what_it_touches(self, world: World, commit_id: str) -> None:
        commit = world.archive.commits[commit_id][0]
        after = self._says(world, commit_id)
        before = self._says(world, commit.parents[0]) if commit.parents else None
        if before is None or after is None or commit.message.startswith("Settle "):
            return
        for vm, what in sorted(before.conflicts() - after.conflicts()):
            field = THERE if what == "removal" else what
            now = after.document.vms.get(vm)
            pinned = now is not None and before.document.vms[vm].host == now.host
            same = before.value(vm, field) == after.value(vm, field)
            if now is not None and same and (what != "host" or pinned):
                raise Violation(f"the edit {commit_id[:10]} settles {vm}'s {what} untouched")

    # -- what must be shown --------------------------------------------------------------------------------------------

    def _judge(self, world: World, heads: tuple[str, ...], revision: str) -> Iterator[Key]:
        """What two edits disagree about in the view of these heads. Raises `Violation` if the view hides that, or shows
        what nobody wrote."""
        view = self._says(world, revision)
        if view is None or len(heads) < 2:
            return
        marked = view.conflicts()
        past = self._past(world, revision)
        writers = self._writers(world, past)
        ever: dict[Key, list[object]] = {}
        for commit_id in sorted(past):
            for key, value in self._edit(world, commit_id).wrote.items():
                ever.setdefault(key, []).append(value)
        for vm in sorted({vm for vm, _ in writers}):
            there = vm in view.document.vms
            disputed = self._disputes_removal(
                world, past, writers, vm, there, (vm, "removal") in marked
            )
            if disputed and (not there or (vm, "removal") not in marked):
                raise Violation(
                    f"{vm} was removed and changed at once: in {revision[:10]} it is "
                    + ("not marked as such" if there else "gone")
                )
            if disputed:
                yield vm, "removal"
            if not there:
                continue
            removed = all(value is False for _, value in writers[vm, THERE])
            added = [self._says(world, c) for c, value in writers[vm, THERE] if value is True]
            for field in WHOLE:
                if self._disputes(world, past, writers.get((vm, field), []), (vm, field)):
                    # A place that nobody pinned goes with a removal: then that is marked.
                    gone = (
                        disputed
                        and field == "host"
                        and self._pins(world, vm, writers[vm, field]) < 2
                    )
                    if (vm, field) not in marked and not gone:
                        raise Violation(
                            f"two edits at once of {vm}'s {field}: {revision[:10]} shows one of "
                            f"them and marks nothing"
                        )
                    yield vm, field
                shown = view.value(vm, field)
                if any(s is not None and s.value(vm, field) == shown for s in added):
                    continue  # as who added it has it, a word or none (`edit_between`)
                self._nobody_made_it_up(view, revision, (vm, field), writers, marked, removed, ever)

    def _pins(self, world: World, vm: str, last: list[tuple[str, object]]) -> int:
        """How many of those edits of a VM's host are pins."""
        says = [self._says(world, commit) for commit, _ in last]
        return sum(said is not None and said.document.vms[vm].host is not None for said in says)

    def _nobody_made_it_up(
        self,
        view: Said,
        revision: str,
        key: Key,
        writers: Mapping[Key, list[tuple[str, object]]],
        marked: set[Key],
        removal: bool,
        ever: Mapping[Key, list[object]],
    ) -> None:
        """The value is one that the last edits of it gave. What they may not have together (one MAC for two VMs) the
        merge has to mend, and then it is marked."""
        vm, field = key
        values = [value for _, value in writers.get(key, [])]
        shown = view.value(vm, field)
        if shown in values or shown == ANYWHERE or key in marked:
            return
        if (removal or not values) and (field == "host" or shown in ever.get(key, ())):
            return  # what was said on the side that removed it went with it
        raise Violation(
            f"{revision[:10]} shows {shown!r} as {vm}'s {field}; the edits said {values!r}"
        )

    def _disputes(
        self, world: World, past: frozenset[str], last: list[tuple[str, object]], key: Key
    ) -> bool:
        """Whether two of the last edits of a field, made without knowledge of each other, disagree.

        One that was overruled in a view on which somebody made an edit counts no more: that view was judged.
        """
        last = [(c, value) for c, value in last if not self._overruled(world, past, c, value, key)]
        gone = (key[0], THERE)
        removed = [c for c in sorted(past) if self._edit(world, c).wrote.get(gone) is False]
        clashes: list[tuple[str, str]] = []
        gave_way: set[str] = set()
        for one in last:  # a removal hid it, if it only put back what there was
            apart = (r for r in removed if self._apart(world, one[0], r))
            if any(self._gives_way(world, one, (r, NOTHING), key) for r in apart):
                gave_way.add(one[0])
        for number, one in enumerate(last):
            for other in last[number + 1 :]:
                if one[1] != other[1]:
                    clashes.append((one[0], other[0]))
                    ways = ((one, other), (other, one))
                    gave_way |= {a[0] for a, b in ways if self._gives_way(world, a, b, key)}
        return any(gave_way.isdisjoint(pair) for pair in clashes)

    def _apart(self, world: World, one: str, other: str) -> bool:
        """Whether neither of them knew of the other."""
        return one not in self._past(world, other) and other not in self._past(world, one)

    def _overruled(
        self, world: World, past: frozenset[str], commit_id: str, value: object, key: Key
    ) -> bool:
        later = (c for c in past if c != commit_id and commit_id in self._past(world, c))
        says = (said for c in later if (said := self._says(world, c)) is not None)
        return any(s.value(*key) != value and not s.disputes(key, value) for s in says)

    def _gives_way(
        self, world: World, one: tuple[str, object], other: tuple[str, object], key: Key
    ) -> bool:
        """Whether the other may overrule it in silence: it only put back what was there before both of them, or the
        other knew that somebody else had said the same."""
        commit_id, value = one
        mine, theirs = self._past(world, commit_id), self._past(world, other[0])
        before = [self._says(world, c) for c in self._newest(world, mine & theirs)]
        there = [s for s in before if s is not None and key[0] in s.document.vms]
        if any(s.value(*key) == value for s in there):
            return True
        if value == ANYWHERE and any(s.document.vms[key[0]].host is None for s in there):
            return True  # it floats as it did, though the site gave up the place that somebody had chosen
        said = (self._edit(world, c).wrote for c in theirs - mine - {other[0]})
        return any(wrote.get(key, NOTHING) == value for wrote in said)

    def _disputes_removal(
        self,
        world: World,
        past: frozenset[str],
        writers: Mapping[Key, list[tuple[str, object]]],
        vm: str,
        there: bool,
        marked: bool,
    ) -> bool:
        """Whether the VM was removed by an edit that did not know of another one's change to it."""
        last = writers[vm, THERE]
        removers = [c for c, value in last if value is False]
        if len(removers) != len(last):
            if not there and not removers:
                raise Violation(f"{vm} is gone, and nobody removed it")
            return False
        known = frozenset().union(*(self._past(world, c) for c in removers))
        changed = [c for c in sorted(past - known) if vm in self._edit(world, c).touched]
        if not changed:
            if there and not (marked and self._disputed_before(world, past, removers, vm)):
                raise Violation(f"{vm} was removed, and is there all the same")
            return False
        return self._still_changed(world, changed, known, vm)

    def _disputed_before(
        self, world: World, past: frozenset[str], removers: list[str], vm: str
    ) -> bool:
        """Whether people had come to disagree about the VM, so that to keep it, marked, is right as well: one of those
        who removed it did not know of a change, though another did; or it got two places at once."""
        edits = {c: self._edit(world, c) for c in past}
        touched = {c for c, e in edits.items() if vm in e.touched}
        known = frozenset().union(*(self._past(world, c) for c in removers))
        placed = {c for c in past if (vm, "host") in edits[c].wrote}
        two_places = len(placed) > 1 and not placed <= known
        says = (said for c in past - known if (said := self._says(world, c)) is not None)
        if any(vm == disputed for said in says for disputed, _ in said.conflicts()):
            return True  # who kept it had a conflict over it before his eyes, which who removed it never saw
        return two_places or any(touched - self._past(world, c) for c in removers)

    def _still_changed(
        self, world: World, changed: Iterable[str], known: frozenset[str], vm: str
    ) -> bool:
        """Whether the last of those edits leave a field of the VM otherwise than those who removed it knew it."""
        changed = list(changed)
        for commit_id in self._newest(world, changed):
            both = self._newest(world, self._past(world, commit_id) & known)
            # As they had it in common, or as who removed it had made it meanwhile: to the same, by chance.
            seen = both | (known - self._past(world, commit_id))
            was = [
                said.document.vms.get(vm) for c in sorted(seen) if (said := self._says(world, c))
            ]
            said = self._says(world, commit_id)
            now = said.document.vms.get(vm) if said else None
            knew = [each for each in was if each is not None]
            if now is not None and any(
                all(getattr(now, field) != getattr(each, field) for each in knew)
                and not self._gave_way(world, commit_id, changed, (vm, field))
                for field in FIELDS
            ):
                return True
        return False

    def _gave_way(self, world: World, commit_id: str, among: Iterable[str], key: Key) -> bool:
        """Whether another of those edits overruled it in silence, because it only put back what both had."""
        value = self._edit(world, commit_id).wrote.get(key, NOTHING)
        wrote = {c: self._edit(world, c).wrote.get(key, NOTHING) for c in among}
        return value is not NOTHING and any(
            other not in (NOTHING, value)
            and self._gives_way(world, (commit_id, value), (c, other), key)
            for c, other in wrote.items()
            if c not in self._past(world, commit_id)
        )

    # -- reading commits -----------------------------------------------------------------------------------------------

    def _writers(self, world: World, past: frozenset[str]) -> dict[Key, list[tuple[str, object]]]:
        """For each field the last edits of it: those that no other edit of it knew of, nor a removal of the VM. Nor
        anybody who edited the site when the VM was gone from it: that it was gone had been judged when it was shown."""
        found: dict[Key, list[tuple[str, object]]] = {}
        for commit_id in sorted(past):
            for key, value in self._edit(world, commit_id).wrote.items():
                found.setdefault(key, []).append((commit_id, value))
        gone: dict[
            str, frozenset[str]
        ] = {}  # VM -> all edits that somebody knew of who saw it gone
        for (vm, what), wrote in found.items():
            if what == THERE and any(value is False for _, value in wrote):
                without = (
                    c for c in past if (said := self._says(world, c)) and not said.value(vm, THERE)
                )
                gone[vm] = frozenset().union(*(self._past(world, c) for c in without))
        last: dict[Key, list[tuple[str, object]]] = {}
        for (vm, what), wrote in found.items():
            known = frozenset() if what == THERE else gone.get(vm, frozenset())
            rest = [(c, value) for c, value in wrote if c not in known]
            newest = self._newest(world, {c for c, _ in rest})
            last[vm, what] = [(c, value) for c, value in rest if c in newest]
        return last

    def _newest(self, world: World, commits: Iterable[str]) -> set[str]:
        among = set(commits)
        older = {c for d in among for c in self._past(world, d) & among if c != d}
        return among - older

    def _edit(self, world: World, commit_id: str) -> Edit:
        """Raises nothing: a commit that can't be read decided nothing."""
        if commit_id not in self._edits:
            parents = world.archive.commits[commit_id][0].parents
            after = self._says(world, commit_id)
            before = self._says(world, parents[0]) if parents else None
            self._edits[commit_id] = (
                Edit({}, frozenset())
                if after is None
                else edit_between(before, after, self._earlier(world, commit_id))
            )
        return self._edits[commit_id]

    def _earlier(self, world: World, commit_id: str) -> list[Said]:
        """What the edits said that it follows."""
        past = self._past(world, commit_id) - {commit_id}
        return [said for c in sorted(past) if (said := self._says(world, c)) is not None]

    def _says(self, world: World, commit_id: str) -> Said | None:
        if commit_id not in self._said:
            try:
                self._said[commit_id] = Said(load(world.archive.commits[commit_id][1]))
            except Invalid:
                self._said[commit_id] = None
        return self._said[commit_id]

    def _past(self, world: World, commit_id: str) -> frozenset[str]:
        """The user commits that it contains, itself included if it is one."""
        commits = world.archive.commits
        todo = [commit_id]
        while todo:
            top = todo[-1]
            if top in self._pasts:
                todo.pop()
                continue
            unknown = [p for p in commits[top][0].parents if p not in self._pasts]
            if unknown:
                todo += unknown
                continue
            own = () if commits[top][0].merge else (top,)
            self._pasts[top] = frozenset(own).union(
                *(self._pasts[p] for p in commits[top][0].parents)
            )
            todo.pop()
        return self._pasts[commit_id]

    # -- what is done --------------------------------------------------------------------------------------------------

    def _nothing_done_in_a_conflict(self, world: World) -> None:
        new, self._performed = world.performed[self._performed :], len(world.performed)
        for at, name, action in new:
            host = world.hosts[name]
            revision = host.peer.head.revision if host.peer and host.peer.head else ""
            said = self._says(world, revision) if revision else None
            if said is not None and said.document.state.merge_version > MERGE_VERSION:
                raise Violation(f"{name} does {action.step} by a merge rule that it doesn't know")
            about = [
                what for vm, what in sorted(self._disputed.get(revision, ())) if vm == action.vm
            ]
            if about:
                raise Violation(
                    f"{name} does {action.step} to {action.vm} at {at:.2f} s, and two edits disagree "
                    f"about its {', '.join(about)}"
                )

    def _foreign_is_left_alone(self, world: World) -> None:
        """No call that changes something is made on a domain without this site's mark, and none gets the mark."""
        for host in world.hosts.values():
            calls = host.hypervisor.calls
            new = calls[self._calls.get(host.name, 0) :]
            self._calls[host.name] = len(calls)
            before = self._foreign.get(host.name, frozenset())
            touched = sorted({f"{call} {uuid}" for call, uuid in new if uuid in before})
            if touched:
                raise Violation(f"{host.name} touches a foreign domain: {', '.join(touched)}")
            domains = host.hypervisor.domains_unchecked()
            site_id = self._site_id(world)
            ours = {d.uuid for d in domains if d.tag is not None and d.tag.site_id == site_id}
            taken = sorted(before & ours)
            if taken:
                raise Violation(f"{host.name} takes foreign domains for its own: {taken}")
            self._foreign[host.name] = frozenset(d.uuid for d in domains) - ours

    def _site_id(self, world: World) -> str:
        for commit_id in world.archive.commits:
            said = self._says(world, commit_id)
            if said is not None:
                return said.document.state.site_id
        return ""
