"""The rules that keep XSM in parts: which package may import what, purity of the inner ones, sizes,
names.

Reads the source with `ast`; nothing of xsm is imported. Each rule is also run on a bad example, so
that a rule that stopped looking fails here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LIMIT = 500
FUNCTION_LIMIT = 70

LAYERS = ("site", "plan", "peer")
"""Inner to outer, all pure; a package imports itself and those before it. What comes after may
import all."""

IMPURE = frozenset(
    [
        "aiohttp", "asyncio", "click", "concurrent", "cryptography", "ctypes", "fcntl",
        "getpass", "glob", "http", "importlib", "io", "libvirt", "logging",
        "multiprocessing", "os", "paramiko", "pathlib", "platform", "pwd", "random", "rich",
        "sched", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3",
        "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "watchdog"
    ]
)  # fmt: skip
"""Modules by which the world comes in or effects go out."""
ALLOWED = {"urllib.parse"}
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
IMPURE_METHODS = frozenset({"now", "utcnow", "today", "uuid1", "uuid4", "getnode"})
"""Of datetime and uuid, whose other functions are pure."""

FORBIDDEN_WORDS = ("util", "helper", "manager", "handler", "master")

Rule = Callable[[ast.Module, str], Iterator[str]]


def modules() -> list[Path]:
    return sorted((ROOT / "xsm").rglob("*.py"))


def package_of(path: str) -> str:
    """xsm/plan/planner.py -> plan; xsm/daemon.py -> daemon."""
    return path.removeprefix("xsm/").split("/", 1)[0].removesuffix(".py")


def imports(tree: ast.Module, path: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all imports, also inside functions; relative ones made absolute."""
    package = path.removesuffix(".py").removesuffix("/__init__").split("/")
    for at in ast.walk(tree):
        if isinstance(at, ast.Import):
            for alias in at.names:
                yield at.lineno, alias.name
        elif isinstance(at, ast.ImportFrom):
            base = at.module or ""
            if at.level:
                up = package[: len(package) - at.level + path.endswith("__init__.py")]
                base = ".".join([*up, base]).rstrip(".")
            for alias in at.names:
                yield at.lineno, f"{base}.{alias.name}"


def pure_imports(tree: ast.Module, path: str) -> Iterator[str]:
    if package_of(path) not in LAYERS:
        return
    for line, name in imports(tree, path):
        allowed = any(name == a or name.startswith(a + ".") for a in ALLOWED)
        if name.split(".")[0] in IMPURE and not allowed:
            yield f"{path}:{line}: a pure package imports {name}"


def pure_calls(tree: ast.Module, path: str) -> Iterator[str]:
    if package_of(path) not in LAYERS:
        return
    for at in ast.walk(tree):
        if not isinstance(at, ast.Call):
            continue
        called = at.func
        if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
            yield f"{path}:{at.lineno}: a pure package calls {called.id}()"
        if isinstance(called, ast.Attribute) and called.attr in IMPURE_METHODS:
            owner = ast.unparse(called.value)
            if owner.split(".")[0] in {"datetime", "date", "uuid", "uuid_module"}:
                yield f"{path}:{at.lineno}: a pure package calls {owner}.{called.attr}()"


def layers(tree: ast.Module, path: str) -> Iterator[str]:
    package = package_of(path)
    if package not in LAYERS:
        return
    inner = LAYERS[: LAYERS.index(package) + 1]
    for line, name in imports(tree, path):
        parts = name.split(".")
        if parts[0] == "xsm" and (len(parts) < 2 or parts[1] not in inner):
            yield f"{path}:{line}: {package} imports {name}, which is further out"


