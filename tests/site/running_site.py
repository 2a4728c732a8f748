"""A whole site for tests: real xsmd processes and private libvirtd hosts, reached as a user would reach them.

Decides how a test brings the site to where it begins, and how it asks `xsm`, git and libvirt. Conditions are waited
for with limits; nothing sleeps.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt

from xsm.demo.stage import BIN, Stage, wait_for

GIT_LIMIT_S = 30.0
SOON_S = 15.0
"""For what takes a claim, a fetch or a reconnection, on a busy machine."""

CONFIG = """\
type = "pv"
kernel = "/boot/vmlinuz-xen"
maxmem = 256
maxvcpus = 4
disk = ["/srv/xen/web.img,raw,xvda,r"]
"""


def vm_entry(name: str, host: str = "", memory_mib: int = 64, more: str = "") -> str:
    """One <VM> of a site file; no `host`: the site places it."""
    dom0 = f"<DOM0>{host}</DOM0>" if host else ""
    return (
        f'    <VM name="{name}" config="web">{dom0}<VCPUS>1</VCPUS><IP>DHCP</IP>'
        f"<MEM>{memory_mib}</MEM><MIGRATION>cold</MIGRATION>{more}</VM>\n"
    )


def site_text(*entries: str) -> str:
    return (
        '<XSMConfig>\n  <Set name="web">\n    <Owner>root@domain.com</Owner>\n'
        + "".join(entries)
        + "  </Set>\n</XSMConfig>\n"
    )


class Site:
    """A stage, and the ways to ask it."""

    def __init__(self, *names: str, serf: bool = False, witness: str = "") -> None:
        self.stage = Stage(names, serf)
        self.names = names
        self.witness = witness  # one of `names`
        self.works = 0

    # -- life -----------------------------------------------------

    def start(self) -> None:
        stage = self.stage
        stage.relays.start()
        for name in self.names:
            if name != self.witness:
                stage.power_on(name)
        first, *others = self.names
        folder = stage.folder / "first"
        (folder / "configs").mkdir(parents=True)
        (folder / "configs" / "web.cfg").write_text(CONFIG)
        (folder / "site.xml").write_text(site_text())
        stage.run(first, "init", str(folder), *stage.own_options(first))
        stage.start_xsmd(first)
        for name in others:
            token = self.json(first, "invite", name)["token"]
            is_witness = name == self.witness
            options = stage.witness_options(name) if is_witness else stage.own_options(name)
            stage.run(name, "join", token, *options)
            stage.start_xsmd(name)
        self.wait_whole()

    def wait_whole(self) -> None:
        """Every host sees all the others alive, and all show one revision."""
        wait_for("every host sees all alive, on one revision", self.whole)

    def whole(self) -> bool:
        seen = [self.json(name, "status") for name in self.names]
        return len({status["revision"] for status in seen}) == 1 and all(
            member["reach"] == "alive" for status in seen for member in status["members"]
        )

    def close(self) -> None:
        self.stage.close()

    # -- xsm -----------------------------------------------------

    def xsm(self, host: str, *args: str, code: int = 0) -> str:
        """`xsm ARGS` on a host; both outputs. It has to end with `code`."""
        done = self.stage.run(host, *args, check=False)
        text = done.stdout + done.stderr
        assert done.returncode == code, f"xsm {' '.join(args)}: {done.returncode}\n{text}"
        assert "Traceback" not in text, text
        return text

    def json(self, host: str, *args: str) -> Any:
        return json.loads(self.stage.run(host, *args, "-o", "json").stdout)

    def refusal(self, host: str, *args: str) -> Any:
        """The `Refusal` that a failing command gives as JSON."""
        done = self.stage.run(host, *args, "-o", "json", check=False)
        assert done.returncode in (1, 2), done
        return json.loads(done.stderr.splitlines()[-1])  # before it may stand what was tried again

    def status(self, host: str) -> Any:
        return self.json(host, "status")

    def vm(self, host: str, name: str) -> Any:
        found = [vm for vm in self.json(host, "vms") if vm["name"] == name]
        assert len(found) == 1, found
        return found[0]

    def foreign(self, host: str) -> list[str]:
        """The names of the domains that are not the site's."""
        return [vm["name"] for vm in self.json(host, "vms") if vm["foreign"]]

    def plan(self, host: str) -> Any:
        return self.json(host, "plan")

    def wait_converged(self, host: str) -> None:
        wait_for("the site is converged", lambda: bool(self.status(host)["converged"]))

    def apply(self, host: str, *entries: str, message: str = "") -> str:
        """Make the site file exactly these VMs, and wait until it is so."""
        work = self.work()
        (work / "site.xml").write_text(site_text(*entries))
        return self.xsm(host, "apply", str(work), "--yes", "-m", message or "A test's site")

    def work(self) -> Path:
        """A fresh clone of the site, as a user would have it."""
        self.works += 1
        path = self.stage.folder / f"work{self.works}"
        source = self.stage.hosts[self.names[0]].folder / "data" / "site.git"
        self.git(self.stage.folder, "clone", "-q", str(source), str(path))
        self.git(path, "config", "user.name", "Ann")
        self.git(path, "config", "user.email", "ann@domain.com")
        return path

    def git(self, folder: Path, *args: str, code: int = 0) -> str:
        done = subprocess.run(
            ["git", *args],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=GIT_LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
        text = done.stdout + done.stderr
        assert (done.returncode != 0) == (code != 0), f"git {' '.join(args)}: {text}"
        assert "Traceback" not in text, text
        return text

    # -- libvirt -----------------------------------------------------

    def domain(self, host: str, name: str) -> libvirt.virDomain:
        return self.stage.domains(host)[name]

    def memory_mib(self, host: str, vm: str) -> int:
        """0 where there is no such domain."""
        return self.stage.memory_mib(host, vm) if vm in self.stage.domains(host) else 0

    def running(self, vm: str) -> list[str]:
        return self.stage.running_on(vm)

    def wait_running(self, vm: str, *hosts: str, limit_s: float = SOON_S) -> float:
        """Until libvirt says that it runs on exactly these hosts; the seconds that it took."""
        return wait_for(
            f"{vm} runs on {', '.join(hosts) or 'no host'}",
            lambda: self.running(vm) == list(hosts),
            limit_s,
        )

    def wait_gone(self, host: str, vm: str) -> None:
        wait_for(f"{vm} is gone from {host}", lambda: vm not in self.stage.domains(host))

    def ids(self) -> dict[tuple[str, str], int]:
        """Every active domain's run, by libvirt's own number."""
        return {
            (host, name): domain.ID()
            for host in self.names
            for name, domain in self.stage.domains(host).items()
            if domain.isActive()
        }


@contextmanager
def running_site(
    *names: str,
    serf: bool = False,
    witness: str = "",
    prepare: Callable[[Site], object] = lambda _site: None,
) -> Iterator[Site]:
    """`prepare` is called before its first daemon starts."""
    site = Site(*names, serf=serf, witness=witness)
    try:
        prepare(site)
        site.start()
        yield site
    finally:
        site.close()


def wait(what: str, condition: Callable[[], bool], limit_s: float = SOON_S) -> float:
    return wait_for(what, condition, limit_s)


__all__ = ["BIN", "CONFIG", "Site", "running_site", "site_text", "vm_entry", "wait"]
