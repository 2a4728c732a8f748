"""What only the whole site can tell: clashes between entries, configs and hosts that aren't there, room.

Decides which of these make a revision unacceptable. Must not know the file's format.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xsm.site.entries import near
from xsm.site.fields import spelled
from xsm.site.model import VM, Host, Site
from xsm.site.problems import Problem, Severity
from xsm.site.state import State


def address_key(text: str) -> str:
    """What two ways to write one address or host name have in common."""
    if ":" not in text and text.strip("0123456789."):
        return text.lower()  # a name: no address has other characters
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text.lower()


@dataclass(frozen=True)
class HostNames:
    """The one name of each host that a file or a member table knows, by every way to say it."""

    by_key: Mapping[str, str]
    entries: Mapping[str, Host]  # the file's entry by that one name

    def name(self, written: str) -> str:
        return self.by_key.get(address_key(written), written)

    def knows(self, written: str) -> bool:
        return address_key(written) in self.by_key


def host_names(hosts: Iterable[Host], members: Mapping[str, str]) -> HostNames:
    """Members first, then listed hosts; a listed host that has a member's name or address is that member.

    A name beats an address, and the first of two equal ones in order of names wins (two members may share an address
    behind one gateway). `members`: name -> address.
    """
    by_key: dict[str, str] = {}
    for name in sorted(members):
        by_key[address_key(name)] = name
    for name in sorted(members):
        by_key.setdefault(address_key(members[name]), name)
    entries: dict[str, Host] = {}
    listed: list[tuple[Host, str]] = []
    for host in hosts:
        own = by_key.get(address_key(host.name))
        if own is None and host.address is not None:
            own = by_key.get(address_key(host.address))
        listed.append((host, own or host.name))
        entries.setdefault(own or host.name, host)
    for host, name in listed:
        by_key.setdefault(address_key(host.name), name)
    for host, name in listed:
        if host.address is not None:
            by_key.setdefault(address_key(host.address), name)
    return HostNames(by_key, entries)


def check(
    site: Site, site_path: str, config_names: Iterable[str], state: State
) -> tuple[Problem, ...]:
    """All problems, errors and warnings, in file order. `config_names`: the configs that exist."""
    vms = list(site.vms())
    names = host_names(site.hosts, state.addresses)
    found = [
        *_twice(site_path, vms, "VM name", lambda vm: vm.name),
        *_twice(site_path, vms, spelled(site_path, "HWADDR"), lambda vm: vm.mac),
        *_twice(site_path, vms, spelled(site_path, "UUID"), lambda vm: vm.uuid),
        *_twice(
            site_path,
            vms,
            "IP address",
            lambda vm: None if vm.ip in (None, "dhcp") else vm.ip.partition("/")[0],
        ),
        *_twice(site_path, site.sets, "set name", lambda vm_set: vm_set.name),
        *_hosts_twice(site_path, site.hosts),
        *_missing_configs(site_path, vms, sorted(config_names)),
        *_unknown_hosts(site_path, site, vms, names, state),
        *_on_witnesses(site_path, vms, names, state),
        *_fencing(site_path, site.hosts),
        *_room(site_path, vms, names),
    ]
    return tuple(sorted(found))


def _twice(
    path: str, entries: Iterable[Any], what: str, key: Callable[[Any], str | None]
) -> Iterable[Problem]:
    first: dict[str, Any] = {}
    for entry in entries:
        own = key(entry)
        if own is None:
            continue
        if own in first:
            other = first[own]
            owner = f" of {other.name}" if what not in ("VM name", "set name") else ""
            who = f"VM {entry.name}: " if owner else ""
            hint = (
                f"the first is{owner} on line {other.line}"
                if other.line
                else f"the first is{owner}".strip()
            )
            yield Problem(path, entry.line, f"{who}{what} {own} twice", hint)
        else:
            first[own] = entry


def _hosts_twice(path: str, hosts: Iterable[Host]) -> Iterable[Problem]:
    """A DOM0 says a name or an address, so that both share one namespace."""
    first: dict[str, Host] = {}
    macs: dict[str, Host] = {}
    for host in hosts:
        ways = {address_key(host.name): ("name", host.name)}
        if host.address is not None:
            ways.setdefault(address_key(host.address), (spelled(path, "ADDRESS"), host.address))
        for key, (what, written) in ways.items():
            other = first.setdefault(key, host)
            if other is not host:
                yield Problem(
                    path,
                    host.line,
                    f"host {what} {written} twice",
                    f"the first is host {other.name} on line {other.line}",
                )
        if host.mac is not None and macs.setdefault(host.mac, host) is not host:
            yield Problem(
                path,
                host.line,
                f"host {host.name}: {spelled(path, 'HWADDR')} {host.mac} twice",
                f"the first is of {macs[host.mac].name}",
            )


def _missing_configs(path: str, vms: Iterable[VM], known: list[str]) -> Iterable[Problem]:
    there = set(known)
    hints: dict[str, str] = {}
    for vm in vms:
        if vm.config in there:
            continue
        if vm.config not in hints:
            close = near(vm.config, known) if known else "configs/ holds none"
            hints[vm.config] = (
                f"expected configs/{vm.config}.cfg or configs/{vm.config}.xml; {close}"
            )
        yield Problem(
            path, vm.line, f"VM {vm.name}: there is no config {vm.config}", hints[vm.config]
        )


def _unknown_hosts(
    path: str, site: Site, vms: Iterable[VM], names: HostNames, state: State
) -> Iterable[Problem]:
    """Once a file lists hosts, a DOM0 beside them is a slip of the pen. Without a list it may be a host that joins
    later."""
    if not site.hosts:
        yield from _no_members(path, vms, names, state)
        return
    known = [host.name for host in site.hosts]
    known += [host.address for host in site.hosts if host.address is not None]
    known += [name for name in sorted(state.members) if name not in known]
    hints: dict[str, str] = {}
    listing = "as a <Host>" if path.endswith(".xml") else "under hosts:"
    for vm in vms:
        if vm.host is None or names.knows(vm.host):
            continue
        if vm.host not in hints:
            hints[vm.host] = f"{near(vm.host, known)}; or list it {listing}"
        yield Problem(path, vm.line, f"VM {vm.name}: host {vm.host} is not known", hints[vm.host])


def _no_members(path: str, vms: Iterable[VM], names: HostNames, state: State) -> Iterable[Problem]:
    """A warning for each host that DOM0s name and that the site doesn't have. Not while the site has but the host
    that founded it: the others are about to join."""
    if len(state.members) < 2:
        return
    known = [*sorted(state.members), *sorted({m.address for m in state.members.values()})]
    strangers: dict[str, list[VM]] = {}
    for vm in vms:
        if vm.host is not None and not names.knows(vm.host):
            strangers.setdefault(vm.host, []).append(vm)
    for host, of in strangers.items():
        more = f" and {len(of) - 1} more" if len(of) > 1 else ""
        yield Problem(
            path,
            of[0].line,
            f"VM {of[0].name}{more}: {host} is no host of this site",
            near(host, known) + f"; or `xsm invite {host}` takes it in",
            Severity.WARNING,
        )


def pinned_to_witnesses(
    vms: Iterable[VM], names: HostNames, state: State
) -> dict[str, tuple[VM, str]]:
    """VM -> it, and the witness that its DOM0 names, by the table of members."""
    witnesses = {name for name, member in state.members.items() if member.witness}
    if not witnesses:
        return {}
    pinned = ((vm, names.name(vm.host)) for vm in vms if vm.host is not None)
    return {vm.name: (vm, host) for vm, host in pinned if host in witnesses}


def witness_problem(path: str, vm: VM, host: str, severity: Severity) -> Problem:
    dom0 = spelled(path, "DOM0")
    hint = f"another {dom0}, or none: then the site places it"
    return Problem(
        path, vm.line, f"VM {vm.name}: {host} is a witness, which runs no VMs", hint, severity
    )


def _on_witnesses(
    path: str, vms: Iterable[VM], names: HostNames, state: State
) -> Iterable[Problem]:
    """No edit brings this about (`peer.edit`); two at once may, which are merged: the VM is held then."""
    for vm, host in pinned_to_witnesses(vms, names, state).values():
        yield witness_problem(path, vm, host, Severity.WARNING)


def _fencing(path: str, hosts: Iterable[Host]) -> Iterable[Problem]:
    fence, after = spelled(path, "FENCE"), spelled(path, "FENCE_AFTER")
    for host in hosts:
        if host.fence_after_s is not None and host.fence is None:
            yield Problem(
                path,
                host.line,
                f"host {host.name}: {after} without {fence}",
                f"{fence} says which agent switches it off; or leave {after} out",
            )


def _room(path: str, vms: Iterable[VM], names: HostNames) -> Iterable[Problem]:
    pinned: dict[str, list[VM]] = {}
    mem = spelled(path, "MEM")
    for vm in vms:
        if vm.host is not None:
            pinned.setdefault(names.name(vm.host), []).append(vm)
    for name, residents in pinned.items():
        host = names.entries.get(name)
        if host is None or host.memory_mib is None:
            continue
        for vm in residents:
            if vm.memory_mib > host.memory_mib:
                yield Problem(
                    path,
                    vm.line,
                    f"VM {vm.name}: {mem} {vm.memory_mib} MiB is more than host {host.name} has, "
                    f"{host.memory_mib} MiB",
                    f"less {mem}, or another {spelled(path, 'DOM0')}",
                )
        total = sum(vm.memory_mib for vm in residents)
        if total > host.memory_mib and len(residents) > 1:
            yield Problem(
                path,
                host.line,
                f"host {host.name}: its {len(residents)} VMs want {total} MiB together, it has {host.memory_mib} MiB",
                "move some, or let them float",
                Severity.WARNING,
            )
