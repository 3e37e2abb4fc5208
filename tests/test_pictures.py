"""The pictures of schedules in the documentation are what comes of their task sets today."""

from __future__ import annotations

import pathlib
import re

import pytest

from docs.pictures import IMAGES, RECORDED, SHOWN, picture

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
]


@pytest.mark.usefixtures("warm_backends")
@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_in_the_documentation_shows_what_comes_of_its_task_set(name: str) -> None:
    shown = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert shown == picture(name), "draw it anew: python docs/pictures.py"


def test_every_picture_has_its_source_and_is_shown_on_a_page() -> None:
    assert {path.stem for path in IMAGES.iterdir()} == {*SHOWN, *RECORDED}
    shown = {path.resolve() for page in PAGES for path in pictures_on(page)}
    assert shown == {(IMAGES / f"{name}.svg").resolve() for name in (*SHOWN, *RECORDED)}


def pictures_on(page: pathlib.Path) -> list[pathlib.Path]:
    targets = re.findall(r"!\[[^\]]+\]\((\S+\.svg)\)", page.read_text(encoding="utf-8"))
    return [page.parent / target for target in targets]
