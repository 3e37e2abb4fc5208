"""Draws the display of progress that the documentation shows: `python docs/displays.py`.

The law of this module: nothing is drawn by hand. A made-up download runs in virtual time; what
`rt.progress()` would show of it after a while is written into `docs/images/progress.svg` by rich itself.
"""

# ruff: noqa: INP001  # not of a package, like pictures.py beside it

from __future__ import annotations

import io
import pathlib
import re
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from actorsched import Runtime, current, run
from actorsched.observe.picture import draw
from actorsched.observe.tally import HEARD, Look, Tally
from actorsched.testing import VirtualClock, compute

TARGET: Final = pathlib.Path(__file__).parent / "images" / "progress.svg"
_PAGES: Final = 4


async def fetch(number: int) -> None:
    """Downloads a book, page by page."""
    for page in range(_PAGES):
        current().report(page / _PAGES, f"page {page * 25} of 100")
        await compute(0.5 + number % 3 / 4)
    if number == 3:
        raise OSError("the server has hung up")


async def look() -> Look:
    """What there is to see after nine seconds."""
    async with Runtime(clock=VirtualClock(), pools={"network": 4, "convert": 1}) as rt:
        tally = Tally(rt.stats())
        rt.subscribe(HEARD, tally.hear)
        for number in range(40):
            book = await rt.spawn(fetch, number, tag="network", name=f"fetch book {number}")
            await rt.spawn(
                *(compute, 0.4),
                name=f"convert book {number}",
                tag="convert",
                after=[book],
                on_upstream_failure="run",
            )
        await rt.sleep(1)
        tally.look(rt.stats(), rt.now, 8)
        await rt.sleep(8.3)
        seen = tally.look(rt.stats(), rt.now, 8)
        await rt.shutdown(drain=False)
        return seen


def picture() -> str:
    """The text of an SVG file."""
    console = Console(
        file=io.StringIO(), width=84, record=True, force_terminal=True, color_system="truecolor"
    )
    console.print(draw(run(look)))
    plain = re.sub(
        r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
    )  # those are elsewhere
    return console.export_svg(title="rt.progress()", code_format=plain, unique_id="progress")


if __name__ == "__main__":
    TARGET.write_text(picture(), encoding="utf-8")
