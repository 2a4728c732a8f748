"""Whether a host acts on its revision at all: it may be of the site no more, or not understand what it is told.

Decides that by what the host itself knows. Must not know what it would do.
"""

from __future__ import annotations

from xsm.peer.contacts import Contacts
from xsm.peer.events import Head
from xsm.site.state import MERGE_VERSION


def expulsion(name: str, head: Head, contacts: Contacts) -> str:
    """Why this host is of the site no more: its own document says so, or a member that knows a newer one."""
    if head.document is None:
        return ""
    members = frozenset(head.document.state.members)
    why = contacts.expulsion(members)
    if name in members and not why:
        return ""
    gone = f"this host, {name}, is no longer a member of the site"
    return f"{gone} ({why})" if why else gone


def why_frozen(head: Head, expelled: str) -> str:
    """Why it acts on nothing, "" normally."""
    if head.document is None:
        return head.problem or "the site file can't be read"
    version = head.document.state.merge_version
    if version > MERGE_VERSION:
        return f"the site uses merge rule {version}, this xsmd knows {MERGE_VERSION}: upgrade it"
    return expelled
