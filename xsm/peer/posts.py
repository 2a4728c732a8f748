"""Which messages go together: all that one step sends to the same member."""

from __future__ import annotations

from collections.abc import Iterable

from xsm.peer.events import Effect, Send
from xsm.peer.messages import Message


def messages_for(effects: Iterable[Effect]) -> dict[str, list[Message]]:
    """Gather what goes to the same member, so that one post carries it."""
    posts: dict[str, list[Message]] = {}
    for effect in effects:
        if isinstance(effect, Send):
            posts.setdefault(effect.to, []).append(effect.message)
    return posts
