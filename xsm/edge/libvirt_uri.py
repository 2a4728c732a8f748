"""URIs of hypervisors: of a host's own, and of those that the other hosts' libvirt reaches.

Decides which can be meant. Must not know whether somebody answers there.
"""

from __future__ import annotations

import difflib
import re

DRIVERS = ("qemu", "test", "xen")
"""libvirt's drivers that XSM has hypervisors for."""
TRANSPORTS = ("ext", "libssh", "libssh2", "ssh", "tcp", "tls", "unix")

_SCHEME = re.compile(rf"({'|'.join(DRIVERS)})(\+({'|'.join(TRANSPORTS)}))?")


def trouble(uri: str, remote: bool, example: str) -> tuple[str, str] | None:
    """What is wrong with it and what would be right; None: nothing. `remote`: it has to name a host."""
    scheme, colon, rest = uri.partition("://")
    if not colon or (remote and rest.startswith("/")) or (not remote and not rest):
        what = "a libvirt URI with a host" if remote else "a libvirt URI"
        return f"{uri!r} is not {what}", example
    if _SCHEME.fullmatch(scheme):
        return None
    driver, plus, transport = scheme.partition("+")
    meant = [
        difflib.get_close_matches(word, known, n=1)
        for word, known in ((driver, DRIVERS), (transport, TRANSPORTS))
    ]
    message = f"{uri!r}: XSM knows no hypervisor {scheme!r}"
    if meant[0] and (meant[1] or not plus):
        return message, f"did you mean {'+'.join(m[0] for m in meant if m)}://{rest}?"
    return message, f"it knows {', '.join(DRIVERS)}: {example}"
