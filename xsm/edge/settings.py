"""What one host's xsmd is told: xsmd.toml, read and checked as a whole.

Decides which settings are acceptable and where a host keeps its things. Knows nothing of the site; it only says who
this host is and where its files are. Every problem names the file, the line and the key.
"""

from __future__ import annotations

import codecs
import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xsm.edge import libvirt_uri
from xsm.edge.durable import write_durably
from xsm.edge.migrating import Announces
from xsm.peer.converging import CONVERGE_LIMIT_S
from xsm.peer.receiving import ARRIVALS_LIMIT
from xsm.peer.work import ACTIONS_LIMIT, MIGRATIONS_LIMIT
from xsm.site.problems import Invalid, Problem
from xsm.site.wanted import SEEDS_DIR

DATA_DIR = Path("/var/lib/xsm")
DEFAULT_PORT = 8701
SERF_PORT = 8702
"""Not Serf's own 7946, where an agent may run that isn't XSM's."""
MAX_SETTINGS_BYTES = 64 * 1024
MAX_SOCKET_PATH_BYTES = 100
"""sockaddr_un holds 107 bytes; the rest is for the temporary names beside the socket."""

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""A host's name: it becomes a certificate's name, a file name and an XML value."""

ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

LIFE = re.compile(r"[0-9]{1,6}[shd]")
UNITS_S = {"s": 1, "h": 3600, "d": 86400}
LEAST_LIFE_S, MOST_LIFE_S = 30, 3650 * 86400
"""Of certificates: less leaves no time to renew them, the CA itself has no more."""

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
SERF_CHOICES = ("auto", "on", "off")
HYPERVISOR_CHOICES = ("libvirt", "none")
TLS_CHOICES = ("auto", "on", "off")
MAX_MIGRATIONS = ACTIONS_LIMIT
"""At once, in one direction: as many as all actions that a host may have under way."""
MAX_MIB_S = 1_000_000
MAX_CONVERGE_S = 86_400


@dataclass(frozen=True)
class Settings:
    """One host's settings. Paths are absolute."""

    name: str
    address: str  # what DOM0 says for this host
    listen: str  # "0.0.0.0:8701", "[::]:8701"
    url: str  # https://ADDRESS:PORT where the others reach it
    libvirt_uri: str  # means nothing for a witness
    data_dir: Path
    checkout_dir: Path
    socket: Path
    migrate_uri: str = (
        ""  # libvirt URI by which the other hosts' libvirt reaches this one's; "": none
    )
    log_format: str = "text"
    log_level: str = "info"
    migrate_tls: str = "auto"  # whether the memory of live migrations goes over TLS, too
    migrate_bandwidth_mib_s: int = 0  # of each live migration away from here; 0: what the link has
    migrations_out: int = MIGRATIONS_LIMIT  # live migrations away from here at once
    migrations_in: int = ARRIVALS_LIMIT  # and to here
    converge_limit_s: int = round(CONVERGE_LIMIT_S)  # after the first pass, until it is given up
    serf: str = "auto"  # whether Serf gives this host hints; "auto": where it is installed
    serf_port: int = SERF_PORT  # UDP and TCP; the other hosts' agents reach this one there
    certificate_life: str = "365d"  # of what this host signs, if it holds the site's CA key
    hypervisor: str = "libvirt"  # "none": a witness, which runs no VMs; said when the host joins

    @property
    def is_witness(self) -> bool:
        return self.hypervisor == "none"

    @property
    def witness_path(self) -> Path:
        """There while this host has never been anything but a witness."""
        return self.data_dir / "witness"

    @property
    def announces(self) -> Announces:
        """What the hypervisor is told of migrations."""
        return Announces(
            self.migrate_uri,
            self.migrate_tls,
            self.migrate_bandwidth_mib_s,
            seeds_dir=str(self.seeds_dir),
        )

    @property
    def seeds_dir(self) -> Path:
        """Not among xsmd's own data, which nobody else may enter, but where QEMU's user can go."""
        return Path(SEEDS_DIR) if self.data_dir == DATA_DIR else self.data_dir / "seeds"

    @property
    def certificate_life_s(self) -> float:
        return _seconds(self.certificate_life)

    @property
    def serf_dir(self) -> Path:
        return self.data_dir / "serf"

    @property
    def ca_key_path(self) -> Path:
        return self.tls_dir / "ca.key"

    @property
    def listen_host(self) -> str:
        return _split_listen(self.listen)[0]

    @property
    def source_host(self) -> str:
        """A host that listens on one address of several also speaks from it; "": on all, so the system chooses."""
        host = self.listen_host
        return "" if host in ("", "0.0.0.0", "::", "*") else host

    @property
    def listen_port(self) -> int:
        return _split_listen(self.listen)[1]

    @property
    def repository_dir(self) -> Path:
        return self.data_dir / "site.git"

    @property
    def votes_path(self) -> Path:
        return self.data_dir / "votes.journal"

    @property
    def members_path(self) -> Path:
        return self.data_dir / "members.json"

    @property
    def events_path(self) -> Path:
        return self.data_dir / "events.jsonl"

    @property
    def tls_dir(self) -> Path:
        return self.data_dir / "tls"

    @property
    def invitations_dir(self) -> Path:
        return self.data_dir / "invitations"


