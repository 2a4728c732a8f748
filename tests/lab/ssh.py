"""sshd on the lab's hosts: its own host key, root by key.

Decides where sshd comes from: Debian's package, unpacked like the guest's kernel and never installed, for installing it
would start one on the machine itself.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.guest import unpacked
from tests.lab.hosts import LabHost

LIBRARIES = "usr/lib/x86_64-linux-gnu"
CONFIG = """\
ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
UsePAM no
"""


def programs() -> tuple[Path, Path]:
    """sshd, and the folder of the one library that Debian installs only with it."""
    sshd = unpacked("openssh-server") / "usr/sbin/sshd"
    return sshd.resolve(), (unpacked("libwrap0") / LIBRARIES).resolve()


def start(host: LabHost) -> None:
    """sshd on the host, as its installation would leave it."""
    sshd, libraries = programs()
    config = CONFIG.format(address=host.place.address)
    host.run("sh", "-c", "mkdir -p /etc/ssh && cat >/etc/ssh/sshd_config", stdin=config)
    script = f"""
        grep -q ^sshd: /etc/passwd || echo sshd:x:64057:65534::/run/sshd:/usr/sbin/nologin >>/etc/passwd
        [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
        LD_LIBRARY_PATH={libraries} {sshd}
    """
    host.run("sh", "-ec", script)


def fingerprint(host: LabHost) -> str:
    """Of its host key, as its administrator reads it."""
    return host.run("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub").stdout.split()[1]


def let_in(host: LabHost, other: LabHost) -> None:
    """root of `host` may log in to `other` with a key: what `ssh-copy-id` does."""
    make = "[ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519; cat .ssh/id_ed25519.pub"
    key = host.run("sh", "-ec", f"mkdir -pm 700 .ssh; {make}").stdout
    other.run("sh", "-ec", "mkdir -pm 700 .ssh; cat >>.ssh/authorized_keys", stdin=key)