def function_lengths(tree: ast.Module, path: str) -> Iterator[str]:
    for at in ast.walk(tree):
        if isinstance(at, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (at.end_lineno or at.lineno) - at.lineno + 1
            if length > FUNCTION_LIMIT:
                yield f"{path}:{at.lineno}: {at.name} has {length} lines, at most {FUNCTION_LIMIT}"


def silent_excepts(tree: ast.Module, path: str) -> Iterator[str]:
    for at in ast.walk(tree):
        if not isinstance(at, ast.ExceptHandler):
            continue
        if at.type is None:
            yield f"{path}:{at.lineno}: a bare `except:` catches even KeyboardInterrupt"
        nothing = all(
            isinstance(s, ast.Pass)
            or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
            for s in at.body
        )
        if nothing:
            yield f"{path}:{at.lineno}: an error is swallowed without a word"


def names(_tree: ast.Module, path: str) -> Iterator[str]:
    for part in path.lower().removesuffix(".py").split("/"):
        for word in FORBIDDEN_WORDS:
            if word in part.split("_") or word + "s" in part.split("_"):
                yield f"{path}: {word!r} in a name says nothing about what is inside"


def docstrings(tree: ast.Module, path: str) -> Iterator[str]:
    if not path.endswith("__init__.py") and ast.get_docstring(tree) is None:
        yield f"{path}: no docstring that says what the module decides"


RULES: tuple[Rule, ...] = (
    pure_imports,
    pure_calls,
    layers,
    function_lengths,
    silent_excepts,
    names,
    docstrings,
)


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in modules():
        yield (
            path.relative_to(ROOT).as_posix(),
            ast.parse(path.read_text(encoding="utf-8"), filename=str(path)),
        )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: Rule) -> None:
    found = [problem for path, tree in trees() for problem in rule(tree, path)]
    assert found == [], "\n" + "\n".join(found)


def test_files_are_short() -> None:
    lengths = {p.relative_to(ROOT).as_posix(): len(p.read_text().splitlines()) for p in modules()}
    assert {path: n for path, n in lengths.items() if n > FILE_LIMIT} == {}


def test_the_packages_are_there() -> None:
    found = {package_of(p.relative_to(ROOT).as_posix()) for p in modules()}
    assert {*LAYERS, "edge", "api", "cli"} <= found


BAD = [
    (pure_imports, "xsm/site/x.py", "import os"),
    (pure_imports, "xsm/peer/x.py", "def f():\n    from asyncio import sleep"),
    (pure_imports, "xsm/plan/x.py", "import os.path as p"),
    (pure_imports, "xsm/plan/x.py", "from urllib.request import urlopen"),
    (pure_calls, "xsm/plan/x.py", "open('f')"),
    (pure_calls, "xsm/plan/x.py", "from datetime import datetime\ndatetime.now()"),
    (pure_calls, "xsm/site/x.py", "import uuid\nuuid.uuid4()"),
    (layers, "xsm/site/x.py", "from xsm.plan.actions import Plan"),
    (layers, "xsm/plan/x.py", "from xsm import peer"),
    (layers, "xsm/plan/x.py", "from ..peer import machine"),
    (layers, "xsm/peer/x.py", "import xsm.edge.act"),
    (layers, "xsm/peer/x.py", "import xsm"),
    (function_lengths, "xsm/cli/x.py", "def f():\n" + "    a = 1\n" * 70),
    (silent_excepts, "xsm/edge/x.py", "try:\n    f()\nexcept OSError:\n    pass"),
    (silent_excepts, "xsm/edge/x.py", "try:\n    f()\nexcept:\n    log()"),
    (silent_excepts, "xsm/edge/x.py", "try:\n    f()\nexcept OSError:\n    ..."),
    (names, "xsm/edge/vm_manager.py", ""),
    (names, "xsm/utils/x.py", ""),
    (docstrings, "xsm/edge/x.py", "a = 1"),
]


@pytest.mark.parametrize(("rule", "path", "source"), BAD)
def test_rule_sees_a_bad_example(rule: Rule, path: str, source: str) -> None:
    assert list(rule(ast.parse(source), path)) != []


GOOD = [
    (pure_imports, "xsm/edge/x.py", "import os"),
    (pure_imports, "xsm/site/x.py", "from urllib.parse import quote"),
    (pure_calls, "xsm/site/x.py", "import uuid\nuuid.uuid5(a, b)"),
    (layers, "xsm/plan/x.py", "from xsm.site.model import VM\nfrom .actions import Plan"),
    (function_lengths, "xsm/cli/x.py", "def f():\n" + "    a = 1\n" * 69),
    (silent_excepts, "xsm/edge/x.py", "try:\n    f()\nexcept OSError as e:\n    log(e)"),
    (names, "xsm/plan/forms.py", ""),
]


@pytest.mark.parametrize(("rule", "path", "source"), GOOD)
def test_rule_lets_good_source_be(rule: Rule, path: str, source: str) -> None:
    assert list(rule(ast.parse(source), path)) == []
