"""A peer that was away: its daemon stopped, 1,000 edits made meanwhile, and started again.

The edits are real commits of the other host's repository, taken up by its daemon at its start. Beside it `git fetch`
of the same history between the same two repositories. Then 100 edits on four hosts at once, until all show one head.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

from tests.bench.bench_site import AUTHOR, BenchSite, host_names, running, site_files, wait_for
from tests.bench.processes import cpu_s
from tests.bench.report import Row, Table, ms
from xsm.cli.failures import Failure
from xsm.edge.repository import Repository

BEHIND = 1000
AT_ONCE = 100
TRIES = 50
"""Of one edit that loses against others."""


def run() -> Table:
    rows = _behind() + _at_once()
    return Table("Catching up", tuple(rows), (__doc__ or "").partition("\n\n")[2].strip())


def _behind() -> list[Row]:
    names = host_names(2)
    vms = {f"vm-{name}": (name, 64) for name in names}
    ahead, late = names
    with running(names, site_files(vms)) as site:
        for name in names:
            site.stop_xsmd(name)
        last = _edit_offline(site, ahead, vms)
        copy = site.folder / "copy.git"
        shutil.copytree(site.hosts[late].settings.repository_dir, copy)
        fetched, size = _fetch(site.hosts[ahead].settings.repository_dir, copy)
        site.start_xsmd(ahead)
        wait_for("the host that is ahead answers", lambda: _answers(site, ahead))
        began = time.time()
        site.start_xsmd(late)
        wait_for(f"{last[:10]} is on {late}", lambda: site.taken_at(late, last) is not None)
        took = (site.taken_at(late, last) or 0.0) - began
        used = cpu_s(site.hosts[late].pid)
        store = site.hosts[late].settings.repository_dir
        packs = sum(path.stat().st_size for path in (store / "objects" / "pack").glob("*.pack"))
    behind = f"{BEHIND} edits behind"
    return [
        Row("from the daemon's start until it has all", behind, f"{ms(took)}, {ms(used)} CPU"),
        Row("... bytes of the pack, as stored", behind, f"{packs / 1024:.0f} KiB"),
        Row("git fetch of the same by hand", behind, f"{ms(fetched)}, {size / 1024:.0f} KiB"),
    ]


def _answers(site: BenchSite, name: str) -> bool:
    try:
        return bool(site.hosts[name].client.status().revision)
    except Failure:
        return False


def _edit_offline(site: BenchSite, name: str, vms: dict[str, tuple[str, int]]) -> str:
    """The newest of the edits."""
    settings = site.hosts[name].settings
    repository = Repository.open(settings.repository_dir, settings.socket)
    try:
        head = repository.main()
        assert head is not None
        files = dict(repository.files(head))
        for number in range(BEHIND):
            vms = {vm: (host, 65 + number % 900) for vm, (host, _) in vms.items()}
            files["site.xml"] = site_files(vms)["site.xml"]
            head = repository.write_commit(files, (head,), AUTHOR, int(time.time()), "An edit").id
        repository.set_heads((head,), head)
        return head
    finally:
        repository.close()


def _fetch(source: Path, target: Path) -> tuple[float, int]:
    """Seconds, and how much bigger the repository is."""
    before = _size(target)
    started = time.perf_counter()
    command = ["git", f"--git-dir={target}", "fetch", "-q", str(source), "main"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started, _size(target) - before


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "objects").rglob("*") if path.is_file())


# -- at once -----------------------------------------------------


def _at_once() -> list[Row]:
    names = host_names(4)
    vms = {f"vm{n:03d}": (names[n % 4], 64) for n in range(AT_ONCE)}
    with running(names, site_files(vms)) as site:
        before = sum(site.cpu_s().values())
        started = time.perf_counter()
        editors = [threading.Thread(target=_edit_some, args=(site, name, vms)) for name in names]
        for editor in editors:
            editor.start()
        for editor in editors:
            editor.join()
        said = time.perf_counter() - started
        wait_for("all show one head with all edits", lambda: _is_one(site))
        took = time.perf_counter() - started
        used = sum(site.cpu_s().values()) - before
    size = f"{AT_ONCE} edits, 4 hosts"
    return [
        Row("edits at once: until all are answered", size, ms(said)),
        Row("... until all hosts show one head", size, f"{ms(took)}, {ms(used)} CPU"),
    ]


def _edit_some(site: BenchSite, name: str, vms: dict[str, tuple[str, int]]) -> None:
    """One host's share of the edits, one after the other; each changes another VM."""
    client = site.hosts[name].client
    for vm in sorted(vm for vm, (host, _) in vms.items() if host == name):
        for _ in range(TRIES):
            head = client.status().revision
            text = client.files(head)["site.xml"].decode()
            mark = f'<VM name="{vm}" config="web"><DOM0>{name}</DOM0><VCPUS>1</VCPUS><IP>DHCP</IP><MEM>'
            assert mark in text
            edited = text.replace(f"{mark}64", f"{mark}96").encode()
            try:
                client.apply(replace(site.proposal({"site.xml": edited}), base=head))
                break
            except Failure:
                continue  # somebody else's edit came in between


def _is_one(site: BenchSite) -> bool:
    heads = {site.hosts[name].client.status().revision for name in site.names}
    if len(heads) != 1:
        return False
    return site.hosts[site.names[0]].client.files()["site.xml"].count(b"<MEM>96") == AT_ONCE
