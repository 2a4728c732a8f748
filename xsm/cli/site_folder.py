"""A folder of the user's as a `Proposal`: its files, and which revision they were edited from.

Decides the base of an edit. Must not send or show anything.
"""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import replace

from xsm.api.types import Preview, Proposal, RevisionInfo
from xsm.cli.client import Client
from xsm.cli.failures import Refused
from xsm.cli.texts import short
from xsm.edge.folder import CONFIGS, Folder
from xsm.site.document import SITE_FILES, Files
from xsm.site.problems import Problem, Severity

BASE_SEARCH = 20  # own commits on top of a pulled one that we look through
GIT_TIMEOUT_S = 10.0
MAX_NOTE_CHARS = 200
REVISIONS_BACK = 20
"""The last revisions, which an edit from a loose copy may take back without anybody noticing."""
MAX_TOLD = 3


def proposal(
    folder: Folder, client: Client, *, message: str = "", restart: tuple[str, ...] = ()
) -> Proposal:
    """The folder as an edit of the site.

    With a known base (the folder is a clone of the site) a config that is gone from the folder goes
    from the site, too. Without one, configs that the folder doesn't have stay as they are.
    """
    base = known_base(folder.root, client)
    files = folder.proposed()
    return Proposal(
        files={path: base64.b64encode(files[path]).decode() for path in sorted(files)},
        base=base,
        remove=removed(files, client.files(base), bool(base)),
        message=message,
        restart=restart,
    )


def removed(files: Files, before: Files, cloned: bool) -> tuple[str, ...]:
    """Paths of `before` that the edit deletes: the site file of the other format, and a clone's
    lost configs.
    """
    gone = [path for path in SITE_FILES if path in before and path not in files]
    if cloned:
        gone += [p for p in before if p.startswith(CONFIGS + "/") and p not in files]
    return tuple(sorted(gone))


def known_base(root: str, client: Client) -> str:
    """The newest commit of the folder's git work tree that the site knows, or what was applied from it
    since; "": none.
    """
    commits = own_commits(root)
    for commit in (*applied_from(root, commits), *commits):
        try:
            return client.revision(commit).id
        except Refused as refused:
            if refused.code != "unknown":
                raise
    return ""


def remember_applied(folder: Folder, client: Client, revision: str) -> None:
    """Note in the folder's git work tree that its files are now `revision`, for the next `xsm apply` there.

    Only when they are: where the site merged somebody else's edit, the folder doesn't have that, and the
    next edit from it must not look as if it took that back.
    """
    commits = own_commits(folder.root)
    place = _applied_path(folder.root) if commits else ""
    if not place:
        return
    if same_as(folder, client.files(revision)):
        try:
            with open(place, "w", encoding="ascii") as stream:
                stream.write(f"{commits[0]} {revision}\n")
        except OSError:
            return  # a clone that can't be written to: the next apply starts from its HEAD


def same_as(folder: Folder, files: Files) -> bool:
    """Whether the folder's site file and configs are the revision's, byte for byte."""
    mine = folder.proposed()
    ours = {p for p in files if p in SITE_FILES or p.startswith(CONFIGS + "/")}
    return ours == set(mine) and all(files[path] == mine[path] for path in mine)


def warned(preview: Preview, edit: Proposal, folder: Folder, client: Client) -> Preview:
    """The preview, with a warning where a folder without a past takes back what others have done lately."""
    if edit.base or not preview.changes:
        return preview
    lines = taken_back(preview.changes, folder, client)
    if not lines:
        return preview
    more = f" and {len(lines) - MAX_TOLD} more" if len(lines) > MAX_TOLD else ""
    warning = Problem(
        folder.site_file,
        0,
        "this folder isn't a git clone of the site: it was compared with the present head, and takes back "
        + "; ".join(lines[:MAX_TOLD])
        + more,
        "in a clone (`git clone HOST:/var/lib/xsm/site.git`) others' edits are kept",
        Severity.WARNING,
    )
    return replace(preview, problems=(*preview.problems, warning))


def taken_back(changes: tuple[str, ...], folder: Folder, client: Client) -> list[str]:
    """What of the last revisions `changes` undo, and whose that was: the newest first. Each undoes one thing at most:
    what was the same still earlier had been ended by somebody else. A merge only repeats what others did."""
    found, left = [], set(changes)
    for revision in client.history(REVISIONS_BACK):
        for line in () if revision.merge else revision.changes:
            undoing = {change for change in left if undoes(change, line)}
            if line in left and _is_old_config(line, revision, folder, client):
                undoing.add(line)
            if undoing:
                found.append(f"{line} ({short(revision.id)} by {revision.author})")
            left -= undoing
    return found


def undoes(change: str, earlier: str) -> bool:
    """Whether one line of changes brings back what an earlier one ended: `vm1: MEM 4 => 2` after `vm1: MEM 2 => 3`."""
    name, _, what = earlier.partition(": ")
    if what.startswith("added"):
        return change == f"{name}: removed"
    if what == "removed":
        return change.startswith(f"{name}: added")
    left, arrow, _ = earlier.partition(" => ")
    if not arrow:
        return False
    # Where the old value begins is not marked; both may have spaces.
    spaces = [i for i, c in enumerate(left) if c == " "]
    return any(
        change.startswith(left[: i + 1]) and change.endswith(f" => {left[i + 1 :]}") for i in spaces
    )


def _is_old_config(line: str, revision: RevisionInfo, folder: Folder, client: Client) -> bool:
    """Whether the folder has a config as it was before this revision."""
    path, _, what = line.rpartition(": ")
    if what != "changed" or not revision.parents or path not in folder.files:
        return False
    return client.files(revision.parents[0]).get(path) == folder.files[path]


def applied_from(root: str, commits: tuple[str, ...]) -> tuple[str, ...]:
    """What `remember_applied` noted, while the work tree's HEAD is where it was then."""
    try:
        with open(_applied_path(root) or os.devnull, encoding="ascii") as stream:
            head, _, revision = stream.read(MAX_NOTE_CHARS).strip().partition(" ")
    except (OSError, UnicodeDecodeError):
        return ()
    return (revision,) if revision and commits[:1] == (head,) else ()


def _applied_path(root: str) -> str:
    path = _git(root, "rev-parse", "--git-path", "xsm-applied")
    return os.path.join(root, path) if path else ""


def own_commits(root: str) -> tuple[str, ...]:
    """HEAD of the git work tree at `root` and its first parents; () when `root` isn't the top of
    one.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if not top or os.path.realpath(top) != os.path.realpath(root):
        return ()
    listed = _git(root, "rev-list", "--first-parent", f"--max-count={BASE_SEARCH}", "HEAD")
    return tuple(listed.split())


def _git(root: str, *arguments: str) -> str:
    """Output of one git command without its newline; "" when git can't say."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", root, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""  # no git, no work tree, no commit yet, not ours: all mean that there is no base
    return done.stdout.strip()
