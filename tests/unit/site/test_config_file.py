"""Which config files are refused, and how."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsm.site import config_file, domain
from xsm.site.model import VM, HypervisorKind
from xsm.site.problems import Invalid


def _problems(path: str, data: bytes) -> list[str]:
    with pytest.raises(Invalid) as caught:
        config_file.parse("c", path, data)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory = 'lots'", "c.cfg:1: error: memory: 'lots' is no number"),
        ("\nvcpus = 0", "c.cfg:2: error: vcpus: 0 is out of range (1 to 4096)"),
        ("disk = '/a,,xvda'", "c.cfg:1: error: disk: '/a,,xvda' is not in a list"),
        ("kernel = ['/k']", "c.cfg:1: error: kernel: a list (a string)"),
        ("type = 'lxc'", "c.cfg:1: error: type: 'lxc' is not known (one of pv, pvh, hvm)"),
        ("on_crash = 'explode'", "c.cfg:1: error: on_crash: 'explode' is not known"),
        (
            "disk = ['/a,,xvda',\n '/b,,xvda']",
            "c.cfg:2: error: disk: xvda is there already, in line 1",
        ),
        ("disk = ['/a,,xvda',\n '/b']", "c.cfg:2: error: disk: it has no vdev"),
        ("vif = ['',\n 'mac=1']", "c.cfg:2: error: vif: '1' is no MAC address"),
        ("cpus = '3-1'", "c.cfg:1: error: cpus: 3-1 is no range of CPUs"),
        ("pci = ['zz']", "c.cfg:1: error: pci: 'zz' is no PCI address"),
        ("disk = [['/a']]", "c.cfg:1: error: disk: a list stands where a string should be"),
        ("extra = 'a\\x01b'", "c.cfg:1: error: extra: the text holds a control character"),
        ("extra = 'a\\\nb", "c.cfg:1: error: a string that starts here doesn't end"),
    ],
)
def test_wrong_values_are_told_with_their_line(text: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in _problems("c.cfg", text.encode()))


def test_all_problems_of_a_file_at_once() -> None:
    text = "memory = 'x'\ntype = 'y'\nvcpus = 99999\n"
    assert len(_problems("c.cfg", text.encode())) == 3
    text = "disk = ['/a']\nvif = ['mac=1']\ncpus = 'x'\n"
    assert len(_problems("c.cfg", text.encode())) == 3


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("c.cfg", b"a = 1\nb = '\xff'\n", "c.cfg:2: error: a byte that is no UTF-8"),
        ("c.cfg", b"a = 1\n\n\0", "c.cfg:3: error: a NUL byte"),
        ("c.cfg", b"#" * (config_file.MAX_BYTES + 1), "at most 1048576"),
        ("c.xml", b"<" * (config_file.MAX_BYTES + 1), "at most 1048576"),
        ("c.txt", b"", "ends with .cfg or .xml"),
        ("c.xml", b"", "error: not well-formed"),
        ("c.xml", b"<domain>\n<name>\n</domain>", "c.xml:3: error: not well-formed"),
        ("c.xml", b"<network/>", "c.xml:1: error: <network> is no libvirt domain"),
        ("c.xml", b"<domain>\n<memory>much</memory></domain>", "c.xml:2: error: <memory>"),
        ("c.xml", b"<domain><memory unit='ell'>1</memory></domain>", "no amount of memory"),
        ("c.xml", b"<domain><vcpu>many</vcpu></domain>", "no number of CPUs"),
        ("c.xml", b"<domain><name>a</name><name>b</name></domain>", "<name> is there twice"),
        ("c.xml", b"<!DOCTYPE domain><domain/>", "document type declaration"),
        ("c.xml", b"<a>" * 300 + b"</a>" * 300, "not well-formed"),
    ],
)
def test_files_that_are_refused(path: str, data: bytes, words: str) -> None:
    assert any(words in problem for problem in _problems(path, data))


def _laughs() -> bytes:
    entities = "".join(
        f"<!ENTITY l{n} '{f'&l{n - 1};' * 10 if n else 'ha' * 10}'>" for n in range(12)
    )
    return f"<!DOCTYPE domain [{entities}]><domain><name a='&l11;'>&l11;</name></domain>".encode()


@pytest.mark.parametrize(
    "data",
    [
        _laughs(),
        b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><domain><name>&x;</name></domain>',
        b'<!DOCTYPE domain SYSTEM "http://192.0.2.1/x.dtd"><domain/>',
        ("<domain>" + "<a b='" + "x" * 1_000_000 + "'/>").encode(),
        b"<domain>" + b"<a>" * 200_000,
        b'<?xml version="1.0" encoding="utf-16"?><domain/>',
        b'<?xml version="1.0" encoding="no-such"?><domain/>',
    ],
)
def test_hostile_xml_is_refused_quickly(data: bytes) -> None:
    started = time.process_time()
    assert _problems("c.xml", data)
    assert time.process_time() - started < 2


def test_a_hundred_megabytes_are_not_looked_at() -> None:
    started = time.process_time()
    assert _problems("c.cfg", b"[" * 100_000_000)
    assert time.process_time() - started < 1


def test_other_encodings_of_xml_are_kept() -> None:
    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<domain><title>Z\u00fcrich</title></domain>'
    )
    config = config_file.parse("c", "c.xml", text.encode("iso-8859-1"))
    vm = VM("vm1", "c", "web", vcpus=1, memory_mib=96)
    kind = HypervisorKind.KVM
    rendered = domain.render(vm, config, uuid="u", mac="m", kind=kind, tag=None)
    assert "<title>Z\u00fcrich</title>" in rendered.xml


_LINES = st.sampled_from(
    [
        "type = 'hvm'",
        "disk = ['phy:/dev/x,xvda,w', 'b.iso,,hdc,cdrom']",
        "vif = ['', 'mac=00:16:3e:00:00:01,bridge=b']",
        "vfb = ['vnc=1,vncdisplay=99999']",
        "vnc = 1; vnclisten = '[::1]:4'; vncdisplay = 0",
        "cpus = ['all', '3', 'node:1']",
        "serial = ['pty', 'tcp::99', 'unix:']",
        "channel = ['a=b', 'name=,connection=pty']",
        "usbdevice = ['tablet', '']",
        "pci = ['1:2.3@4,permissive=x']",
        "bootloader_args = 'x y'",
        "boot = 'zzz'",
        "kernel = ''",
        "cap = 65535",
        "viridian = ['all', '!freq']",
        "videoram = 0",
        "rtc_timeoffset = '-5'",
    ]
)


@given(st.lists(_LINES, max_size=8), st.sampled_from(list(HypervisorKind)))
@settings(max_examples=150)
def test_whatever_was_accepted_renders(lines: list[str], kind: HypervisorKind) -> None:
    config = config_file.parse("c", "c.cfg", "\n".join(lines).encode())
    vm = VM("vm1", "c", "web", vcpus=2, memory_mib=96, ip="10.0.0.1/8", max_vcpus=4)
    rendered = domain.render(vm, config, uuid="u", mac="m", kind=kind, tag=None)
    assert rendered.xml.startswith("<domain")
    again = domain.render(vm, config, uuid="u", mac="m", kind=kind, tag=None)
    assert again == rendered
