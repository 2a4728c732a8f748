"""Making a site on its first host, and taking a further host into a site.

Decides in which order a host's pieces come to be (settings last: they mark a host that is ready),
and that nothing that is there is ever overwritten. Must not know how it is told to the user.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from xsm.edge import ca
from xsm.edge.checkout import Checkout
from xsm.edge.durable import clear_temporaries, sync_dir, write_durably, write_secret
from xsm.edge.invitations import Token, TokenRefused, parse_token
from xsm.edge.joining import join
from xsm.edge.register_file import RegisterFile, mark_path
from xsm.edge.repository import Repository
from xsm.edge.revisions import Revisions
from xsm.edge.settings import Settings, places, read_settings, write_settings
from xsm.edge.tls import client_context
from xsm.edge.transport import PeerClient, Registers
from xsm.peer.edit import Surroundings, edit
from xsm.peer.membership import MEMBERS
from xsm.peer.register import Register, expel, from_entry, learn_as, to_entry
from xsm.site.document import Files
from xsm.site.problems import Problem
from xsm.site.state import Member, State

UNFINISHED = "init.unfinished"
"""In the data while `xsm init` makes it."""
TOKEN = "join.token"
"""In the data until a join is done: whoever lost the token can give the command again with this one."""
EMPTY_SITE: Files = {"site.xml": b"<XSMConfig>\n</XSMConfig>\n"}
"""What a new site says when nobody gives a file."""


class EnrolRefused(Exception):
    """This host can't become the first or a further one; the text says why. `hint`: what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True)
class Enrolled:
    """What a host has become part of."""

    site_id: str
    revision: str
    host: str
    members: tuple[str, ...]
    settings_path: str
    checkout: str
    warnings: tuple[Problem, ...] = ()


def init_site(
    settings: Settings, settings_path: Path, files: Files, *, author: str, message: str, now: float
) -> Enrolled:
    """Make a new site of `files` (site file and configs), with this host as its only member.

    Raises `Invalid` for the files, `EnrolRefused` where there is a site already,
    `CertificateRefused`, `RepositoryError`, `OSError`; then nothing that was made stays.
    """
    _clear_unfinished(settings)
    _refuse_existing(settings, settings_path)
    member = Member(settings.name, settings.address, settings.url, settings.is_witness)
    state = State(site_id=str(uuid.uuid4()), members={member.name: member})
    edited = edit(files, "", files, "", files, Surroundings({}, {}, now), state)
    with ExitStack() as undo:
        unfinished = _begin(settings, undo)
        _make_certificates(settings, state.site_id, now, undo)
        _make_votes(settings, undo)
        if settings.is_witness:
            undo.callback(settings.witness_path.unlink, missing_ok=True)
            write_durably(settings.witness_path, b"", 0o600)
        undo.callback(shutil.rmtree, settings.repository_dir, ignore_errors=True)
        repository = Repository.create(settings.repository_dir, settings.socket)
        try:
            commit = repository.write_commit(edited.files, (), author, int(now), message)
            repository.set_heads((commit.id,), commit.id)
            undo.callback(shutil.rmtree, settings.checkout_dir, ignore_errors=True)
            Checkout(settings.checkout_dir, repository).follow(commit.id)
        finally:
            repository.close()
        unfinished.unlink()
        sync_dir(unfinished.parent)
        write_settings(settings, settings_path)
        undo.pop_all()
    return _enrolled(settings, settings_path, commit.id, state, edited.warnings)


