"""Volumes of storage pools that get another name, so that a copy can come in their place.

Decides what of a pool makes that possible: libvirt has no call for it, so the file is renamed. Nothing is overwritten
or deleted. Must not know why a volume is in the way.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

import libvirt

from xsm.edge.hypervisor import HypervisorError

FILE_POOLS = frozenset({"dir", "fs", "netfs"})
"""Types of pools whose volumes are files in one directory."""
NETWORK_POOLS = frozenset(
    {"netfs", "gluster", "rbd", "iscsi", "iscsi-direct", "sheepdog", "vstorage"}
)
"""Types of pools that are on the network by their nature: hosts that have one of a name have the same."""
ASIDE_LIMIT = 3
"""Of one volume, so many that were cut off or left are kept side by side; then somebody has to look at them."""
_FLOCK = "hhqqi4x"
"""struct flock: type, whence, start, length, pid."""


def set_aside(pool: libvirt.virStoragePool, volume: libvirt.virStorageVol, name: str) -> str:
    """Call the volume `name`, or NAME-2 and so on where that is taken; gives the new name.

    Refused when a process has it open: a guest that runs on it, or that is just being received.
    """
    path = Path(str(volume.path()))
    for number in range(1, ASIDE_LIMIT + 1):
        new = path.with_name(name if number == 1 else f"{name}-{number}")
        try:
            os.link(path, new)  # never over a file that is there
        except FileExistsError:
            continue
        except OSError as error:
            raise HypervisorError(f"{path} can't be renamed: {error.strerror}") from error
        _swap(path, new)
        pool.refresh(0)
        return new.name
    raise HypervisorError(
        f"{ASIDE_LIMIT} volumes like {name} are there already: delete those that nobody needs"
    )


def _swap(path: Path, new: Path) -> None:
    """The old name goes first: from then on nobody opens it any more, and who has it open shows by QEMU's lock."""
    try:
        path.unlink()
        if _is_locked(new):
            os.link(new, path)
            new.unlink()
            raise HypervisorError(f"{path} is in use")
    except OSError as error:
        raise HypervisorError(f"{path} can't be renamed: {error.strerror}") from error


def _is_locked(path: Path) -> bool:
    with path.open("rb+") as file:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
