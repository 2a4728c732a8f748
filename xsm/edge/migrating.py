"""What this host's settings say of live migrations.

Decides whether QEMU can be told to send memory over TLS: by its certificates, unless the settings say so themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xsm.peer.converging import CONVERGE_LIMIT_S

QEMU_TLS = Path("/etc/pki/qemu")
"""Where QEMU looks for its certificates, unless libvirt's qemu.conf says otherwise; then set `migrate_tls`."""
NEEDED = ("ca-cert.pem", "server-cert.pem", "server-key.pem")


@dataclass(frozen=True)
class Announces:
    """`migrate_uri`: how other hosts reach this hypervisor. `migrate_tls`: "on", "off" or "auto". `bandwidth_mib_s`:
    of each migration away from here, 0: what the link has."""

    migrate_uri: str = ""
    migrate_tls: str = "auto"
    bandwidth_mib_s: int = 0
    converge_limit_s: float = CONVERGE_LIMIT_S
    seeds_dir: str = ""  # where the images for cloud-init are

    def tls(self) -> bool:
        """Whether memory that comes here or leaves here may go over TLS. Looked at each time: certificates may come
        after xsmd was started."""
        if self.migrate_tls != "auto":
            return self.migrate_tls == "on"
        over_tls = self.migrate_uri.startswith("qemu+tls:")
        return over_tls and all((QEMU_TLS / name).exists() for name in NEEDED)


SILENT = Announces()
