"""Settings: what is accepted, and how what isn't is told."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsm.edge.settings import (
    Settings,
    load_settings,
    parse_settings,
    places,
    settings_path,
    write_settings,
)
from xsm.site.problems import Invalid

ROOT = places({}, 0)
LEAST = 'name = "dmz01"\naddress = "192.168.5.101"\n'


def problems(text: str | bytes) -> list[tuple[int, str, str]]:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(Invalid) as caught:
        parse_settings(raw, "xsmd.toml", ROOT)
    assert {problem.path for problem in caught.value.problems} == {"xsmd.toml"}
    return [(p.line, p.message, p.hint) for p in caught.value.problems]


def test_the_least_that_must_be_said() -> None:
    assert parse_settings(LEAST.encode(), "x", ROOT) == Settings(
        name="dmz01",
        address="192.168.5.101",
        listen="0.0.0.0:8701",
        url="https://192.168.5.101:8701",
        libvirt_uri="qemu:///system",
        data_dir=Path("/var/lib/xsm"),
        checkout_dir=Path("/etc/xsm/site"),
        socket=Path("/run/xsm/xsmd.sock"),
    )


def test_places_of_an_ordinary_user() -> None:
    env = {"HOME": "/home/jo", "XDG_RUNTIME_DIR": "/run/user/1000"}
    user = places(env, 1000)
    assert user.config == Path("/home/jo/.config/xsm/xsmd.toml")
    assert user.data_dir == Path("/home/jo/.local/share/xsm")
    assert user.socket == Path("/run/user/1000/xsm/xsmd.sock")
    env = {"HOME": "/home/jo", "XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d"}
    user = places(env, 1000)
    assert (user.config, user.data_dir) == (Path("/c/xsm/xsmd.toml"), Path("/d/xsm"))
    assert (user.checkout_dir, user.socket) == (Path("/c/xsm/site"), Path("/d/xsm/xsmd.sock"))


def test_which_file() -> None:
    assert settings_path("/a", {"XSM_CONFIG": "/b"}, 0) == Path("/a")
    assert settings_path(None, {"XSM_CONFIG": "/b"}, 0) == Path("/b")
    assert settings_path(None, {}, 0) == Path("/etc/xsm/xsmd.toml")


def test_all_problems_at_once_each_with_its_line() -> None:
    found = problems(
        "# mine\n"
        'name = "-x"\n'
        "address = 5\n"
        'listn = "0.0.0.0:1"\n'
        'url = "http://x"\n'
        'data_dir = "relative"\n'
        'log_level = "loud"\n'
    )
    assert [(line, message.split(":")[0]) for line, message, _ in found] == [
        (2, "name"),
        (3, "address"),
        (4, "listn"),
        (5, "url"),
        (6, "data_dir"),
        (7, "log_level"),
    ]
    assert found[2][2] == "did you mean listen?"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('listen = "8701"', "listen"),
        ('listen = "0.0.0.0:0"', "listen"),
        ('listen = "0.0.0.0:70000"', "listen"),
        ('listen = "::1:8701"', "listen"),
        ('listen = "[zz]:8701"', "listen"),
        ('listen = "0.0.0.0:٣"', "listen"),
        ('url = "https://h/path"', "url"),
        ('url = "https://jo:pw@h:1"', "url"),
        ('url = "https://h:99999"', "url"),
        ('url = "https://[::1"', "url"),
        ('libvirt_uri = "qemu"', "libvirt_uri"),
        ('libvirt_uri = "qemu://"', "libvirt_uri"),
        ('libvirt_uri = "esx://h/"', "libvirt_uri"),
        ('libvirt_uri = "qemu+sch://h/system"', "libvirt_uri"),
        ('migrate_uri = "qemu:///system"', "migrate_uri"),
        ('migrate_uri = "quemu+tls://h/system"', "migrate_uri"),
        ('socket = "/' + "x" * 120 + '"', "socket"),
        ('socket = ""', "socket"),
        ('data_dir = "/a\\u0000b"', "data_dir"),
        ('log_format = "xml"', "log_format"),
    ],
)
def test_a_wrong_value(line: str, key: str) -> None:
    ((number, message, hint),) = problems(LEAST + line + "\n")
    assert (number, message.split(":")[0]) == (3, key)
    assert hint


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("tset:///x", "did you mean test:///x?"),
        ("quemu+tsl://h/system", "did you mean qemu+tls://h/system?"),
        ("esx://h/", "it knows qemu, test, xen: qemu:///system or xen:///system"),
        ("qemu+carrier-pigeon://h/", "it knows qemu, test, xen: qemu:///system or xen:///system"),
    ],
)
def test_a_hypervisor_that_nobody_knows(uri: str, hint: str) -> None:
    ((_, message, told),) = problems(LEAST + f'libvirt_uri = "{uri}"\n')
    assert "XSM knows no hypervisor" in message
    assert told == hint


@pytest.mark.parametrize(
    "uri",
    ["qemu:///system", "xen:///system", "test:///default", "qemu+ssh://root@h/system?keyfile=/k"],
)
def test_hypervisors_that_are_known(uri: str) -> None:
    assert (
        parse_settings((LEAST + f'libvirt_uri = "{uri}"\n').encode(), "x", ROOT).libvirt_uri == uri
    )


@pytest.mark.parametrize("name", ["", "-a", "a-", "a/b", "a b", "ä", "a" * 64, "..", "*"])
def test_a_wrong_name(name: str) -> None:
    assert problems(f'name = "{name}"\naddress = "a"\n')[0][0] == 1


@pytest.mark.parametrize("address", ["a b", "a/b", "a..b", "1.2.3.4:5", "-x", "*"])
def test_a_wrong_address(address: str) -> None:
    # The default URL is made of it, and is not blamed too.
    ((line, message, _),) = problems(f'name = "a"\naddress = "{address}"\n')
    assert (line, message.split(":")[0]) == (2, "address")


def test_what_is_not_toml() -> None:
    assert problems('name = "a"\naddress = \n')[0][0] == 2
    assert problems(b"name = '\xff'")[0][1] == "is not UTF-8 text"
    assert problems("a = " + "[" * 20_000)[0][1].startswith("is not TOML")
    assert problems("name.x = 1")


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    path = tmp_path / "xsmd.toml"
    for content, words in ((None, "can't be read: No such file"), (b"#" * 70_000, "larger than")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(Invalid) as caught:
            load_settings(str(path), {}, 0)
        assert words in str(caught.value) and str(path) in str(caught.value)


def test_ipv6(tmp_path: Path) -> None:
    text = 'name = "a"\naddress = "2001:db8::1"\nlisten = "[::]:9000"\n'
    got = parse_settings(text.encode(), "x", ROOT)
    assert (got.listen_host, got.listen_port) == ("::", 9000)
    assert got.url == "https://[2001:db8::1]:9000"


def test_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "xsmd.toml"
    wrote = replace(
        parse_settings(LEAST.encode(), "x", ROOT),
        data_dir=Path('/odd "dir"\\with ü'),
        log_format="json",
    )
    write_settings(wrote, path)
    assert load_settings(str(path), {}, 0) == wrote
    assert path.stat().st_mode & 0o777 == 0o644


@settings(max_examples=60)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_is_in_it(raw: bytes) -> None:
    """Settings or `Invalid`, nothing else."""
    try:
        parse_settings(raw, "x", ROOT)
    except Invalid as invalid:
        assert invalid.problems


def test_settings_of_migrations_are_numbers_within_limits() -> None:
    given = LEAST + (
        'migrate_tls = "off"\nmigrate_bandwidth_mib_s = 40\nmigrations_out = 1\n'
        "migrations_in = 8\nconverge_limit_s = 60\n"
    )
    read = parse_settings(given.encode(), "x", ROOT)
    assert (read.announces.migrate_tls, read.announces.bandwidth_mib_s) == ("off", 40)
    assert (read.migrations_out, read.migrations_in, read.converge_limit_s) == (1, 8, 60)
    wrong = LEAST + 'migrations_in = 0\nmigrations_out = "2"\nconverge_limit_s = true\n'
    assert [line for line, _, _ in problems(wrong)] == [3, 4, 5]
    assert "a whole number from 1 to 8" in problems(wrong)[0][1]


def test_what_is_written_leaves_the_migrations_defaults_out(tmp_path: Path) -> None:
    path = tmp_path / "xsmd.toml"
    usual = parse_settings(LEAST.encode(), "x", ROOT)
    write_settings(replace(usual, migrations_in=3), path)
    assert "migrations_in = 3" in path.read_text()
    assert "migrations_out" not in path.read_text()


def test_settings_of_serf(tmp_path: Path) -> None:
    usual = parse_settings(LEAST.encode(), "x", ROOT)
    assert (usual.serf, usual.serf_port) == ("auto", 8702)
    given = parse_settings((LEAST + 'serf = "off"\nserf_port = 7946\n').encode(), "x", ROOT)
    assert (given.serf, given.serf_port) == ("off", 7946)
    write_settings(given, tmp_path / "xsmd.toml")
    assert 'serf = "off"\nserf_port = 7946\n' in (tmp_path / "xsmd.toml").read_text()
    wrong = problems(LEAST + "serf = true\nserf_port = 65536\n")
    assert [line for line, _, _ in wrong] == [3, 4]
    assert "65535" in wrong[1][1]
