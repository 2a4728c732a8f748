"""The votes on disk: nothing acknowledged is ever forgotten, and what can't be trusted is said so."""

import errno
import multiprocessing
import os
import resource
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsm.edge.register_file import RegisterDamaged, RegisterFile, RegisterInUse, mark_path

WRITES = [
    {"vm1": {"voted": 1, "claimant": "dmz01", "claimants": ["dmz01"]}},
    {"vm2": {"voted": 1}, "vm1": {"voted": 2, "claimant": "dmz02"}},
    {"vm-ü": {"voted": 7}},
    {"vm1": {"voted": 3}},
]


def journal(path: Path) -> list[tuple[int, dict[str, dict[str, object]]]]:
    """Writes WRITES; (size, what must be there) after each, the empty journal first."""
    file = RegisterFile.create(path)
    states = [(path.stat().st_size, file.load())]
    for entries in WRITES:
        file.write(entries)
        states.append((path.stat().st_size, file.load()))
    file.close()
    return states


def reopened(path: Path) -> dict[str, dict[str, object]]:
    file = RegisterFile(path)
    try:
        return file.load()
    finally:
        file.close()


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    states = journal(path)
    assert reopened(path) == states[-1][1]
    assert states[-1][1]["vm1"] == {"voted": 3}
    assert path.stat().st_mode & 0o777 == 0o600


def test_cut_off_at_every_byte(tmp_path: Path) -> None:
    """A record that was being written is dropped, those before it stay; then votes go on."""
    path = tmp_path / "votes"
    states = journal(path)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        mark_path(path).unlink(missing_ok=True)
        path.write_bytes(whole[:size])
        if size < states[0][0]:
            with pytest.raises(RegisterDamaged):
                RegisterFile(path)
            continue
        acknowledged = [entries for length, entries in states if length <= size][-1]
        file = RegisterFile(path)
        assert file.load() == acknowledged, size
        file.write({"vm9": {"voted": 1}})
        file.close()
        assert reopened(path) == {**acknowledged, "vm9": {"voted": 1}}, size


def test_zeros_in_place_of_what_had_not_come_to_disk(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    states = journal(path)
    whole = path.read_bytes()
    start = states[-2][0]
    for at in range(start, len(whole)):
        mark_path(path).unlink(missing_ok=True)
        path.write_bytes(whole[:at] + b"\0" * (len(whole) - at))
        assert reopened(path) == states[-2][1], at


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    journal(path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in (0x01, 0x20, 0x80):
            damaged = bytearray(whole)
            damaged[at] ^= bit
            path.write_bytes(bytes(damaged))
            with pytest.raises(RegisterDamaged, match="must not vote"):
                RegisterFile(path)
            assert path.read_bytes() == bytes(damaged)  # left for whoever repairs it


def test_a_lost_doubled_or_moved_record_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    journal(path)
    header, *records = path.read_bytes().splitlines(keepends=True)
    for wrong in (
        [header, *records[1:]],
        [header, records[0], *records],
        [header, records[1], records[0], *records[2:]],
        records,
        [header, header, *records],
        [header, b"\n", *records],
    ):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(RegisterDamaged):
            RegisterFile(path)


def test_a_missing_file_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(RegisterDamaged, match="is missing"):
        RegisterFile(tmp_path / "votes")
    (tmp_path / "votes").touch()
    with pytest.raises(RegisterDamaged, match="is empty"):
        RegisterFile(tmp_path / "votes")


def test_create_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    states = journal(path)
    with pytest.raises(FileExistsError):
        RegisterFile.create(path)
    assert reopened(path) == states[-1][1]


def test_a_second_daemon_is_kept_out(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    file = RegisterFile.create(path)
    with pytest.raises(RegisterInUse, match="another xsmd"):
        RegisterFile(path)
    file.write({"vm1": {"voted": 1}})
    file.close()
    assert reopened(path) == {"vm1": {"voted": 1}}


def test_it_is_rewritten_when_it_is_mostly_outdated(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    RegisterFile.create(path).close()
    file = RegisterFile(path, compact_above_bytes=2000)
    sizes = []
    for number in range(200):
        file.write({f"vm{number % 3}": {"voted": number}})
        sizes.append(path.stat().st_size)
    assert max(sizes) < 2200
    with pytest.raises(RegisterInUse):
        RegisterFile(path)  # the new file is guarded as the old one was
    expected = {"vm0": {"voted": 198}, "vm1": {"voted": 199}, "vm2": {"voted": 197}}
    assert file.load() == expected
    file.close()
    assert reopened(path) == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "votes",
        "votes.lock",
        "votes.mark",
    ]


def test_it_grows_where_nothing_is_outdated(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    RegisterFile.create(path).close()
    file = RegisterFile(path, compact_above_bytes=500)
    for number in range(100):
        file.write({f"vm{number}": {"voted": 1}})
    file.close()
    assert len(reopened(path)) == 100


def _fill(path: Path, result: "multiprocessing.Queue[list[object]]") -> None:
    """In a process of its own, whose files may not grow beyond 300 bytes: a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    file = RegisterFile(path)
    file.write({"vm1": {"voted": 1}})
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
    failure = 0
    try:
        file.write({"vm2": {"voted": 1, "claimants": ["x" * 1000]}})
    except OSError as error:
        failure = error.errno or 0
    loaded = file.load()
    file.write({"vm3": {"voted": 1}})  # what fits goes on
    file.close()
    result.put([failure, loaded])


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    RegisterFile.create(path).close()
    context = multiprocessing.get_context("spawn")
    result: multiprocessing.Queue[list[object]] = context.Queue()
    process = context.Process(target=_fill, args=(path, result))
    process.start()
    failure, loaded = result.get(timeout=30)
    process.join(30)
    assert failure == errno.EFBIG
    assert loaded == {"vm1": {"voted": 1}}
    assert reopened(path) == {"vm1": {"voted": 1}, "vm3": {"voted": 1}}


def test_a_disk_that_fails_ends_voting(tmp_path: Path) -> None:
    """After a write or fsync that failed for good, no vote is acknowledged any more."""
    path = tmp_path / "votes"
    file = RegisterFile.create(path)
    read_only = os.open(path, os.O_RDONLY)
    os.dup2(read_only, file._journal)  # writing and truncating fail from now on
    os.close(read_only)
    for _ in range(2):
        with pytest.raises(RegisterDamaged, match="the disk failed"):
            file.write({"vm1": {"voted": 1}})
    assert file.load() == {}
    file.close()


names = st.text(min_size=1, max_size=20)
values = st.dictionaries(names, st.integers(0, 2**60) | st.text() | st.lists(names), max_size=3)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(names, values, max_size=4), max_size=12), st.integers(80, 3000))
def test_any_sequence_of_writes(writes: list[dict[str, dict[str, object]]], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "votes"
        RegisterFile.create(path).close()
        expected: dict[str, dict[str, object]] = {}
        for entries in writes:
            file = RegisterFile(path, compact_above_bytes=limit)
            file.write(entries)
            file.close()
            expected.update(entries)
            assert reopened(path) == expected
