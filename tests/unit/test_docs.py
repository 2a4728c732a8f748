"""What the docs name exists: commands, options, functions, linked pages."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from xsm.cli.main import root

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
CODE_SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
FUNCTION = re.compile(r"`(xsm/[\w/]+\.py)`: `([\w.]+)`")
CONTROL = {"|", ";", "&&", "||", ">", "<", "#"}


def name(page: Path) -> str:
    return str(page.relative_to(TOP))


def commands(text: str) -> list[list[str]]:
    """Each `xsm ...` of the page's code, as words; prompt, comment and pipe left out."""
    fenced = [line for block in FENCE.findall(text) for line in block.splitlines()]
    spans = CODE_SPAN.findall(FENCE.sub("", text))
    found = []
    for line in fenced + spans:
        typed = re.sub(r"^\s*[\w@-]*[#$] ", "", line).strip()
        if not re.match(r"xsm [a-z]", typed):
            continue
        words = shlex.split(typed, comments=True)
        end = next((i for i, word in enumerate(words) if word in CONTROL), len(words))
        found.append(words[1:end])
    return found


def wrong_word(words: list[str]) -> str:
    """The first word that is no command or option of `xsm`; "" when all are."""
    command: click.Command = root
    context = click.Context(root)
    words = list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        word = words.pop(0)
        # The docs write `xsm host drain|resume` for several at once.
        for alternative in word.split("|"):
            found = command.get_command(context, alternative)
            if found is None:
                return word
        command = found
    options = {opt for param in (*command.params, *root.params) for opt in param.opts}
    options |= {"--help", "-h"}
    for word in words:
        if word.startswith("-") and word != "-" and word.split("=")[0] not in options:
            return f"{command.name}: {word}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_in_the_docs_exists(page: Path) -> None:
    wrong = {wrong_word(words) for words in commands(page.read_text(encoding="utf-8"))} - {""}
    assert wrong == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_function_in_the_docs_exists(page: Path) -> None:
    named = FUNCTION.findall(page.read_text(encoding="utf-8"))
    assert [place for place in named if place[1] not in definitions(TOP / place[0])] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_in_the_docs_exists(page: Path) -> None:
    files = re.findall(
        r"`((?:xsm|tools|tests)/[\w/]+\.(?:py|sh))`", page.read_text(encoding="utf-8")
    )
    assert [file for file in files if not (TOP / file).exists()] == []


def definitions(path: Path) -> set[str]:
    """Functions, classes and Class.method of a module; none when there is no such file."""
    if not path.exists():
        return set()
    found = set()
    for item in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(item.name)
        if isinstance(item, ast.ClassDef):
            found |= {
                f"{item.name}.{part.name}"
                for part in item.body
                if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


def test_a_wrong_command_or_option_is_found() -> None:
    found = commands(
        "`xsm aply x` `xsm apply --yess x` `xsm apply -y .`\n```\n$ xsm vms | wc # all\n```\n"
    )
    assert found[0] == ["vms"]
    assert [wrong_word(words) for words in found] == ["", "aply", "apply: --yess", ""]
