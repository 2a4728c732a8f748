"""Names that the site doesn't know: one refusal for all commands, with what was probably meant.

Decides what counts as known. xsmd is asked only once something failed or came back empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from xsm.api.types import Refusal
from xsm.cli.client import Client
from xsm.cli.failures import Refused
from xsm.cli.texts import listed

ABOUT_NAMES = frozenset({"unknown", "conflict", "bad-request"})
"""Codes of refusals that a wrong name may be behind."""


def no_such(what: str, name: str, known: Iterable[str]) -> Refused:
    """The failure for a name that isn't known. Exit code 2."""
    return Refused(Refusal("unknown", f"the site has no {what} {name}", hint(name, known)))


def hint(name: str, known: Iterable[str]) -> str:
    """`did you mean vm1?`, or what there is when nothing is near."""
    from difflib import get_close_matches

    names = sorted(set(known))
    folded = {known.lower(): known for known in names}
    near = sorted(folded[match] for match in get_close_matches(name.lower(), folded, n=3))
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"it has: {listed(names)}" if names else "it has none yet"


@contextmanager
def names_checked(client: Client, *, vms: Iterable[str] = (), host: str = "") -> Iterator[None]:
    """A refusal within becomes one about the first of these names that the site doesn't know."""
    try:
        yield
    except Refused as refused:
        if refused.code in ABOUT_NAMES:
            for vm in vms:
                check_vm(client, vm)
            if host:
                host_named(client, host)
        raise


def check_vm(client: Client, vm: str) -> None:
    """Raises `Refused` (unknown)."""
    names = [v.name for v in client.vms() if not v.foreign]
    if vm and vm not in names:
        raise no_such("VM", vm, names)


def host_named(client: Client, host: str) -> str:
    """The name of the host that is called so, or has this address. Raises `Refused` (unknown)."""
    members = client.status().members
    for member in members:
        if host in (member.name, member.address):
            return member.name
    raise no_such("host", host, [m.name for m in members])


def check_told_of(client: Client, vm: str) -> None:
    """A VM or domain that is there or has ever been. Raises `Refused` (unknown)."""
    names = [v.name for v in client.vms()]
    if vm and vm not in names and not client.history(1, vm):
        raise no_such("VM", vm, names)
