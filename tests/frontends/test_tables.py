"""The guides of the front ends list every capability of what they stand in for, with a test that exists."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
GUIDES = sorted(path for path in (ROOT / "docs" / "frontends").glob("*.md") if path.stem != "index")


def rows(guide: pathlib.Path) -> list[str]:
    """The rows of the table of capabilities."""
    lines = guide.read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("| capability"))
    rest = lines[begin + 2 :]
    end = next((number for number, line in enumerate(rest) if not line.startswith("|")), len(rest))
    return rest[:end]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_every_capability_names_a_test_that_exists(guide: pathlib.Path) -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    table = rows(guide)
    assert len(table) > 10
    assert [row for row in table if not set(re.findall(r"`(test_\w+)`", row)) & there] == []
    assert {name for row in table for name in re.findall(r"`(test_\w+)`", row)} <= there