async def join_site(
    settings: Settings, settings_path: Path, token_text: str, now: float
) -> Enrolled:
    """Make this host a member of the token's site, with a copy of all its history.

    May be called again with the same token when only fetching the history failed. Raises
    `EnrolRefused`, `TokenRefused`, `CertificateRefused`, `PeerUnreachable`, `PeerRefused`,
    `RepositoryError`, `OSError`.
    """
    token = parse_token(token_text)
    if token.name != settings.name:
        raise TokenRefused(f"the token is for {token.name}, not for {settings.name}")
    files = ca.peer_files(settings.tls_dir)
    kept = settings.data_dir / TOKEN
    if not _has_joined(token, files, now) or settings_path.exists():
        _refuse_existing(settings, settings_path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_secret(kept, token_text.encode())
        address, witness = settings.address, settings.is_witness
        await join(token_text, settings.name, address, settings.url, files, witness)
    if settings.is_witness:
        write_durably(settings.witness_path, b"", 0o600)
    enrolled = await _catch_up(settings, settings_path, token)
    write_settings(settings, settings_path)
    kept.unlink(missing_ok=True)
    return enrolled


async def join_again(settings_path: Path, token_text: str) -> ca.Identity:
    """New certificates for a host that is a member, by a token of `xsm invite --again`; everything else stays.

    Raises as `join_site`.
    """
    token = parse_token(token_text)
    settings = read_settings(settings_path, places({}, 0))
    files = ca.peer_files(settings.tls_dir)
    if (token.name, token.ca) != (settings.name, ca.fingerprint(files.ca.read_text())):
        raise EnrolRefused(
            f"this host is {settings.name} of a site already, and the token is for {token.name}"
            if token.name != settings.name
            else f"this host belongs to another site than the token's: {settings_path} is there",
            f"to start anew, stop xsmd and move {settings_path} and {settings.data_dir} away",
        )
    await join(token_text, settings.name, settings.address, settings.url, files)
    return ca.verify(files, time.time())


def renew_own(settings: Settings, now: float) -> ca.Identity:
    """Certificates for a host that signs: its first ones, and when somebody says so after they have ended.

    Raises `CertificateRefused`, `OSError`.
    """
    authority = ca.load_ca(settings.tls_dir, settings.certificate_life_s)
    for files, issue in (
        (ca.libvirt_files(settings.tls_dir), authority.issue_libvirt),
        (ca.peer_files(settings.tls_dir), authority.issue_peer),
    ):
        ca.create_key(files.key)
        csr_pem = ca.create_csr(files.key, settings.name)
        pem = issue(csr_pem, settings.name, settings.address, now)
        identity = ca.install_beside(files, authority.pem, pem)
    return identity


def pieces(settings: Settings, settings_path: Path) -> tuple[Path, ...]:
    """What a host that belongs to a site has."""
    return (
        settings_path,
        settings.repository_dir,
        settings.votes_path,
        settings.tls_dir / "ca.pem",
        settings.tls_dir / "ca.key",  # only on the first
    )


def _refuse_existing(settings: Settings, settings_path: Path) -> None:
    """A host belongs to one site. Votes and keys that are lost are lost for good, so nothing is
    replaced.
    """
    there = [path for path in pieces(settings, settings_path) if path.exists()]
    if there:
        raise EnrolRefused(
            f"this host belongs to a site already: {there[0]} is there",
            f"to start anew, stop xsmd and move {', '.join(str(path) for path in there)} away",
        )
    checkout = settings.checkout_dir
    if checkout.exists() and (not checkout.is_dir() or any(checkout.iterdir())):
        raise EnrolRefused(
            f"{checkout} is there already, and is where the site would be checked out",
            "move it away (its site file may be given to `xsm init`), or choose another --checkout",
        )


def _begin(settings: Settings, undo: ExitStack) -> Path:
    """From now on what is found in the data is of an init that was cut short, as long as this file is there."""
    path = settings.data_dir / UNFINISHED
    path.parent.mkdir(parents=True, exist_ok=True)
    undo.callback(path.unlink, missing_ok=True)
    write_durably(path, b"", 0o600)
    return path


def _clear_unfinished(settings: Settings) -> None:
    """Remove what an init that was killed made in the data. A checkout stays: people work there."""
    unfinished = settings.data_dir / UNFINISHED
    if not unfinished.exists():
        return
    for folder in (settings.tls_dir, settings.repository_dir):
        if folder.exists():
            shutil.rmtree(folder)
    for path in (settings.votes_path, mark_path(settings.votes_path)):
        path.unlink(missing_ok=True)
        clear_temporaries(path)
    sync_dir(unfinished.parent)
    unfinished.unlink()


def _make_certificates(settings: Settings, site_id: str, now: float, undo: ExitStack) -> None:
    files, libvirt = ca.peer_files(settings.tls_dir), ca.libvirt_files(settings.tls_dir)
    own = (files.ca, files.certificate, files.key, libvirt.certificate, libvirt.key)
    for path in (*own, settings.tls_dir / "ca.key"):
        if not path.exists():
            undo.callback(path.unlink, missing_ok=True)
    ca.create_ca(settings.tls_dir, site_id, now)
    renew_own(settings, now)


def _make_votes(settings: Settings, undo: ExitStack) -> None:
    for path in (mark_path(settings.votes_path), settings.votes_path):
        undo.callback(path.unlink, missing_ok=True)
    RegisterFile.create(settings.votes_path).close()


def _has_joined(token: Token, files: ca.TlsFiles, now: float) -> bool:
    """Whether an earlier call got this host's certificate for the same site."""
    try:
        identity = ca.verify(files, now)
        same = ca.fingerprint(files.ca.read_text()) == token.ca
    except (ca.CertificateRefused, OSError):
        return False
    return same and identity.name == token.name


async def _catch_up(settings: Settings, settings_path: Path, token: Token) -> Enrolled:
    """All revisions, from the host that invited."""
    if settings.repository_dir.exists():
        repository = Repository.open(settings.repository_dir, settings.socket)
    else:
        repository = Repository.create(settings.repository_dir, settings.socket)
    revisions = Revisions(repository)
    client = PeerClient(client_context(ca.peer_files(settings.tls_dir)))
    inviter = Member(token.host, "", token.url)
    try:
        heads = await client.get_heads(inviter)
        head = await revisions.store(await client.fetch(inviter, heads, ()), heads)
        # What a majority knows of claims: without it this host would be a blank voter (docs/safety.md).
        _know(settings, await client.get_registers(inviter))
        if head is None or head.document is None:
            problem = head.problem if head else "it gave no revision"
            raise EnrolRefused(f"the site of {token.host} can't be read here: {problem}")
        checkout = Checkout(settings.checkout_dir, repository)
        await revisions.call(lambda _: checkout.follow(head.revision))
        return _enrolled(settings, settings_path, head.revision, head.document.state)
    finally:
        await client.close()
        revisions.close()


def _know(settings: Settings, registers: Registers) -> None:
    """A vote file that holds what the others know, beside what it may hold from an earlier join."""
    if settings.votes_path.exists():
        votes = RegisterFile(settings.votes_path)
    else:
        votes = RegisterFile.create(settings.votes_path)
    try:
        mine = {vm: from_entry(entry) for vm, entry in votes.load().items()}
        # It was no member till now: perhaps it never saw that it had been forgotten.
        gone = {vm: expel(register) for vm, register in mine.items() if vm != MEMBERS}
        learnt = gone | {
            vm: learn_as(gone.get(vm, Register()), from_entry(e), settings.name)
            for vm, e in registers.items()
        }
        votes.write({vm: to_entry(r) for vm, r in learnt.items()})
    finally:
        votes.close()


def _enrolled(
    settings: Settings,
    settings_path: Path,
    revision: str,
    state: State,
    warnings: tuple[Problem, ...] = (),
) -> Enrolled:
    members: Mapping[str, Member] = state.members
    return Enrolled(
        state.site_id,
        revision,
        settings.name,
        tuple(sorted(members)),
        str(settings_path),
        str(settings.checkout_dir),
        warnings,
    )
