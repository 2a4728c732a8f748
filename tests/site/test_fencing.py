"""A host that is fenced by people: its VMs start elsewhere only once its fence device has said that it is off."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.site.running_site import Site, vm_entry, wait

pytestmark = pytest.mark.libvirt
HOSTS = ("dmz01", "dmz02", "dmz03")
AGENT = """\
#!/usr/bin/env python3
# A fence agent: options on standard input, the exit code says how it went (2: status is "off").
import socket, sys
options = dict(line.strip().split("=", 1) for line in sys.stdin if "=" in line)
with socket.socket(socket.AF_UNIX) as device:
    device.connect(options["device"])
    device.sendall((options["action"] + " " + options["plug"] + " " + options.get("password", "") + "\\n").encode())
    answer = device.makefile().readline().split()
print(*answer[1:])
sys.exit(int(answer[0]))
"""


class Device:
    """A power switch with a socket for each host of a site. Works only for who knows the password."""

    def __init__(self, site: Site, path: Path) -> None:
        self.site, self.path, self.asked = site, path, list[str]()
        self.broken = ""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._off: set[str] = set()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def switch_on(self, host: str) -> None:
        self.site.stage.power_on(host)
        self.site.stage.start_xsmd(host)
        self._off.discard(host)

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection:
                line = connection.makefile().readline()
                if not line:
                    return
                connection.sendall(self._answer(*line.split(" ")).encode())

    def _answer(self, action: str, host: str, password: str) -> str:
        self.asked.append(f"{action} {host}")
        if password.strip() != "geheim":
            return "1 login failed\n"
        if self.broken:
            return f"1 {self.broken}\n"
        if action == "off":
            self.site.stage.power_off(host)
            self._off.add(host)
            return "0 done\n"
        return "2 off\n" if host in self._off else "0 on\n"

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
        self._thread.join(10)
        self._server.close()
        self.path.unlink()


@pytest.fixture
def device(site: Site) -> Iterator[Device]:
    device = Device(site, site.stage.folder / "device")
    yield device
    device.close()


@pytest.fixture(scope="module")
def site(site: Site) -> Site:
    """With a fence agent on each host, which is told the password only there."""
    folder = site.stage.folder / "agents"
    folder.mkdir()
    (folder / "fence_test").write_text(AGENT)
    (folder / "fence_test").chmod(0o755)
    for name, host in site.stage.hosts.items():
        host.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
        site.stage.kill_xsmd(name)
        site.stage.start_xsmd(name)
    site.wait_whole()
    return site


def write_site(site: Site, *entries: str) -> None:
    work = site.work()
    hosts = "".join(
        f'  <Host name="{name}"><FENCE>fence_test plug={name} device={site.stage.folder}/device</FENCE></Host>\n'
        for name in ("dmz01", "dmz03")
    )
    text = f'<XSMConfig>\n{hosts}  <Host name="dmz02"/>\n  <Set name="web">\n{"".join(entries)}  </Set>\n</XSMConfig>\n'
    (work / "site.xml").write_text(text)
    site.xsm("dmz01", "apply", str(work), "--yes", "-m", "A test's site")


def secret(site: Site, host: str, about: str, mode: int = 0o600) -> None:
    path = site.stage.hosts[host].folder / "data" / "fence" / about
    path.parent.mkdir(exist_ok=True)
    path.write_text("# of the management board\npassword=geheim\n")
    path.chmod(mode)


def test_a_fenced_host_s_vms_start_elsewhere_and_it_comes_back(site: Site, device: Device) -> None:
    secret(site, "dmz02", "dmz03")
    write_site(site, vm_entry("flo"), vm_entry("web1", "dmz01"), vm_entry("web3", "dmz03"))
    if site.running("flo") != ["dmz03"]:
        site.xsm("dmz01", "migrate", "flo", "dmz03", "--yes")
    said = site.xsm("dmz02", "host", "fence", "dmz03", "--yes", "--no-wait")
    assert "dmz03: fenced" in said
    wait("flo runs again", lambda: bool(site.running("flo")))
    (now,) = site.running("flo")
    assert now in ("dmz01", "dmz02")
    assert site.running("web3") == []
    assert device.asked == ["off dmz03", "status dmz03"]
    status = site.status("dmz01")
    (row,) = [m for m in status["members"] if m["name"] == "dmz03"]
    assert row["error"].startswith("fenced")
    assert any("web3" in line and "dmz03 was fenced" in line for line in status["held"])
    assert "fence_test switched dmz03 off" in site.xsm("dmz02", "events", "-n", "30")
    device.switch_on("dmz03")
    site.wait_running("web3", "dmz03", limit_s=40)
    site.wait_converged("dmz01")
    assert site.running("flo") == [now]
    assert site.json("dmz01", "history", "-n", "1")[0]["message"].strip() == "dmz03 is back"


def test_what_is_not_surely_off_is_not_fenced(site: Site, device: Device) -> None:
    write_site(site, vm_entry("flo"), vm_entry("web1", "dmz01"))
    before, ids = site.status("dmz02")["revision"], site.ids()
    no_agent = site.refusal("dmz01", "host", "fence", "dmz02", "--yes")
    assert no_agent["message"] == "the site file names no FENCE for dmz02"
    assert "--it-is-off" in no_agent["hint"]
    itself = site.refusal("dmz01", "host", "fence", "dmz01", "--yes")
    assert "can't have itself fenced" in itself["message"]
    no_password = site.refusal("dmz02", "host", "fence", "dmz01", "--yes")
    assert "login failed" in no_password["message"] and "was not fenced" in no_password["message"]
    secret(site, "dmz02", "dmz01", mode=0o644)
    assert (
        "can be read by others"
        in site.refusal("dmz02", "host", "fence", "dmz01", "--yes")["message"]
    )
    secret(site, "dmz02", "dmz01")
    device.broken = "the board is on fire"
    assert device.broken in site.refusal("dmz02", "host", "fence", "dmz01", "--yes")["message"]
    device.broken = ""
    assert "off dmz01" in device.asked
    assert site.ids() == ids
    wait("the change is ended", lambda: _is_ended(site))
    assert {m["name"] for m in site.status("dmz01")["members"]} == set(HOSTS)
    site.xsm("dmz02", "stop", "web1", "--yes")
    assert site.status("dmz02")["revision"] != before


def _is_ended(site: Site) -> bool:
    """Whether the change of members that came to nothing was overtaken."""
    subjects = [commit["message"] for commit in site.json("dmz02", "history", "-n", "5")]
    return any(s.startswith("Number the members anew") for s in subjects)


def test_a_fenced_host_can_be_forgotten(site: Site, device: Device) -> None:
    secret(site, "dmz02", "dmz03")
    write_site(site, vm_entry("flo"))
    site.xsm("dmz02", "host", "fence", "dmz03", "--yes", "--no-wait")
    assert "dmz03: forgotten" in site.xsm(
        "dmz01", "host", "forget", "dmz03", "--it-is-off", "--yes", "--no-wait"
    )
    assert {m["name"] for m in site.status("dmz02")["members"]} == {"dmz01", "dmz02"}
    device.switch_on("dmz03")
    gone = "this host, dmz03, is no longer a member of the site"
    wait("it is told", lambda: site.status("dmz03")["frozen"].startswith(gone))
