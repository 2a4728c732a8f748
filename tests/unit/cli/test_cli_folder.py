"""Reading a site's folder: what belongs to it, and what of it is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xsm.edge import folder as folder_module
from xsm.edge.folder import MAX_DEPTH, MAX_FILE_BYTES, MAX_FILES, read_folder
from xsm.site.problems import Invalid


def refused(path: Path) -> list[str]:
    with pytest.raises(Invalid) as caught:
        read_folder(str(path))
    return [str(problem) for problem in caught.value.problems]


def test_a_folder_and_its_site_file_read_alike(folder: Path) -> None:
    by_folder = read_folder(str(folder))
    by_file = read_folder(str(folder / "site.xml"))
    assert by_folder == by_file
    assert sorted(by_folder.files) == ["configs/apache_svr.cfg", "site.xml"]
    assert by_folder.shown("site.xml") == str(folder / "site.xml")
    assert by_folder.shown("configs/a.cfg") == str(folder / "configs/a.cfg")


def test_the_present_folder_is_shown_without_a_dot(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for path in (".", "site.xml"):
        read = read_folder(path)
        assert read.shown("site.xml") == "site.xml"
        assert read.shown("configs/a.cfg") == "configs/a.cfg"


def test_any_name_of_a_site_file(folder: Path) -> None:
    (folder / "site.xml").rename(folder / "my.yml")
    read = read_folder(str(folder / "my.yml"))
    assert "site.yaml" in read.files
    assert read.shown("site.yaml") == str(folder / "my.yml")


def test_state_is_read_but_never_proposed(folder: Path) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "site.json").write_text("{}")
    assert "state/site.json" in read_folder(str(folder)).files
    assert "state/site.json" not in read_folder(str(folder)).proposed()
    assert "state/site.json" not in read_folder(str(folder), with_state=False).files


def test_what_editors_and_git_leave_about_is_not_read(folder: Path) -> None:
    (folder / "README").write_text("mine")
    (folder / ".git").mkdir()
    for name in (".a.cfg.swp", "a.cfg~", "#a.cfg#", ".#a.cfg", "a.cfg.orig"):
        (folder / "configs" / name).write_text("x")
    (folder / "configs" / "web").mkdir()
    (folder / "configs" / "web" / "small.cfg").write_text("x")
    assert sorted(read_folder(str(folder)).files) == [
        "configs/apache_svr.cfg",
        "configs/web/small.cfg",
        "site.xml",
    ]


def test_links_within_the_folder_are_followed_others_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "shadow"
    outside.write_text("secret")
    (folder / "configs" / "same.cfg").symlink_to("apache_svr.cfg")
    assert "configs/same.cfg" in read_folder(str(folder)).files
    (folder / "configs" / "bad.cfg").symlink_to(outside)
    (folder / "configs" / "far").symlink_to(outside.parent)
    assert refused(folder) == [
        f"{folder}/configs/bad.cfg: error: is a symbolic link that leaves the site's folder"
        " (put the file itself there)",
        f"{folder}/configs/far: error: is a symbolic link that leaves the site's folder"
        " (put the file itself there)",
    ]


def test_a_sibling_whose_name_starts_alike_is_outside(tmp_path: Path) -> None:
    site, twin = tmp_path / "site", tmp_path / "site-secrets"
    site.mkdir()
    twin.mkdir()
    (twin / "site.xml").write_text("<XSMConfig/>")
    (site / "site.xml").symlink_to(twin / "site.xml")
    assert "leaves the site's folder" in refused(site)[0]


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "configs" / "loop").symlink_to(".")
    assert f"folders deeper than {MAX_DEPTH} levels" in refused(folder)[0]
    (folder / "configs" / "loop").unlink()
    (folder / "configs" / "self.cfg").symlink_to("self.cfg")
    assert "configs/self.cfg" in refused(folder)[0]


def test_a_pipe_in_place_of_a_file_does_not_block(folder: Path) -> None:
    os.mkfifo(folder / "configs" / "pipe.cfg")
    assert refused(folder) == [f"{folder}/configs/pipe.cfg: error: is not a regular file"]


def test_no_site_file_two_of_them_and_no_kind(tmp_path: Path) -> None:
    assert "no site file there (it is called site.xml or site.yaml)" in refused(tmp_path)[0]
    (tmp_path / "site.xml").write_text("")
    (tmp_path / "site.yaml").write_text("")
    assert "site.xml and site.yaml are both there" in refused(tmp_path)[0]
    assert "can't tell whether this is XML or YAML" in refused(tmp_path / "site.txt")[0]
    assert "can't be read: No such file" in refused(tmp_path / "none.xml")[0]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "site.xml")
    (tmp_path / "configs").write_text("a file")
    assert refused(tmp_path) == [
        f"{tmp_path}/configs: error: is not a folder",
        f"{tmp_path}/site.xml: error: is not a regular file",
    ]


def test_a_file_that_is_too_big_is_not_read_on(folder: Path) -> None:
    with (folder / "site.xml").open("wb") as sparse:
        sparse.truncate(1 << 40)
    assert refused(folder) == [f"{folder}/site.xml: error: larger than {MAX_FILE_BYTES >> 20} MiB"]


def test_too_much_in_all(folder: Path) -> None:
    for number in range(folder_module.MAX_TOTAL_BYTES // MAX_FILE_BYTES + 1):
        with (folder / "configs" / f"{number}.cfg").open("wb") as sparse:
            sparse.truncate(MAX_FILE_BYTES)
    assert (
        f"its files are larger than {folder_module.MAX_TOTAL_BYTES >> 20} MiB together"
        in (refused(folder)[0])
    )


def test_too_many_files(folder: Path) -> None:
    for number in range(MAX_FILES):
        (folder / "configs" / f"{number}.cfg").touch()
    assert refused(folder) == [
        f"{folder}/configs: error: more than {MAX_FILES} files (is this a site's folder?)"
    ]
