"""A saved observation of a site: plans can be made against it without the site (pull requests).

Decides the file's format. Must not know how the plan is shown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from xsm.api.types import PlanAnswer, Preview
from xsm.cli.convert import read_input
from xsm.cli.failures import InputFailure
from xsm.edge.folder import STATE, Folder
from xsm.peer.edit import Surroundings, edit
from xsm.plan.observed import HostReport
from xsm.plan.planner import plan
from xsm.plan.view import View
from xsm.plan.wanted import wanted
from xsm.site.document import Files

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Observation:
    """What a site looked like at one moment. `files`: its state tables, state/<table>.json."""

    version: int
    revision: str
    saved_at: float  # wall clock, seconds since the epoch
    files: Mapping[str, bytes]
    reports: Mapping[str, HostReport]
    unreachable: Mapping[str, str]


def observe(answer: PlanAnswer, files: Files) -> Observation:
    """An observation from what xsmd says of its head."""
    tables = {path: files[path] for path in sorted(files) if path.startswith(STATE + "/")}
    return Observation(
        FORMAT_VERSION, answer.revision, time.time(), tables, answer.reports, answer.unreachable
    )


def encode(observation: Observation) -> bytes:
    """The file's content; readable, and stable for version control."""
    return msgspec.json.format(msgspec.json.encode(observation, order="deterministic"), indent=1)


def read(path: str) -> Observation:
    """Read a saved observation. Raises `InputFailure`."""
    try:
        observation = msgspec.json.decode(read_input(path), type=Observation)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "make one with `xsm plan --save-observation FILE`"
        raise InputFailure(f"{path} is no saved observation: {error}", hint) from None
    if observation.version != FORMAT_VERSION:
        raise InputFailure(
            f"{path} has format {observation.version}, this xsm knows {FORMAT_VERSION}",
            "save it anew with this version",
        )
    if any(not name.startswith(STATE + "/") for name in observation.files):
        raise InputFailure(f"{path} is no saved observation: it holds more than state tables")
    return observation


def foresee(folder: Folder, observation: Observation) -> Preview:
    """What the folder's site would come to, had nothing changed since the observation.

    Raises `Invalid`. Floating VMs get a place as they would when the folder is applied.
    """
    tree = {**folder.proposed(), **observation.files}
    around = Surroundings(observation.reports, observation.unreachable, observation.saved_at)
    edited = edit(tree, "", tree, "", tree, around)
    view = View(observation.reports, observation.unreachable, observation.saved_at, {})
    return Preview(
        head=observation.revision,
        changes=edited.changes,
        plan=plan(wanted(edited.document), edited.document, view),
        problems=edited.warnings,
        unreachable=observation.unreachable,
    )
