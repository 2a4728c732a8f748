"""libvirt's errors: which mean "not here", "not on this driver", "gone", and how to say them.

Must not know what was being done.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import TypeVar

import libvirt

UNSUPPORTED = frozenset(
    {
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    }
)
NO_SUCH = frozenset(
    {
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
    }
)
"""Of what is looked up by its name."""
CONNECTION_ERRORS = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})
"""Parts of libvirt that speak of a connection: ours, or one of libvirtd's own."""
AUTH_ERRORS = frozenset(
    {
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    }
)
ADVICE = {
    errno.ENOENT: "there is no such socket: is libvirtd installed and started?",
    errno.ECONNREFUSED: "nothing listens there: is libvirtd running?",
    errno.EACCES: "xsmd's user may not use it: run it as root or in the group libvirt",
}

T = TypeVar("T")


def unless_absent(call: Callable[[], T]) -> T | None:
    """The call's answer, or None when the domain isn't there (any more)."""
    return _unless(is_absent, call)


def looked_up(call: Callable[[], T]) -> T | None:
    """What a look-up by name finds; None when there is none of that name."""
    return _unless(lambda error: error.get_error_code() in NO_SUCH, call)


def optional(call: Callable[[], T]) -> T | None:
    """The answer of a call that not every driver has; None when this one hasn't."""
    return _unless(lambda error: error.get_error_code() in UNSUPPORTED, call)


def _unless(expected: Callable[[libvirt.libvirtError], bool], call: Callable[[], T]) -> T | None:
    try:
        return call()
    except libvirt.libvirtError as error:
        if expected(error):
            return None
        raise


def said(call: Callable[[], T]) -> T | None:
    """The answer of a call that only adds to what is known; None when libvirt can't say."""
    try:
        return call()
    except libvirt.libvirtError as error:
        if is_absent(error) or error.get_error_domain() in CONNECTION_ERRORS:
            raise
        return None


def tidy(call: Callable[[], object]) -> None:
    """One step of giving up a connection: what is gone already needs no tidying."""
    with contextlib.suppress(libvirt.libvirtError):
        call()


def is_absent(error: libvirt.libvirtError) -> bool:
    return bool(error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN)


def message(error: libvirt.libvirtError) -> str:
    """libvirt's own words on one line."""
    return " ".join((error.get_error_message() or str(error)).split())


def why_no_connection(uri: str, error: libvirt.libvirtError) -> str:
    """libvirt's words, and what to do about it."""
    code = error.get_error_code()
    if code in AUTH_ERRORS:
        advice = "give xsmd's user the right to manage libvirt (root, or the group libvirt)"
    elif code == libvirt.VIR_ERR_SYSTEM_ERROR:
        advice = ADVICE.get(error.get_int1(), "is libvirtd running?")
    else:
        advice = "is the URI right?"
    return f"can't connect to {uri}: {message(error)}; {advice}"