KEYS = tuple(Settings.__dataclass_fields__)
LEFT_OUT = (
    "migrate_tls",
    "migrate_bandwidth_mib_s",
    "migrations_out",
    "migrations_in",
    "converge_limit_s",
    "serf",
    "serf_port",
    "hypervisor",
)
"""Not written where it is the default: then a later version's default counts."""


@dataclass(frozen=True)
class Places:
    """Default paths: the system's for root, XDG's for anybody else."""

    config: Path
    data_dir: Path
    checkout_dir: Path
    socket: Path


def places(environ: Mapping[str, str], uid: int) -> Places:
    """Where things are when nobody says otherwise. `environ` and `uid` are the process's own."""
    if uid == 0:
        return Places(
            config=Path("/etc/xsm/xsmd.toml"),
            data_dir=DATA_DIR,
            checkout_dir=Path("/etc/xsm/site"),
            socket=Path("/run/xsm/xsmd.sock"),
        )
    home = Path(environ.get("HOME") or "/")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "xsm"
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "xsm"
    runtime = environ.get("XDG_RUNTIME_DIR")
    socket_dir = Path(runtime) / "xsm" if runtime else data
    return Places(
        config=config / "xsmd.toml",
        data_dir=data,
        checkout_dir=config / "site",
        socket=socket_dir / "xsmd.sock",
    )


def settings_path(option: str | None, environ: Mapping[str, str], uid: int) -> Path:
    """The settings file: --config, else XSM_CONFIG, else the default place."""
    return Path(option or environ.get("XSM_CONFIG") or places(environ, uid).config)


def load_settings(
    option: str | None = None,
    environ: Mapping[str, str] | None = None,
    uid: int | None = None,
) -> Settings:
    """Read the settings that --config, XSM_CONFIG or the default place names.

    Raises `xsm.site.problems.Invalid` with every problem of the file.
    """
    environ = os.environ if environ is None else environ
    uid = os.geteuid() if uid is None else uid
    path = settings_path(option, environ, uid)
    return read_settings(path, places(environ, uid))


def read_settings(path: Path, defaults: Places) -> Settings:
    """Read one settings file. Raises `Invalid` with every problem of it."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_SETTINGS_BYTES + 1)
    except OSError as error:
        hint = "`xsm init` or `xsm join` writes it; --config or XSM_CONFIG names another"
        raise Invalid([Problem(str(path), 0, f"can't be read: {error.strerror}", hint)]) from error
    if len(raw) > MAX_SETTINGS_BYTES:
        raise Invalid([Problem(str(path), 0, f"larger than {MAX_SETTINGS_BYTES} bytes")])
    return parse_settings(raw, str(path), defaults)


def parse_settings(raw: bytes, shown_path: str, defaults: Places) -> Settings:
    """Decide on a settings file's content. Raises `Invalid` with every problem of it."""
    try:
        text = raw.decode("utf-8")
        table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        wide = raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        message = "is UTF-16, not UTF-8" if wide else "is not UTF-8 text"
        raise Invalid([Problem(shown_path, line, message, "save it as UTF-8")]) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"at line (\d+)", str(error))
        message = f"is not TOML: {error}" if found else "is not TOML"
        hint = 'a line is: key = "value"'
        raise Invalid(
            [Problem(shown_path, int(found[1]) if found else 0, message, hint)]
        ) from error
    return _Reader(shown_path, text, table).settings(defaults)


