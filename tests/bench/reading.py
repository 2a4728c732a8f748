"""Reading, checking, comparing and merging site files; an edit from its text to a committed revision's files and plan.

CPU time of one core. `cold`: nothing of these files was read before by this process, as after a start of xsmd;
`after an edit`: the previous revision was read before and one VM differs, as in a running xsmd.
"""

from __future__ import annotations

import gc
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.bench import paper
from tests.bench.report import Row, Table, ms
from xsm.daemon import COLLECT_GARBAGE_AFTER
from xsm.peer.derive import derive
from xsm.peer.edit import Surroundings, edit
from xsm.peer.history import Commit
from xsm.plan.planner import plan
from xsm.plan.wanted import wanted
from xsm.site import changes, xml_file, yaml_file
from xsm.site.document import Files, load
from xsm.site.merge import merge
from xsm.site.model import HypervisorKind

SIZES = (1_000, 10_000)
CONFIGS = 500
_numbers = itertools.count(1)


def fresh(files: Files) -> dict[str, bytes]:
    """The same site in other words: no cache has seen these files."""
    mark = next(_numbers)
    return {
        path: content.replace(b"</XSMConfig>", b"<!-- %d --></XSMConfig>" % mark)
        if path == "site.xml"
        else content + b"# %d\n" % mark
        if path.endswith(".cfg")
        else content
        for path, content in files.items()
    }


def edited(files: Files, vm: int, memory_mib: int) -> dict[str, bytes]:
    """One VM has another size."""
    name = b'<VM name="vm%06d"' % vm
    start = files["site.xml"].index(name)
    end = files["site.xml"].index(b"</VM>", start)
    entry = re.sub(rb"<MEM>\d+</MEM>", b"<MEM>%d</MEM>" % memory_mib, files["site.xml"][start:end])
    return {
        **files,
        "site.xml": files["site.xml"][:start] + entry + files["site.xml"][end:],
    }


@dataclass
class PaperHistory:
    """A history in memory."""

    commits: dict[str, Commit] = field(default_factory=dict)
    trees: dict[str, Files] = field(default_factory=dict)

    def add(self, name: str, parents: tuple[str, ...], date: int, files: Files) -> None:
        self.commits[name] = Commit(name, parents, date, "A <a@b.c>", name, False)
        self.trees[name] = files

    def commit(self, commit_id: str) -> Commit:
        return self.commits[commit_id]

    def files(self, commit_id: str) -> Files:
        return self.trees[commit_id]

    def __contains__(self, commit_id: object) -> bool:
        return commit_id in self.commits


def two_heads(files: Files) -> int:
    """The merge of two edits of different VMs, as every host derives it; its files."""
    history = PaperHistory()
    base = fresh(files)
    load(base)
    history.add("a", (), 1, base)
    history.add("b", ("a",), 2, edited(base, 1, 700))
    history.add("c", ("a",), 3, edited(base, 2, 701))
    return len(derive(("b", "c"), history).files)


def one_edit(head: Files, reports: Mapping, memory_mib: int) -> int:
    """What `xsm apply` costs the host that it is made on: check, place, compare, plan; without git."""
    around = Surroundings(reports, {}, paper.NOW)
    made = edit(head, "head", head, "head", edited(head, 3, memory_mib), around)
    view = paper.View(reports, {}, paper.NOW, {}, None)
    return len(plan(wanted(made.document), made.document, view).actions)


@dataclass(frozen=True)
class Case:
    what: str
    work: Callable[[], object]


def cases(size: int) -> Iterator[Case]:
    files = paper.files(size, configs=CONFIGS)
    document = load(files)
    site = document.site
    text = yaml_file.write(site)
    yield Case("site.xml alone", lambda: xml_file.read(fresh(files)["site.xml"]))
    yield Case("site.yaml alone", lambda: yaml_file.read(text + b"# %d\n" % next(_numbers)))
    yield Case(f"a whole revision with {CONFIGS} configs, cold", lambda: load(fresh(files)))
    yield Case(
        "a whole revision, after an edit", lambda: load(edited(files, 5, 600 + next(_numbers)))
    )
    want = wanted(document)
    yield Case("what it wants, config by config", lambda: wanted(document))
    xen = HypervisorKind.XEN
    yield Case("fingerprints", lambda: [w.fingerprint(xen) for w in want.by_name.values()])
    other = load(edited(files, 7, 800)).site
    yield Case("differences between two sites", lambda: changes.diff(site, other))
    first, second = edited(files, 1, 700), edited(files, 2, 701)
    yield Case("merge of two edits", lambda: merge(files, first, second, "b", "c"))
    yield Case("merge of two heads, cold but for the base", lambda: two_heads(files))
    reports = paper.view(want, sorted(document.state.members)).reports
    yield Case("an edit, from text to plan", lambda: one_edit(files, reports, 600 + next(_numbers)))


def run() -> Table:
    rows: list[Row] = []
    per_vm: dict[str, float] = {}
    gc.set_threshold(COLLECT_GARBAGE_AFTER)  # as xsmd does
    for size in SIZES:
        for case in cases(size):
            seconds, _ = paper.cpu_s(case.work, 2)
            growth = (
                f"; {seconds / size / per_vm[case.what]:.2f} x a VM" if case.what in per_vm else ""
            )
            per_vm.setdefault(case.what, seconds / size)
            rows.append(Row(case.what, f"{size:,} VMs", ms(seconds) + growth))
    about = f"CPU time of one core; `x a VM`: time for each VM against that at {SIZES[0]:,} VMs."
    return Table("Reading and merging", tuple(rows), about)
