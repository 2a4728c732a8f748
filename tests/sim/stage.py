"""What all commands of a scenario script stand on: the site that is played, its hosts, and who was forgotten.

A command that makes no sense now (a host that is off, a VM that is gone) is no mistake of the script: it says so and
does nothing. So any lines can be left out of a script, and the rest can still be played.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.sim.world import SimHost, World
from xsm.site import fields
from xsm.site.document import Files
from xsm.site.model import HypervisorKind

SITES = Path(__file__).parents[2] / "sites"
CONFIGS = SITES / "figure3" / "configs"
USER_DATA = "configs/init.user-data"
"""Of a `site random` in which a VM has it."""
RANDOM_MEMORY_MIB = 1100
"""Memory of the hosts of a `site random`: about five of its VMs fit, so that it runs short now and then."""
VM_FIELDS = {f.tag: f for f in fields.VM_ENTRY.fields}


class ScriptError(Exception):
    """A command can't be read. That is a mistake in the script."""


class Senseless(Exception):
    """Nothing to do: the command makes no sense in what the site has come to."""


@dataclass
class Draft:
    """A `site random` before it begins: its VMs are named by the lines that follow."""

    hosts: int
    seed: int
    live: bool
    fence: str = (
        ""  # "yes": its hosts can be fenced; a number: and are, after so many seconds of silence
    )
    witness: bool = False  # the last host is one
    vms: dict[str, str] = field(default_factory=dict)  # name -> XML

    def build(self) -> World:
        after = f"<FENCE_AFTER>{self.fence}</FENCE_AFTER>" if self.fence.isdigit() else ""
        fenced = names(self.hosts) if self.fence else []
        hosts = [f'<Host name="{h}"><FENCE>fence_sim</FENCE>{after}</Host>' for h in fenced]
        vms = ['<Set name="web">', *self.vms.values(), "</Set>"]
        lines = ["<XSMConfig>", *hosts, *vms, "</XSMConfig>"]
        configs = {f"configs/{p.name}": p.read_bytes() for p in sorted(CONFIGS.iterdir())}
        if any("<USER_DATA>" in vm for vm in self.vms.values()):
            configs[USER_DATA] = b"#cloud-config\n# edition 1\n"
        files = {"site.xml": "\n".join(lines).encode(), **configs}
        hosts = names(self.hosts)
        witness = hosts[-1] if self.witness else ""
        world = World(hosts, files, seed=self.seed, live=self.live, witness=witness)
        for host in world.hosts.values():
            host.hypervisor.memory_mib = RANDOM_MEMORY_MIB
            if host.name != witness:
                host.hypervisor.kind = HypervisorKind.XEN
        return world


def names(count: int) -> list[str]:
    """The hosts of a site with so many."""
    return [f"dmz{i:02}" for i in range(1, count + 1)]


class Stage:
    """The site, and what the story has to remember beside it."""

    def __init__(self) -> None:
        self.draft: Draft | None = None
        self.played: World | None = None
        self.bases: dict[str, Files] = {}  # who opened the files -> as they were
        self.gone: set[str] = set()  # hosts that were forgotten on an operator's word

    @property
    def world(self) -> World:
        if self.played is None:
            if self.draft is None:
                raise ScriptError("the first command has to be `site`")
            self.begin(self.draft.build())
        assert self.played is not None
        return self.played

    def begin(self, world: World) -> None:
        """From now on this site is played."""
        raise NotImplementedError

    def host(self, name: str) -> SimHost:
        if name not in self.world.hosts:
            raise Senseless(f"no host {name!r}")
        return self.world.hosts[name]

    def open(self, name: str) -> SimHost:
        """A host on which one can edit: its daemon runs and has a revision that can be read."""
        host = self.host(name)
        if host.peer is None:
            raise Senseless(f"no xsmd runs on {name}")
        if not self.readable(host):
            raise Senseless(f"{name} has no revision that can be read")
        return host

    def readable(self, host: SimHost) -> bool:
        """Whether its daemon runs and has a revision that can be read."""
        heads = (host.head, host.peer.head) if host.peer else ()
        return any(heads) and all(head is not None and head.document for head in heads)
