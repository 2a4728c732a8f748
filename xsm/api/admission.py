"""Which members' certificates still count: one that the site forgot is told so, and heard no longer.

Decides by the present head alone. Must not know what the caller wants.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from xsm.api.access import RETURN_PATH, Caller, Role
from xsm.api.control import Refused
from xsm.api.types import NOT_A_MEMBER, Refusal
from xsm.edge import story
from xsm.edge.repository import RepositoryError
from xsm.edge.revisions import Busy
from xsm.site.problems import Invalid

if TYPE_CHECKING:
    from xsm.daemon import Daemon

log = logging.getLogger("xsmd")


class Admission:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._forgotten: dict[str, str] = {}  # host -> who forgot it, for the present head

    def head_changed(self) -> None:
        self._forgotten.clear()

    def admits(self, caller: Caller, path: str) -> bool:
        """A host that the site forgot still has its certificate, and is heard no longer; one that was fenced may ask to
        be taken back. Raises `Refused`, which tells it so."""
        head = self._daemon.revisions.head
        if caller.role is not Role.PEER or head is None or head.document is None:
            return True  # while the site file can't be read nobody is a stranger
        state = head.document.state
        if caller.name in state.members or (caller.name in state.fenced and path == RETURN_PATH):
            return True
        if caller.name not in self._forgotten:
            self._forgotten[caller.name] = ""
            self._daemon.start(self._find_forgotten(caller.name))
        message = f"{caller.name} is not of this site any more"
        hint = self._forgotten[caller.name]
        raise Refused(403, Refusal(NOT_A_MEMBER, message, hint, heads=head.heads))

    async def _find_forgotten(self, name: str) -> None:
        """Who forgot a host, for the host's next question."""
        try:
            commit = await self._daemon.revisions.call(lambda r: story.forgotten_by(r, name))
        except (RepositoryError, Busy, Invalid) as error:
            log.warning("who forgot %s can't be found: %s", name, error)
            return
        if commit is not None:
            self._forgotten[name] = f"forgotten by {commit.author} in {commit.id[:10]}"
