"""Every scenario prints what its file says."""

from pathlib import Path

import pytest

from tests.scenarios.runner import play

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text()
    assert play(text) == text, (
        f"read the difference, then: python -m tests.scenarios.runner --update {path}"
    )


def test_there_are_enough_stories() -> None:
    assert len(SCRIPTS) >= 30
