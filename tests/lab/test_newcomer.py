"""docs/newcomer.md, command by command: two bare hosts become a site with a VM that moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.hosts import LabHost
from tests.lab.lab import Lab

PAGE = Path(__file__).parents[2] / "docs/newcomer.md"
PROMPT = re.compile(r"root@(dmz\d\d):~# (.*)")
HEREDOC = re.compile(r"<<'(\w+)'")
COMMAND_LIMIT_S = 120.0
PLAIN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
"""Of a shell on the second host: XSM is only where `xsm host add` puts it."""
YES = "y\n" * 5
"""To whatever a command asks."""


@dataclass(frozen=True)
class Typed:
    """What the page lets somebody type on a host."""

    host: str
    text: str


def typed(page: str) -> Iterator[Typed]:
    """The commands of the page's `console` blocks, each with the lines of a here-document."""
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        lines = iter(block.splitlines())
        for line in lines:
            found = PROMPT.fullmatch(line)
            assert found is not None, f"neither a prompt nor a here-document: {line}"
            text = found[2]
            if end := HEREDOC.search(text):
                for more in lines:
                    text += "\n" + more
                    if more == end[1]:
                        break
            yield Typed(found[1], text)


def type_in(host: LabHost, text: str) -> str:
    """By a shell, what may ask in a terminal, with yes to whatever is asked; what it showed."""
    as_here = text.replace("type='kvm'", "type='qemu'")  # the lab has no KVM, which the page says
    host.run("sh", "-c", "cat >/run/typed", stdin=as_here + "\n")
    shell = ("bash", "-e", "/run/typed")
    terminal = ("script", "-qec", " ".join(shell), "/dev/null")
    asks = text.startswith("xsm ")
    done = host.run(
        *(terminal if asks else shell), stdin=YES if asks else "", check=False, limit_s=COMMAND_LIMIT_S,
        env=PLAIN if host.name == "dmz02" else None,
    )  # fmt: skip
    assert done.returncode == 0, f"{host.name}# {text}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_page_as_it_stands(bare: Lab) -> None:
    """Proves that a newcomer who types what the page says has a site of two hosts that both sign certificates, and a VM
    that runs on the second one only, after it moved there live."""
    shown = {each.text: type_in(bare[each.host], each.text) for each in typed(PAGE.read_text())}
    assert shown["xsm hosts"].count("signs certificates") == 2
    assert "libvirt answers at qemu+tls://192.168.5.102/system" in shown["xsm host libvirt-tls"]
    assert "SHA256:" in shown["xsm host add root@192.168.5.102"]
    assert "live" in shown["xsm migrate vm1 dmz02"]
    running = {name: bare[name].virsh("list", "--name").split() for name in ("dmz01", "dmz02")}
    assert running == {"dmz01": [], "dmz02": ["vm1"]}
    assert len(list(typed(PAGE.read_text()))) > 15
