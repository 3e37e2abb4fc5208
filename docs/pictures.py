"""Draws the schedules that the documentation shows: `python docs/pictures.py`.

The law of this module: nothing is drawn by hand. Each picture is a real play, by the runtime's own scheduler
in virtual time, of a task set that stands in `examples/`; so readers can play it too, and change it. A test
compares the files in `docs/images/` with what is drawn now.
"""

# ruff: noqa: INP001  # not of a package, like diagrams.py beside it

from __future__ import annotations

import pathlib
from typing import Final

from actorsched.simulate.gantt import draw_all
from actorsched.simulate.play import play
from actorsched.simulate.reading import read

_ROOT: Final = pathlib.Path(__file__).parent.parent
IMAGES: Final = _ROOT / "docs" / "images"
SHOWN: Final = ("aging", "deadlines", "pathfinder", "policies")
"""The names of the task sets, and of the pictures."""
RECORDED: Final = ("progress", "timeline")
"""Pictures drawn otherwise, by `docs/timelines.py` of a real run, and by `docs/displays.py`."""


def picture(name: str) -> str:
    """The text of an SVG file: what comes of a task set in `examples/`."""
    tasksets = read((_ROOT / "examples" / f"{name}.json").read_bytes()).schedules
    return draw_all([(play(taskset), taskset) for taskset in tasksets])


def main() -> None:
    """Draw all of them anew."""
    IMAGES.mkdir(exist_ok=True)
    for name in SHOWN:
        (IMAGES / f"{name}.svg").write_text(picture(name), encoding="utf-8")


if __name__ == "__main__":
    main()
