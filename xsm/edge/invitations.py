"""Invitations: one-shot tokens with which a host may join the site.

Decides whether a token is good. On disk is only a secret's hash, so that a backup invites nobody.
The
token carries the fingerprint of the site's CA: the joining host knows whom it talks to before it
says
anything. Must not know what joining does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from xsm.api.types import Invitation
from xsm.edge.durable import write_secret

LIFETIME_S = 3600.0
MAX_OPEN = 256
"""Invitations that may be open at once."""
SECRET_BYTES = 24
MAX_TOKEN_CHARS = 2048
PREFIX = "xsm1."


class TokenRefused(Exception):
    """A token that can't be used; the text says why, as far as its bearer may know."""


@dataclass(frozen=True)
class Token:
    """What a token's text says."""

    name: str  # of the host that may join
    url: str  # of the host that invites
    host: str  # its name, for `ca.server_name`
    ca: str  # SHA-256 of the site's CA certificate in DER, hexadecimal
    secret: str
    again: bool = False  # for a member whose certificate has ended; what counts is what the inviting host kept


@dataclass(frozen=True)
class _Open:
    """What is kept of an invitation."""

    name: str
    secret_sha256: str
    expires: float
    used_by: str = ""  # the key of the host that used it (`ca.Authority.key_id`)
    again: bool = False  # for a member whose certificate has ended


def parse_token(text: str) -> Token:
    """Raises `TokenRefused`."""
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > MAX_TOKEN_CHARS:
        raise TokenRefused(f"that is not a token: it begins with {PREFIX!r}; `xsm invite` makes it")
    body = text[len(PREFIX) :]
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        token = msgspec.json.decode(raw, type=Token)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise TokenRefused("the token is damaged; was all of it copied?") from error
    if not token.url.startswith("https://") or len(token.ca) != 64:
        raise TokenRefused("the token is damaged; was all of it copied?")
    return token


class Invitations:
    """The open invitations of one host, one small file each."""

    def __init__(self, directory: Path, ca_fingerprint: str, host: str) -> None:
        """`host`: the name of this host, which the joining one will find in its certificate."""
        self._directory = directory
        self._ca = ca_fingerprint
        self._host = host

    def create(
        self, name: str, url: str, now: float, lifetime_s: float = LIFETIME_S, again: bool = False
    ) -> Invitation:
        """A token for the host `name`. Earlier ones for the same name are good no longer. `again`: it is a member.

        Raises `TokenRefused` when too many are open.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, entry in self._open():
            if entry.name == name or entry.expires <= now:
                path.unlink(missing_ok=True)
        if sum(not entry.used_by for _, entry in self._open()) >= MAX_OPEN:
            raise TokenRefused(f"{MAX_OPEN} invitations are open; they expire within the hour")
        secret = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        entry = _Open(name, _digest(secret), now + lifetime_s, again=again)
        write_secret(self._path(secret), msgspec.json.encode(entry))
        raw = msgspec.json.encode(Token(name, url, self._host, self._ca, secret, again))
        text = PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")
        return Invitation(text, url, entry.expires)

    def check(self, text: str, now: float) -> str:
        """The name that `redeem` would give; the token stays good. Raises `TokenRefused`."""
        return self._unused(text, now)[1].name

    def is_again(self, text: str, now: float) -> bool:
        """Whether the token is for a host that is a member. Raises `TokenRefused`."""
        return self._unused(text, now)[1].again

    def redeem(self, text: str, now: float, key: str) -> str:
        """The name that the token invites; it is good no longer, even after a crash. `key`: that of the host which
        used it, by `ca.Authority.key_id`. Raises `TokenRefused`.
        """
        path, entry = self._unused(text, now)
        write_secret(path, msgspec.json.encode(replace(entry, used_by=key)))
        return entry.name

    def used_by(self, text: str, now: float) -> str:
        """The key of the host that used the token, while it would be good; "" when none did. Raises `TokenRefused`."""
        return self._find(text, now)[1].used_by

    def _unused(self, text: str, now: float) -> tuple[Path, _Open]:
        path, entry = self._find(text, now)
        if entry.used_by:
            raise _unknown()
        return path, entry

    def _find(self, text: str, now: float) -> tuple[Path, _Open]:
        token = parse_token(text)
        path = self._path(token.secret)
        entry = _read(path)
        if entry is None or not hmac.compare_digest(entry.secret_sha256, _digest(token.secret)):
            raise _unknown()
        if now >= entry.expires:
            path.unlink(missing_ok=True)
            raise TokenRefused("the token has expired; ask for a new one with `xsm invite`")
        return path, entry

    def _path(self, secret: str) -> Path:
        # A hash of the hash: finding the file tells nothing about the secret, even by its timing.
        return self._directory / f"{_digest(_digest(secret))[:32]}.json"

    def _open(self) -> list[tuple[Path, _Open]]:
        if not self._directory.is_dir():
            return []
        found = [(path, _read(path)) for path in sorted(self._directory.glob("*.json"))]
        return [(path, entry) for path, entry in found if entry is not None]


def _read(path: Path) -> _Open | None:
    """None when there is none. A damaged one invites nobody either."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Open)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _unknown() -> TokenRefused:
    return TokenRefused(
        "the token is not known here: it was used already, or another one replaced it; "
        "ask for a new one with `xsm invite`"
    )
