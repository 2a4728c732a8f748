"""docs/cli.md says what the commands are."""

from __future__ import annotations

from pathlib import Path

from xsm.cli.reference import page

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_is_made_from_the_commands() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "make it anew: python -m xsm.cli.reference > docs/cli.md"
    )