def write_settings(settings: Settings, path: Path) -> None:
    """Write a settings file that `read_settings` reads back equal; atomically, readable by all
    (no secrets)."""
    lines = ["# What this host's xsmd is told; written by xsm, yours to edit (docs/settings.md)."]
    values = {key: getattr(settings, key) for key in KEYS}
    defaults = {key: field.default for key, field in Settings.__dataclass_fields__.items()}
    lines += [
        f"{key} = {value if isinstance(value, int) else _toml_string(str(value))}"
        for key, value in values.items()
        if str(value)
        and not (key in LEFT_OUT and value == defaults[key])
        and not (key == "libvirt_uri" and settings.is_witness)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, ("\n".join(lines) + "\n").encode(), 0o644)


def _toml_string(value: str) -> str:
    """A TOML basic string; its escapes are a superset of what is needed here."""
    out = []
    for char in value:
        if char in '"\\':
            out.append("\\" + char)
        elif ord(char) < 0x20 or ord(char) == 0x7F:
            out.append(f"\\u{ord(char):04x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def _seconds(life: str) -> float:
    """Of a text like `LIFE`."""
    return float(int(life[:-1]) * UNITS_S[life[-1]])


def _split_listen(value: str) -> tuple[str, int]:
    """ "host:port" or "[v6]:port" -> (host, port). Raises ValueError with words for people."""
    host, colon, port_text = value.rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit():
        raise ValueError("must be ADDRESS:PORT")
    port = int(port_text) if len(port_text) <= 5 else 0
    if not 1 <= port <= 65535:
        raise ValueError("the port must be from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host:
        raise ValueError("an IPv6 address is written in brackets, [::]:8701")
    return host, port


def is_address(value: str) -> bool:
    """True for an IP address or a DNS name."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return ADDRESS.fullmatch(value) is not None and ".." not in value
    return True


def host_in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class _Reader:
    """Collects the values and problems of one file."""

    def __init__(self, path: str, text: str, table: Mapping[str, Any]) -> None:
        self._path = path
        self._text = text
        self._table = table
        self._problems: list[Problem] = []

    def settings(self, defaults: Places) -> Settings:
        for key in self._table:
            if key not in KEYS:
                near = difflib.get_close_matches(key, KEYS, n=1)
                hint = f"did you mean {near[0]}?" if near else "known keys: " + ", ".join(KEYS)
                self._problem(key, "unknown key", hint)
        name = self._name()
        address = self._address()
        listen = self._listen()
        url = self._url(address, listen)
        uri = self._string("libvirt_uri", "qemu:///system")
        self._check_uri("libvirt_uri", uri, "qemu:///system or xen:///system")
        migrate_uri = self._string("migrate_uri", "")
        remote = f"qemu+tls://{address or '192.168.5.101'}/system"
        if migrate_uri:
            self._check_uri("migrate_uri", migrate_uri, remote)
        result = Settings(
            name=name,
            address=address,
            listen=listen,
            url=url,
            libvirt_uri=uri,
            data_dir=self._dir("data_dir", defaults.data_dir),
            checkout_dir=self._dir("checkout_dir", defaults.checkout_dir),
            socket=self._socket(defaults.socket),
            migrate_uri=migrate_uri,
            log_format=self._choice("log_format", "text", LOG_FORMATS),
            log_level=self._choice("log_level", "info", LOG_LEVELS),
            migrate_tls=self._choice("migrate_tls", "auto", TLS_CHOICES),
            migrate_bandwidth_mib_s=self._number("migrate_bandwidth_mib_s", 0, 0, MAX_MIB_S),
            migrations_out=self._number("migrations_out", MIGRATIONS_LIMIT, 1, MAX_MIGRATIONS),
            migrations_in=self._number("migrations_in", ARRIVALS_LIMIT, 1, MAX_MIGRATIONS),
            converge_limit_s=self._number(
                "converge_limit_s", round(CONVERGE_LIMIT_S), 1, MAX_CONVERGE_S
            ),
            serf=self._choice("serf", "auto", SERF_CHOICES),
            serf_port=self._number("serf_port", SERF_PORT, 1, 65535),
            certificate_life=self._life(),
            hypervisor=self._choice("hypervisor", "libvirt", HYPERVISOR_CHOICES),
        )
        if self._problems:
            raise Invalid(self._problems)
        return result

    def _check_uri(self, key: str, uri: str, example: str) -> None:
        found = libvirt_uri.trouble(uri, key == "migrate_uri", example)
        if found:
            self._problem(key, *found)

    def _name(self) -> str:
        name = self._string("name", None)
        if name and not NAME.fullmatch(name):
            self._problem(
                "name",
                f"{name!r} can't be a host's name",
                "letters, digits, '.', '_' and '-', at most 63, first and last a letter or digit",
            )
        return name

    def _address(self) -> str:
        address = self._string("address", None)
        if address and not is_address(address):
            self._problem(
                "address", f"{address!r} is neither an IP address nor a DNS name", "192.168.5.101"
            )
        return address

    def _listen(self) -> str:
        listen = self._string("listen", f"0.0.0.0:{DEFAULT_PORT}")
        try:
            _split_listen(listen)
        except ValueError as error:
            self._problem("listen", f"{listen!r}: {error}", f"0.0.0.0:{DEFAULT_PORT}")
            return f"0.0.0.0:{DEFAULT_PORT}"
        return listen

    def _url(self, address: str, listen: str) -> str:
        port = _split_listen(listen)[1]
        example = f"https://{host_in_url(address or '192.168.5.101')}:{port}"
        if "url" not in self._table:
            return example  # made of the address, whose problems are told already
        url = self._string("url", example)
        try:
            parts = urlsplit(url)
            fine = (
                parts.scheme == "https"
                and bool(parts.hostname)
                and is_address(parts.hostname or "")
                and parts.path in ("", "/")
                and not (parts.query or parts.fragment or parts.username or parts.password)
                and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            fine = False
        if not fine:
            self._problem("url", f"{url!r} is not https://ADDRESS:PORT", example)
        return url.rstrip("/")

    def _dir(self, key: str, default: Path) -> Path:
        path = Path(self._string(key, str(default)))
        if not path.is_absolute():
            self._problem(key, f"{str(path)!r} is not an absolute path", str(default))
        return path

    def _socket(self, default: Path) -> Path:
        path = self._dir("socket", default)
        if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
            self._problem(
                "socket",
                f"longer than {MAX_SOCKET_PATH_BYTES} bytes, more than a unix socket can have",
                str(default),
            )
        return path

    def _life(self) -> str:
        value = self._string("certificate_life", "365d")
        if not LIFE.fullmatch(value) or not LEAST_LIFE_S <= _seconds(value) <= MOST_LIFE_S:
            message = f"{value!r} is not a time from 30s to 3650d"
            self._problem("certificate_life", message, "365d, 12h, 600s")
        return value

    def _choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        value = self._string(key, default)
        if value not in choices:
            self._problem(key, f"{value!r} is not known", "one of: " + ", ".join(choices))
        return value

    def _number(self, key: str, default: int, least: int, most: int) -> int:
        value = self._table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._problem(
                key, f"must be a whole number from {least} to {most}", f"{key} = {default}"
            )
            return default
        return value

    def _string(self, key: str, default: str | None) -> str:
        """The value of `key`; "" after a problem was noted."""
        if key not in self._table:
            if default is None:
                self._problem(key, "is missing", f'add: {key} = "..."')
                return ""
            return default
        value = self._table[key]
        if not isinstance(value, str):
            self._problem(key, "must be a text in quotes", f'{key} = "{value}"'[:80])
            return default or ""
        if not value or not value.isprintable():
            self._problem(key, "is empty or has unprintable characters", f'{key} = "..."')
            return default or ""
        return value

    def _problem(self, key: str, message: str, hint: str) -> None:
        self._problems.append(Problem(self._path, self._line(key), f"{key}: {message}", hint))

    def _line(self, key: str) -> int:
        pattern = re.compile(rf"""\s*(\[?\s*["']?){re.escape(key)}\b""")
        for number, line in enumerate(self._text.splitlines(), 1):
            if pattern.match(line):
                return number
        return 0
