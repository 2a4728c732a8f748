"""The dependency rule (docs/design.md): site <- plan <- peer <- the rest; these three are pure."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "xsm"
INNER = ("site", "plan", "peer")
FORBIDDEN = frozenset(
    {
        *("asyncio", "concurrent", "ctypes", "io", "logging", "multiprocessing"),
        *(
            "os",
            "pathlib",
            "random",
            "secrets",
            "select",
            "selectors",
            "shutil",
            "signal",
            "socket",
        ),
        *("ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib"),
        *("aiohttp", "cryptography", "libvirt", "paramiko", "watchdog"),
    }
)
"""Ways to clocks, chance, files, processes, threads and the network."""
ALLOWED_PARTS = frozenset({"io.BytesIO", "io.StringIO", "urllib.parse"})
"""Parts of forbidden modules that only compute."""
FORBIDDEN_CALLS = frozenset({"open", "input", "print", "exec", "eval", "__import__"})
CLOCKS = frozenset({"now", "utcnow", "today"})
"""Methods by which datetime, otherwise a calculator, reads the clock."""


def modules() -> list[Path]:
    return sorted(path for room in INNER for path in (PACKAGE / room).rglob("*.py"))


def imports(tree: ast.AST) -> list[str]:
    """Dotted names of what is imported; `from a import b` gives a.b."""
    found = []
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            found += [alias.name for alias in item.names]
        elif isinstance(item, ast.ImportFrom):
            assert item.level == 0, "relative imports hide the rooms"
            found += [f"{item.module}.{alias.name}" for alias in item.names]
    return found


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", modules(), ids=named)
def test_an_inner_package_imports_no_outer_one(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    may = {f"xsm.{inner}" for inner in INNER[: INNER.index(room) + 1]}
    wrong = [
        name
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name.split(".")[0] == "xsm" and ".".join(name.split(".")[:2]) not in may
    ]
    assert wrong == []


@pytest.mark.parametrize("path", modules(), ids=named)
def test_a_pure_module_has_no_way_to_effects(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [
        name
        for name in imports(tree)
        if name.split(".")[0] in FORBIDDEN
        and not any(name == part or name.startswith(f"{part}.") for part in ALLOWED_PARTS)
    ]
    calls = [
        call.func.id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in FORBIDDEN_CALLS
    ]
    calls += [
        f"{ast.unparse(call.func.value)}.{call.func.attr}"
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in CLOCKS
    ]
    assert (wrong, calls) == ([], [])


def test_the_rule_looks_at_real_modules_and_names() -> None:
    assert len(modules()) > len(INNER)
    known = {"aiohttp", "cryptography", "libvirt", "paramiko", "watchdog"}
    assert FORBIDDEN - known <= sys.stdlib_module_names
