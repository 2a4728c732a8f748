"""What happens to a peer, and what it wants done: the inputs and outputs of `machine.Peer.step`. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xsm.peer.contacts import Hint
from xsm.peer.messages import Message
from xsm.peer.register import Register
from xsm.plan.actions import Action
from xsm.plan.observed import HostReport
from xsm.site.disk import Volume
from xsm.site.document import Document
from xsm.site.needs import Needs
from xsm.site.tag import Tag

# -- events ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """The revision that main shows. `document` is None when it can't be acted on; then `problem` says why."""

    revision: str
    heads: tuple[str, ...]
    document: Document | None
    problem: str = ""


@dataclass(frozen=True)
class HeadChanged:
    """`local`: the edit was made or pushed here, so this host delivers it to the others."""

    head: Head
    local: bool


@dataclass(frozen=True)
class Observed:
    """The hypervisor was asked; `started_at` is when (on the machine's clock): what was done later isn't in it."""

    report: HostReport
    started_at: float


@dataclass(frozen=True)
class Received:
    """Messages of one post. `missing`: heads of a Hello among them that this host's repository doesn't have."""

    sender: str
    messages: tuple[Message, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contact:
    """A member answered a request, or (`error`) did not. `expels`: it said that this host is no member of the site,
    and knows revisions that this host doesn't; in its words who forgot this host."""

    member: str
    error: str = ""
    expels: str = ""


@dataclass(frozen=True)
class Hinted:
    """A membership engine says something of a member. Only a hint: it hastens a greeting, and decides nothing.
    `revision`: which one there is news of."""

    member: str
    hint: Hint
    revision: str = ""


@dataclass(frozen=True)
class Finished:
    """An action ended: `error` is "" when it was done, `outcome` what to log."""

    action: Action
    outcome: str
    error: str = ""
    pause_s: float = 0.0  # least time before it is tried again


@dataclass(frozen=True)
class Learned:
    """What other hosts know of claims, before the members change."""

    registers: Mapping[str, Register]


@dataclass(frozen=True)
class ChangeAsked:
    """Somebody wants to change the members from `now`, as he knows them, to `after`. `off`: who the operator says is
    off. `fenced`: who is to be fenced for it; `unasked`: and not because a person said so. None ends that, done or
    not."""

    after: frozenset[str] | None
    now: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    fenced: frozenset[str] = frozenset()
    unasked: bool = False


@dataclass(frozen=True)
class Tick:
    """Time went by. Comes every `machine.TICK_S` or more often."""


Event = (
    HeadChanged | Observed | Received | Contact | Hinted | Finished | Learned | ChangeAsked | Tick
)

# -- effects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Persist:
    """Write these registers and fsync them BEFORE any later effect of the same step; if that fails, the daemon ends."""

    registers: Mapping[str, Register]


@dataclass(frozen=True)
class Send:
    to: str
    message: Message


@dataclass(frozen=True)
class Deliver:
    """Post the present heads, with the commits that they lack, to these members at once."""

    members: tuple[str, ...]


@dataclass(frozen=True)
class Fetch:
    """Get these heads, with what this host lacks of their past, from the member."""

    member: str
    heads: tuple[str, ...]


@dataclass(frozen=True)
class Observe:
    """Ask the hypervisor now; an `Observed` follows. `needs`: of VMs that are to start here, whose lack this report and
    later ones tell; None: of the same as before."""

    needs: Mapping[str, Needs] | None = None


@dataclass(frozen=True)
class Way:
    """How a live migration may go, and with what. `tls`: its memory, too, goes over TLS. `post_copy`: the VM's entry
    allows it where nothing else brings it to an end."""

    uri: str = ""
    tls: bool = False
    post_copy: bool = False
    disks: tuple[Volume, ...] = ()  # that are copied along
    aside: str = ""  # what is appended to their names here afterwards


@dataclass(frozen=True)
class Perform:
    """Carry out `action.step` (`edge.act.perform`); a `Finished` follows."""

    action: Action
    xml: str = ""  # for steps that define the domain
    way: Way = Way()  # of a migration
    tag: Tag | None = (
        None  # what the domain's tag is to be afterwards; None: as it is, or as `xml` says
    )


@dataclass(frozen=True)
class Abort:
    """End the live migration that was begun with `action`, if it is still in flight; its own `Finished` follows."""

    action: Action
    why: str


@dataclass(frozen=True)
class Log:
    """Tell people. `kind` as in `api.types.Event`."""

    kind: str
    vm: str
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)


Effect = Persist | Send | Deliver | Fetch | Observe | Perform | Abort | Log
