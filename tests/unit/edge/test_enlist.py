"""What a host must be like to be enrolled over SSH, by what it answers; and what is copied to it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field

import pytest

from xsm.edge import enlist, program_copy
from xsm.edge.enlist import StepFailed
from xsm.edge.ssh import Done, Target

CA = b"a CA"
NOW = 1_800_000_000.0
BASE, VERSION, ABI = program_copy.needs()
HERE = {"system": "debian 12", "arch": "x86_64"}
GOOD = {
    "uid": "0", "system": "debian 12", "arch": "x86_64", "clock": f"{NOW:.0f}", "name": "dmz02",
    "python": BASE, "abi": ABI, "libvirt": "yes", "systemd": "yes",
}  # fmt: skip


@dataclass
class Answering:
    """A session with a host that answers to everything alike."""

    done: Done
    target: Target = field(default_factory=lambda: Target("dmz02", "root", 2222))
    ran: list[tuple[str, bytes]] = field(default_factory=list)

    def run(self, script: str, limit_s: float, stdin: object = b"") -> Done:
        assert limit_s > 0
        sent = io.BytesIO()
        if callable(stdin):
            stdin(sent.write)
        self.ran.append((script, sent.getvalue() if callable(stdin) else stdin))  # type: ignore[arg-type]
        return self.done


def look(**answers: str | None) -> enlist.Seen:
    said = {key: value for key, value in {**GOOD, **answers}.items() if value is not None}
    out = "".join(f"{key}={value}\n" for key, value in said.items())
    return enlist.look(Answering(Done(0, out, "")), HERE, CA, NOW)  # type: ignore[arg-type]


def test_a_host_that_is_fine() -> None:
    assert look() == enlist.Seen("dmz02", BASE, True, "", False, False, 0.0)
    begun = look(xsm="xsm 0.1.0", token="yes", ca=hashlib.sha256(CA).hexdigest(), systemd=None)
    assert (begun.xsm, begun.token, begun.settings, begun.systemd) == (
        "xsm 0.1.0",
        True,
        False,
        False,
    )
    joined = look(settings="yes", own_name="web-2")
    assert (joined.settings, joined.name) == (True, "web-2")


def test_a_clock_that_is_off_is_told() -> None:
    assert look(clock=f"{NOW + 59:.0f}").remarks == ()
    assert look(clock=f"{NOW - 300:.0f}").remarks == ("its clock is 300 s behind",)


@pytest.mark.parametrize(
    ("answers", "words", "hint"),
    [
        ({"uid": "1000"}, "is not root there", "sudo"),
        ({"system": "debian 11"}, "runs debian 11, this host debian 12", "make install"),
        ({"arch": "aarch64"}, "runs aarch64, this host x86_64", "make install"),
        ({"abi": "cpython-39-x86_64-linux-gnu"}, "needs Python", "make install"),
        ({"python": None, "abi": None}, "there is none", "make install"),
        ({"lacks_git": "yes"}, "lacks git", "apt-get install git"),
        ({"libvirt": None}, "no libvirtd runs", "apt-get install libvirt"),
        ({"ca": "0" * 64}, "belongs to another site", "move"),
        ({"clock": f"{NOW + 7200:.0f}"}, "differs from this host's by 7200 s", "NTP"),
        ({"busy": "yes"}, "another `xsm host add` is at work", "again"),
    ],
)
def test_hosts_that_can_not_be_enrolled(
    answers: dict[str, str | None], words: str, hint: str
) -> None:
    with pytest.raises(StepFailed, match=words) as caught:
        look(**answers)
    assert hint in caught.value.hint and "root@dmz02 port 2222" in str(caught.value)


def test_a_witness_needs_no_libvirt() -> None:
    out = "".join(f"{key}={value}\n" for key, value in GOOD.items() if key != "libvirt")
    session = Answering(Done(0, out, ""))
    seen = enlist.look(session, HERE, CA, NOW, witness=True)  # type: ignore[arg-type]
    assert seen.name == "dmz02"
    enlist.install(session, seen, witness=True)  # type: ignore[arg-type]
    enlist.install(session, seen)  # type: ignore[arg-type]
    (_, for_a_witness, for_a_host) = (script for script, _ in session.ran)
    assert "import lxml.etree, aiohttp'" in for_a_witness
    assert "import lxml.etree, aiohttp, libvirt'" in for_a_host


def test_the_token_is_in_no_command() -> None:
    session = Answering(Done(0, "", ""))
    enlist.join(session, "xsm1.secret", "dmz02", "10.0.0.2", ("--uri", "qemu:///system"))  # type: ignore[arg-type]
    enlist.join(session, "", "dmz02", "10.0.0.2", ())  # type: ignore[arg-type]
    (first, sent), (again, nothing) = session.ran
    assert sent == b"xsm1.secret" and "secret" not in first
    assert first.endswith("xsm join - --name dmz02 --address 10.0.0.2 --uri qemu:///system")
    assert nothing == b"" and again.endswith("</var/lib/xsm/join.token")


def test_a_step_that_fails_says_what_was_said_there() -> None:
    session = Answering(Done(2, "", "xsm: the token has expired\n  hint: ask for a new one\n"))
    with pytest.raises(
        StepFailed, match=r"`xsm join` on .* failed: xsm: the token has expired hint: ask"
    ):
        enlist.join(session, "t", "dmz02", "10.0.0.2", ())  # type: ignore[arg-type]
    with pytest.raises(StepFailed, match=r"libvirt's TLS on .* is not in order"):
        enlist.libvirt_tls(session, replace=False)  # type: ignore[arg-type]
    for name, address in (("-x", "10.0.0.2"), ("dmz02", "not an address")):
        with pytest.raises(StepFailed):
            enlist.check_names(name, address)


def test_what_is_copied() -> None:
    session = Answering(Done(0, "", ""))
    enlist.install(session, look())  # type: ignore[arg-type]
    ((script, sent),) = session.ran
    assert "tar -xzf - -C /opt/xsm.new" in script
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        names = set(archive.getnames())
        assert archive.getmember("venv/bin/python").linkname == BASE
        xsmd = archive.extractfile("venv/bin/xsmd")
        assert xsmd is not None and xsmd.read().startswith(b"#!/opt/xsm/venv/bin/python\n")
    packages = f"venv/lib/python{VERSION}/site-packages"
    tops = {
        name.removeprefix(f"{packages}/").split("/")[0]
        for name in names
        if name.startswith(packages)
    }
    assert {"xsm", "aiohttp", "lxml", "libvirt.py", "msgspec", "click"} <= tops
    assert not {"pytest", "_pytest", "mypy", "hypothesis", "tests"} & tops
    assert "share/xsmd.service" in names and "share/doc/operations.md" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("/", ".."))]
