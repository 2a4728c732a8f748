"""libvirt's locks of disks on a host: its files under a root of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from xsm.edge import libvirt_locks
from xsm.edge.libvirt_tls import NotPossible, carry_out, lines

QEMU = '# The administrator\'s own.\nuser = "root"\n#lock_manager = "sanlock"\n'
SHARED = Path("/dev/shm")
"""Another file system than the root's, on any Linux machine."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/libvirt").mkdir(parents=True)
    (tmp_path / "etc/libvirt/qemu.conf").write_text(QEMU)
    (tmp_path / "etc/libvirt/qemu.conf").chmod(0o600)
    return tmp_path


def test_what_was_there_stays_and_is_kept(root: Path) -> None:
    conf = root / "etc/libvirt/qemu.conf"
    assert libvirt_locks.manager(root) == ""
    todo = libvirt_locks.todo(SHARED, root=root, program="sh")
    assert todo.by_hand.startswith("start `virtlockd --daemon`")
    first, second = lines(todo)
    assert (
        first
        == f'write {conf}: lock_manager = "lockd"; the old one is kept as qemu.conf.before-xsm'
    )
    assert second.startswith(
        f'write {root}/etc/libvirt/qemu-lockd.conf: file_lockspace_dir = "/dev/shm"'
    )
    carry_out(todo)
    assert conf.read_text() == QEMU + 'lock_manager = "lockd"\n'
    assert conf.stat().st_mode & 0o777 == 0o600
    assert (root / "etc/libvirt/qemu.conf.before-xsm").read_text() == QEMU
    assert libvirt_locks.manager(root) == "lockd"
    again = libvirt_locks.todo(SHARED, root=root, program="sh")
    assert (again.writes, again.runs, again.by_hand) == ((), (), "")


def test_the_administrators_file_is_kept_once(root: Path) -> None:
    carry_out(libvirt_locks.todo(SHARED, root=root, program="sh"))
    conf = root / "etc/libvirt/qemu.conf"
    conf.write_text(conf.read_text().replace("lockd", "sanlock"))
    carry_out(libvirt_locks.todo(SHARED, root=root, program="sh"))
    assert (root / "etc/libvirt/qemu.conf.before-xsm").read_text() == QEMU
    assert libvirt_locks.manager(root) == "lockd"


def test_with_systemd_libvirtd_is_told(root: Path) -> None:
    (root / "run/systemd/system").mkdir(parents=True)
    todo = libvirt_locks.todo(SHARED, root=root, program="sh")
    assert [run.command for run in todo.runs] == [
        ("systemctl", "enable", "--now", "virtlockd.socket"),
        ("systemctl", "restart", "libvirtd.service"),
    ]
    assert todo.by_hand == ""


def test_folders_that_nobody_shares(root: Path) -> None:
    for folder, words in (
        (Path("locks"), "not an absolute path"),
        (SHARED / "no-such-folder", "is not there"),
        (Path("/"), "this host's own root file system"),
    ):
        with pytest.raises(NotPossible, match=words):
            libvirt_locks.todo(folder, root=root, program="sh")
    with pytest.raises(NotPossible, match="there is no no-such-program"):
        libvirt_locks.todo(SHARED, root=root, program="no-such-program")
    (root / "run/libvirt").mkdir(parents=True)
    (root / "run/libvirt/virtqemud-sock").touch()
    with pytest.raises(NotPossible, match="separate daemons"):
        libvirt_locks.todo(SHARED, root=root, program="sh")
