"""What xsmd needs on this host, opened and checked; a repository that is damaged is fetched anew from a member.

Decides what xsmd may do without: only its repository, because every member has all of it and git's names prove each
object. Votes and keys are this host's alone, and are never made anew. Must not know what is done with them.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from xsm.edge import certificate, packs
from xsm.edge.durable import sync_dir, write_durably
from xsm.edge.git import Git, RepositoryError
from xsm.edge.register_file import RegisterFile
from xsm.edge.repository import HEADS, MAIN, Repository, RepositoryInUse
from xsm.edge.revisions import Revisions
from xsm.edge.settings import Settings
from xsm.edge.tls import client_context
from xsm.edge.transport import PeerClient, PeerRefused, PeerUnreachable
from xsm.site.state import Member

log = logging.getLogger("xsmd")


class DamagedRepository(Exception):
    """This host's copy of the site can't be read, and no member gave another one. The text says what to do."""

    def __init__(self, path: Path, error: Exception, asked: Sequence[str]) -> None:
        whom = ", ".join(asked) or "no other host is known"
        super().__init__(
            f"{path} is damaged: {error}. It could not be fetched anew ({whom}). Start xsmd again when another host of "
            f"the site answers; or move it away and fetch the site by hand: git clone --bare root@HOST:{path} {path} "
            "(docs/operations.md). The votes stay as they are"
        )


async def open_pieces(settings: Settings) -> tuple[Revisions, RegisterFile]:
    """The site's history, started, and the votes; both locked.

    Raises `DamagedRepository`, `RepositoryError`, `RegisterDamaged`, `RegisterInUse`, `CertificateRefused`,
    `ValueError`, `OSError`.
    """
    votes = RegisterFile(settings.votes_path)
    try:
        _check_identity(settings)
        check_witness(settings)
        _finish(settings.repository_dir)
        try:
            revisions = await _start(settings)
        except RepositoryInUse:
            raise
        except (RepositoryError, KeyError, ValueError) as error:
            revisions = await _fetch_anew(settings, error)
    except BaseException:
        votes.close()
        raise
    return revisions, votes


def _check_identity(settings: Settings) -> None:
    """A host that speaks with another one's certificate would be taken for it. Raises `ValueError`."""
    identity = certificate.verify(certificate.peer_files(settings.tls_dir), time.time())
    if identity.name != settings.name or identity.role != certificate.PEER_ROLE:
        raise ValueError(
            f"the certificate in {settings.tls_dir} is {identity.name}'s ({identity.role}); "
            f"this host is {settings.name}"
        )


def check_witness(settings: Settings) -> None:
    """A host that may run VMs can't turn into a witness, which says that nothing runs here without looking: others
    would start its VMs a second time. Raises `ValueError`."""
    if not settings.is_witness:
        settings.witness_path.unlink(missing_ok=True)
        sync_dir(settings.data_dir)
    elif not settings.witness_path.exists():
        raise ValueError(
            f'this host did not join as a witness, so it may run VMs, and hypervisor = "none" would hide them: '
            f"drain {settings.name} and forget it (`xsm host forget`), then join it anew with --witness"
        )


async def _start(settings: Settings) -> Revisions:
    """Raises `RepositoryError`, `KeyError`, `ValueError` where main and the heads can't be read as a whole."""
    revisions = Revisions(Repository.open(settings.repository_dir, settings.socket))
    try:
        await revisions.start()
    except BaseException:
        revisions.close()
        raise
    return revisions


# -- members, for when the repository can't tell -----------------------------------------------------


def remember(settings: Settings, members: Mapping[str, Member]) -> None:
    """Write down whom to ask for the site. Raises `OSError`."""
    others = [members[name] for name in sorted(members) if name != settings.name]
    content = msgspec.json.encode(others)
    path = settings.members_path
    if not path.exists() or path.read_bytes() != content:
        write_durably(path, content, 0o644)


def _remembered(settings: Settings) -> list[Member]:
    """Nobody where the file is missing or damaged: it is only a hint, and whoever answers has to prove who it is."""
    try:
        return msgspec.json.decode(settings.members_path.read_bytes(), type=list[Member])
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("%s can't be read: %s", settings.members_path, error)
        return []


# -- fetching anew -----------------------------------------------------


async def _fetch_anew(settings: Settings, error: Exception) -> Revisions:
    """Raises `DamagedRepository`; then the damaged one is where it was."""
    asked = []
    client = PeerClient(client_context(certificate.peer_files(settings.tls_dir)))
    try:
        for member in _remembered(settings):
            try:
                heads = await client.get_heads(member)
                pack = await client.fetch(member, heads, ())
                kept = await _take(settings, heads, pack)
            except (PeerUnreachable, PeerRefused, RepositoryError) as why:
                asked.append(f"{member.name}: {why}")
                continue
            log.warning(
                "%s could not be read (%s): fetched anew from %s; %s",
                settings.repository_dir, error, member.name, kept,
            )  # fmt: skip
            return await _start(settings)
    finally:
        await client.close()
    raise DamagedRepository(settings.repository_dir, error, asked)


async def _take(settings: Settings, heads: Sequence[str], pack: bytes) -> str:
    """Put what a member gave in the place of the damaged repository; where that is kept. Raises `RepositoryError`."""
    path = settings.repository_dir
    new = path.with_name(f"{path.name}.new")
    for left in (new, _fetched(path)):  # by an earlier start that was cut short
        shutil.rmtree(left, ignore_errors=True)
    revisions = Revisions(Repository.create(new, settings.socket))
    try:
        head = await revisions.store(pack, heads)
        if head is None or head.document is None:
            raise RepositoryError(head.problem if head else "it gave no revision")
        if path.exists():
            await revisions.take(_save(path, revisions.repository))
    finally:
        revisions.close()
    os.rename(new, _fetched(path))
    damaged = _free_name(path)
    if path.exists():
        os.rename(path, damaged)
    _finish(path)
    return f"the damaged one is kept as {damaged}" if damaged.exists() else "there was none"


def _fetched(path: Path) -> Path:
    """Where a repository is that was fetched as a whole, until the damaged one is out of its way."""
    return path.with_name(f"{path.name}.fetched")


def _finish(path: Path) -> None:
    """Put a fetched repository in place; an earlier start may have been cut short before this."""
    if _fetched(path).exists() and not path.exists():
        os.rename(_fetched(path), path)
        sync_dir(path.parent)


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _save(damaged: Path, into: Repository) -> tuple[str, ...]:
    """Edits that only the damaged repository has: those of its heads that are whole, with all that they build on."""
    git = Git(damaged)
    try:
        if not (damaged / "HEAD").is_file() or not (damaged / "HEAD").read_bytes().startswith(
            b"ref: "
        ):
            (damaged / "HEAD").write_text(f"ref: {MAIN}\n")  # git reads nothing without it
        code, out, error = git.attempt("for-each-ref", "--format=%(objectname)", MAIN, HEADS)
    except (OSError, RepositoryError) as failure:
        log.warning("nothing can be read of the damaged %s: %s", damaged, failure)
        return ()
    if code != 0:
        log.warning("nothing can be read of the damaged %s: %s", damaged, error.strip())
        return ()
    saved = []
    for commit_id in sorted(set(out.decode("ascii").split()) - {*into.heads()}):
        try:
            if commit_id not in into:
                into.store_pack(packs.make_pack(git, [commit_id], []))
            saved.append(commit_id)
        except RepositoryError as failure:
            log.warning("the head %s of %s is lost here: %s", commit_id, damaged, failure)
    return tuple(saved)
