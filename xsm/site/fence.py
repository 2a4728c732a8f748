"""A fence device as the site file names it: the agent that switches a host off, and what the agent is told.

The text is `AGENT KEY=VALUE ...`, as in fence_ipmilan(8): agents get one `KEY=VALUE` line each on standard input
(https://github.com/ClusterLabs/fence-agents, doc/FenceAgentAPI.md). Decides what such a text may be. Must not know how
an agent is run, nor secrets: those are beside each host's settings, never in the site file.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

HINT = "an agent and its options, for example fence_ipmilan ip=10.0.0.3 username=xsm lanplus=1"
PATTERN = "fence_[a-z0-9_]{1,40}( .*)?"

_AGENT = re.compile("fence_[a-z0-9_]{1,40}")
_KEY = re.compile("[a-z][a-z0-9_-]{0,63}")
_OURS = ("action", "agent")
"""Options that XSM gives itself."""
_SECRET = ("password", "passwd", "snmp_priv_passwd", "identity_file_password")


@dataclass(frozen=True)
class FenceAgent:
    """`options` in the order in which they were written; they may not hold what is secret."""

    agent: str
    options: tuple[tuple[str, str], ...] = ()


def parse(text: str) -> FenceAgent:
    """Raises `ValueError` that says what is wrong."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"can't be split into words: {error}") from None
    if not words or not _AGENT.fullmatch(words[0]):
        raise ValueError(f"{words[0][:60] if words else ''!r} is not the name of a fence agent")
    options: dict[str, str] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or not _KEY.fullmatch(key) or not value.isprintable():
            raise ValueError(f"{word[:60]!r} is not an option of the form key=value")
        if key in _OURS:
            raise ValueError(f"{key} is given by XSM itself")
        if key in _SECRET:
            raise ValueError(
                f"{key} is a secret, and the site file is in version control: "
                "it goes to /var/lib/xsm/fence/HOST of the other hosts"
            )
        if key in options:
            raise ValueError(f"{key} is there twice")
        options[key] = value
    return FenceAgent(words[0], tuple(options.items()))
