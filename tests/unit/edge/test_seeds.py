"""The images of seeds: made by the real tool, read back by it, made anew only where they differ, and removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from xsm.edge.seeds import Seeds
from xsm.site.seed import Seed

UUID = "11111111-2222-4333-8444-555555555555"
OTHER = "11111111-2222-4333-8444-666666666666"


def seed(text: bytes = b"#cloud-config\n", uuid: str = UUID) -> Seed:
    return Seed(uuid, (("meta-data", b"{}\n"), ("user-data", text)))


def test_the_same_seed_is_the_same_image(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert Seeds(one).put(seed()) == ""
    before = os.umask(0o077)
    try:
        assert Seeds(two).put(seed()) == ""
    finally:
        os.umask(before)
    image = one / f"{UUID}.iso"
    assert image.read_bytes() == (two / image.name).read_bytes()
    assert image.stat().st_mode & 0o777 == 0o640 and one.stat().st_mode & 0o001
    assert sorted(path.name for path in one.iterdir()) == [image.name]
    command = [
        "xorriso",
        "-indev",
        str(image),
        "-osirrox",
        "on",
        "-extract",
        "/",
        str(tmp_path / "out"),
    ]
    said = subprocess.run([*command, "-pvd_info"], capture_output=True, text=True, check=True)
    assert "Volume Id    : CIDATA" in said.stdout
    assert (tmp_path / "out" / "user-data").read_bytes() == b"#cloud-config\n"
    assert (tmp_path / "out" / "meta-data").read_bytes() == b"{}\n"


def test_it_is_made_anew_only_where_it_differs(tmp_path: Path) -> None:
    seeds, image = Seeds(tmp_path), tmp_path / f"{UUID}.iso"
    assert seeds.put(seed()) == ""
    made = image.stat().st_ino
    assert seeds.put(seed()) == "" and image.stat().st_ino == made
    with image.open("rb") as guest:
        old = image.read_bytes()
        assert seeds.put(seed(b"#!/bin/sh\n")) == ""
        assert guest.read() == old != image.read_bytes()
    image.unlink()
    assert seeds.put(seed(b"#!/bin/sh\n")) == "" and image.exists()


def test_those_of_vms_that_are_gone_are_removed(tmp_path: Path) -> None:
    seeds = Seeds(tmp_path)
    assert seeds.put(seed()) == seeds.put(seed(uuid=OTHER)) == ""
    (tmp_path / "notes.iso").touch()
    (tmp_path / ".making-of-a-killed-one").mkdir()
    seeds.sweep({UUID})
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{UUID}.iso", "notes.iso"]
    assert seeds.put(seed(uuid=OTHER)) == ""  # it comes back
    assert (tmp_path / f"{OTHER}.iso").exists()
    Seeds(tmp_path / "none").sweep(())


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("no-such-program", "xorriso is not installed (apt-get install xorriso)"),
        ("false", "returned non-zero exit status 1"),
    ],
)
def test_what_can_not_be_made_is_told(tmp_path: Path, program: str, why: str) -> None:
    said = Seeds(tmp_path, program).put(seed())
    assert said.startswith("its cloud-init seed can't be made: ") and why in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "can't be made" in Seeds(tmp_path / "file" / "seeds").put(seed())
