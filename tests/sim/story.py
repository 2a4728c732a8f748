"""What happened on a simulated site, for people: each line of its script with what the hosts did after it."""

from __future__ import annotations

from tests.sim.world import World


def told(world: World, about: str = "") -> str:
    """In order, a line each, with the script's lines to the left and what hosts did beside their names. `about`: only
    of this VM or host."""
    lines = []
    for at, host, kind, vm, text in world.story:
        if kind == "script":
            lines.append(f"{at:8.2f}  {text if text.startswith('  ') else '$ ' + text}")
        elif about in ("", vm, host):
            lines.append(f"{at:8.2f}      {host:6} {kind:7} {vm + ': ' if vm else ''}{text}")
    return "\n".join(lines)
