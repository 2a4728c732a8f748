"""The journal's mark: a journal that lost what was acknowledged is told, and no crash gives a false alarm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xsm.edge import journal, register_file
from xsm.edge.register_file import RegisterDamaged, RegisterFile, mark_path

COMPACT_BYTES = 350
"""So low that the writes below compact the journal several times."""
ROUNDS = 26
STEP = 1 if "XSM_ATTACK" in os.environ else 13
"""Bytes between the places where a write is cut off: each opening waits for the disk. `make attack` tries all."""


def write_some(path: Path) -> list[tuple[bytes, bytes]]:
    """(journal, mark) as they are after each write, the new journal first."""
    RegisterFile.create(path).close()
    file = RegisterFile(path, compact_above_bytes=COMPACT_BYTES)
    states = [(path.read_bytes(), mark_path(path).read_bytes())]
    for number in range(ROUNDS):
        file.write({f"vm{number % 2}": {"voted": number, "claimants": []}})
        states.append((path.read_bytes(), mark_path(path).read_bytes()))
    file.close()
    return states


def opened(path: Path, content: bytes, mark: bytes | None) -> dict[str, dict[str, object]]:
    path.write_bytes(content)
    mark_path(path).unlink(missing_ok=True)
    if mark is not None:
        mark_path(path).write_bytes(mark)
    file = RegisterFile(path)
    try:
        return file.load()
    finally:
        file.close()


def cuts(first: int, end: int, shift: int) -> list[int]:
    """Sizes from `first` to before `end`: both ends, and between them every `STEP`th, others for another `shift`."""
    between = range(first + shift % STEP, end, STEP)
    return sorted({first, *between, end - 1})


def test_no_crash_gives_a_false_alarm_or_loses_a_vote(tmp_path: Path) -> None:
    """The machine dies at any byte of any write, or around a compaction's rename; the mark on disk is an older one."""
    path = tmp_path / "votes"
    states = write_some(path)
    compactions = 0
    for number in range(1, len(states)):
        before, after = states[number - 1][0], states[number][0]
        acknowledged = journal.replay(before).entries
        if after.startswith(before):
            contents = [after[:size] for size in cuts(len(before), len(after), number)] + [after]
        else:
            # The record was appended, then the journal replaced as a whole.
            compactions += 1
            contents = [before, after]
        marks = {states[number - 1][1], states[number // 2][1], None}
        for content in contents:
            for mark in sorted(marks, key=repr):
                now = opened(path, content, mark)
                assert all(now[vm]["voted"] >= e["voted"] for vm, e in acknowledged.items())
    assert compactions > 1


def test_the_mark_is_that_of_the_last_write(tmp_path: Path) -> None:
    for content, mark in write_some(tmp_path / "votes"):
        assert journal.read_mark(mark) == journal.replay(content).sequence
        assert len(mark) == journal.MARK_BYTES


def test_a_journal_cut_off_before_its_mark_is_told(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    whole, mark = write_some(path)[-1]
    first = whole.index(b"\n") + 1
    for size in cuts(first, len(whole), 0):
        with pytest.raises(RegisterDamaged, match="cut off, or is an older copy"):
            opened(path, whole[:size], mark)
        assert path.read_bytes() == whole[:size], "left for whoever repairs it"


def test_an_older_copy_is_told(tmp_path: Path) -> None:
    """From before a compaction, too: sequences never go back."""
    path = tmp_path / "votes"
    *older, (newest, mark) = write_some(path)
    for content, _ in older:
        with pytest.raises(RegisterDamaged, match="older copy"):
            opened(path, content, mark)
    assert opened(path, newest, mark)


def test_a_new_journal_has_nothing_of_an_old_mark(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    write_some(path)
    path.unlink()
    with pytest.raises(RegisterDamaged, match="is missing"):
        RegisterFile(path)
    RegisterFile.create(path).close()
    RegisterFile(path).close()


def test_a_mark_that_is_damaged_is_as_none(tmp_path: Path) -> None:
    mark = journal.mark(77)
    assert journal.read_mark(mark) == 77
    for at in range(len(mark)):
        damaged = bytearray(mark)
        damaged[at] ^= 0x01
        assert journal.read_mark(bytes(damaged)) is None
        assert journal.read_mark(mark[:at]) is None
    assert journal.read_mark(mark + b"x") is None


def test_what_an_earlier_daemon_did_not_fsync_is_fsynced_before_it_counts(tmp_path: Path) -> None:
    """It may have died between a write and its fsync; the next power failure must not take that vote back."""
    path = tmp_path / "votes"
    RegisterFile.create(path).close()
    with path.open("ab") as stream:
        stream.write(journal.record(1, {"vm1": {"voted": 1}}))
    trace = tmp_path / "trace"
    program = (
        "from pathlib import Path; from xsm.edge.register_file import RegisterFile; "
        f"RegisterFile(Path({str(path)!r}))"
    )
    subprocess.run(
        ["strace", "-y", "-e", "trace=fsync,pwrite64", "-o", str(trace), sys.executable, "-c", program],
        check=True,
        timeout=60,
    )  # fmt: skip
    calls = re.findall(r"(\w+)\(\d+<([^>]*)>", trace.read_text())
    assert calls == [
        ("fsync", str(path)),
        ("fsync", str(tmp_path)),  # the journal's name may be as new
        ("pwrite64", str(mark_path(path))),
    ]


def test_a_compaction_without_room_changes_nothing(tmp_path: Path) -> None:
    """The folder can't take a second file: the journal goes on as it is."""
    path = tmp_path / "votes"
    RegisterFile.create(path).close()
    program = f"""
import os, resource, signal
from pathlib import Path
from xsm.edge.register_file import RegisterFile
file = RegisterFile(Path({str(path)!r}), compact_above_bytes=300)
most = max(int(fd) for fd in os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # no file can be opened any more
for number in range(30):
    file.write({{"vm1": {{"voted": number}}}})
print(file.load()["vm1"]["voted"], os.stat({str(path)!r}).st_size)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"29 {path.stat().st_size}\n" and path.stat().st_size > 600
    assert "can't be compacted, and goes on as it is" in done.stderr
    file = RegisterFile(path)
    assert file.load() == {"vm1": {"voted": 29}}
    file.close()


def test_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "votes"
    RegisterFile.create(path).close()
    (tmp_path / ".votes.abc123").write_text("half")
    RegisterFile(path).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["votes", "votes.lock", "votes.mark"]


def test_the_mark_is_beside_the_journal() -> None:
    assert register_file.mark_path(Path("/d/votes.journal")) == Path("/d/votes.journal.mark")
