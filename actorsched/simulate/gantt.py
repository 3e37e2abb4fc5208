"""A picture of a play: `draw` makes an SVG that needs nothing else.

The law of this module: what stands where on the sheet: title, lanes, marks, axis, legend. The same play gives
the same text, byte for byte.

How it works: the lanes are drawn first, from the top down, since only then it is known how high the picture
is. It lies on a light ground of its own, so that it is read as well on a dark page.
"""

from __future__ import annotations

from itertools import count
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from zlib import crc32

from actorsched.simulate.lanes import (
    DENSE,
    INK,
    MARGIN,
    MOST_TASKS,
    MUTED,
    RED,
    Sheet,
    detail_of,
    draw_processors,
    draw_resources,
    draw_tasks,
)
from actorsched.simulate.legend import draw_legend
from actorsched.simulate.played import exact
from actorsched.simulate.story import Story
from actorsched.simulate.svg import escaped, number, shortened, width_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actorsched.simulate.played import Played
    from actorsched.simulate.taskset import TaskSet, Time

__all__ = ["draw", "draw_all"]

_NARROW, _WIDE = 820.0, 2400.0
_ROOM: Final = 24.0  # pixels that most slices should have
_TOLD: Final = 40  # slices in the description
_MOST_BOOSTS: Final = 60

_LOOKS: Final = {
    "text": "font-family:'Inter','Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif;font-size:12px",
    ".title": f"font-size:18px;font-weight:700;fill:{INK}",
    ".sub": f"font-size:12px;fill:{MUTED}",
    ".head": f"font-size:10px;font-weight:700;letter-spacing:1px;fill:{MUTED}",
    ".name": f"font-size:12.5px;font-weight:600;fill:{INK}",
    ".small": f"font-size:10px;fill:{MUTED}",
    ".label": "font-size:11px;font-weight:600;text-anchor:middle",
    ".waiter": f"font-size:9.5px;font-weight:600;fill:{INK}",
    ".tick": f"font-size:10.5px;text-anchor:middle;fill:{MUTED}",
    ".mark": "font-size:10px;font-weight:700;text-anchor:middle",
    ".missed": f"font-size:10.5px;font-weight:700;fill:{RED}",
    ".key": f"font-size:11px;fill:{INK}",
}


class _Picture(NamedTuple):
    """One play, drawn."""

    width: float
    height: float
    parts: list[str]


def draw(played: Played, taskset: TaskSet) -> str:
    """Return a picture of a play as the text of an SVG file.

    Args:
        played: What came of the task set.
        taskset: What was played.
    """
    return draw_all([(played, taskset)])


def draw_all(plays: Sequence[tuple[Played, TaskSet]]) -> str:
    """Return one picture of several plays, one below the other."""
    title = ", ".join(taskset.name for _, taskset in plays)
    told = " ".join(sentence for played, taskset in plays for sentence in _told(played, taskset))
    mark = f"g{crc32(f'{title} {told}'.encode()):08x}"
    pictures = [_picture(played, taskset, mark) for played, taskset in plays]
    width = number(max((picture.width for picture in pictures), default=100.0))
    height = number(sum(picture.height for picture in pictures) or 100.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{mark}" width="{width}" height="{height}"',
        f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="{mark}-title {mark}-desc">',
        f'<title id="{mark}-title">{escaped(title)}</title>',
        f'<desc id="{mark}-desc">{escaped(told)}</desc>',
        "<style>" + "".join(f"#{mark} {name}{{{look}}}" for name, look in _LOOKS.items()) + "</style>",
        _patterns(mark),
        f'<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>',
    ]
    top = 0.0
    for picture in pictures:
        parts += [f'<g transform="translate(0 {number(top)})">', *picture.parts, "</g>"]
        top += picture.height
    return "\n".join([*parts, "</svg>"]) + "\n"


def _patterns(mark: str) -> str:
    """What those who wait, and those who are late, are hatched with."""
    tile = 'width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"'
    return (
        f'<defs><pattern id="{mark}-wait" {tile}><path d="M0 0V5" stroke="{INK}" stroke-width="2.4" '
        f'stroke-opacity=".55"/></pattern><pattern id="{mark}-late" {tile}>'
        f'<path d="M0 0V5" stroke="{RED}" stroke-width="3.2" stroke-opacity=".8"/></pattern></defs>'
    )


def _picture(played: Played, taskset: TaskSet, mark: str) -> _Picture:
    story = Story(played, taskset)
    left = _left(taskset)
    sheet = Sheet(story, left, _width(played, story), mark, len(played.slices) > DENSE)
    top = _draw_title(sheet, played, taskset)
    y = draw_processors(sheet, played, top + 4) + 8
    y = draw_tasks(sheet, taskset, y)
    if taskset.resources:
        y = draw_resources(sheet, taskset, y + 8)
    _draw_marks(sheet, played, taskset, top, y)
    y = _draw_axis(sheet, top + 24, y)
    y = draw_legend(sheet, y)
    parts = [*sheet.ground.parts, *sheet.grid.parts, *sheet.over.parts]
    return _Picture(left + sheet.width + MARGIN, y + 14, parts)


def _left(taskset: TaskSet) -> float:
    """Where the time begins: right of the names."""
    names = [task.name for task in taskset.tasks[:MOST_TASKS]]
    names += [resource.name for resource in taskset.resources[:MOST_TASKS]]
    widths = [width_of(name, 12.5) for name in names]
    widths += [width_of(detail_of(task, taskset), 10) for task in taskset.tasks[:MOST_TASKS]]
    return MARGIN + 34 + min(190, max(80, *widths))


def _width(played: Played, story: Story) -> float:
    """How wide the time is: so that three of four slices have room for a name."""
    lengths = sorted(piece.end - piece.start for piece in played.slices)
    if not lengths:
        return _NARROW
    return min(_WIDE, max(_NARROW, _ROOM * (story.end - story.start) / lengths[len(lengths) // 4]))


# ------------------------------------------------------------------------------------------- around the lanes


def _draw_title(sheet: Sheet, played: Played, taskset: TaskSet) -> float:
    """Write what is shown, and how it went; returns where the marks above the lanes may begin."""
    room = sheet.left + sheet.width - MARGIN
    sheet.over.text(MARGIN, 36, shortened(taskset.name, 18, room), 'class="title"')
    facts = " · ".join([taskset.policy, _many(played.processors, "processor"), *_told_params(taskset)])
    sheet.over.text(MARGIN, 56, shortened(facts, 12, room), 'class="sub"')
    verdict, colour = _verdict(played, taskset)
    if verdict:
        wide = width_of(verdict, 11) + 20
        sheet.over.rect(MARGIN, 66, wide, 20, f'fill="{colour}" fill-opacity=".12"', corner=10)
        sheet.over.rect(MARGIN + 8, 73, 6, 6, f'fill="{colour}"', corner=3)
        sheet.over.text(MARGIN + 19, 80, verdict, f'class="key" fill="{colour}"')
    return 96 if verdict else 70


def _verdict(played: Played, taskset: TaskSet) -> tuple[str, str]:
    parts = [f"{_many(len(played.misses), 'deadline')} missed"] if played.misses else []
    if played.deadlock is not None:
        parts.append(f"deadlock at {played.deadlock.at}")
    if parts:
        return ", ".join(parts), RED
    due = any(task.deadline is not None or task.period is not None for task in taskset.tasks)
    return ("no deadline missed", "#1a7f45") if due else ("", "")


def _told_params(taskset: TaskSet) -> list[str]:
    given = taskset.words.get("params")
    if not isinstance(given, dict):
        return []
    return [
        f"{key.replace('_', ' ')} {_plain(value)}"
        for key, value in cast("dict[str, object]", given).items()
        if value is not None and value is not True
    ]


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[object]", value)))
    return "off" if value is False else str(value)


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _draw_marks(sheet: Sheet, played: Played, taskset: TaskSet, top: float, foot: float) -> None:
    """Draw what happens to all lanes at once: boosts, deadlocks, the horizon."""
    boost, until = taskset.params.boost, taskset.params.until
    if boost is not None and taskset.policy == "FAIR" and sheet.story.end / boost <= _MOST_BOOSTS:
        for at in _multiples(boost, sheet.story.end):
            _draw_mark(sheet, at, "boost", "#6f42c1", top, foot)
    for event in played.events:
        if event.kind == "deadlock":
            _draw_mark(sheet, event.at, "deadlock", RED, top, foot)
    if until is not None:
        _draw_mark(sheet, until, "horizon", MUTED, top, foot)


def _multiples(step: Time, end: Time) -> Iterator[Time]:
    for k in count(1):
        if k * step >= end:
            return
        yield k * step


def _draw_mark(sheet: Sheet, at: Time, word: str, colour: str, top: float, foot: float) -> None:
    x = sheet.x(at)
    sheet.over.line(x, top + 18, x, foot, f'stroke="{colour}" stroke-width="1.2" stroke-dasharray="4 3"')
    room = sheet.left + sheet.width
    x = min(max(x, sheet.left + 20), room - 8 if word == "horizon" else room)
    sheet.over.text(x, top + 13, word, f'class="mark" fill="{colour}"')


def _draw_axis(sheet: Sheet, top: float, foot: float) -> float:
    """Draw the grid and the times below it; returns where the legend may begin."""
    step = _step(sheet)
    for at in _ticks(sheet, step / 5 if sheet.width * step / _span(sheet) > 100 else step):
        sheet.grid.line(sheet.x(at), top, sheet.x(at), foot, 'stroke="#e6eaef" stroke-width=".75"')
    for at in _ticks(sheet, step):
        x = sheet.x(at)
        sheet.grid.line(x, top, x, foot + 4, 'stroke="#cfd6de"')
        label = f"{at:,}".replace(",", "\u202f")
        x -= max(0.0, width_of(label, 10.5) / 2 - (sheet.left + sheet.width + MARGIN - x))
        sheet.over.text(x, foot + 18, label, 'class="tick"')
    sheet.over.line(sheet.left, foot, sheet.left + sheet.width, foot, f'stroke="{MUTED}"')
    sheet.over.text(MARGIN, foot + 18, "time in ticks", 'class="small"')
    return foot + 34


def _span(sheet: Sheet) -> Time:
    return sheet.story.end - sheet.story.start


def _step(sheet: Sheet) -> Time:
    """The distance of round times: 1, 2 or 5 times a power of ten."""
    widest = len(f"{exact(sheet.story.end):,}") * 7 + 18
    least = _span(sheet) * max(widest, 50) / sheet.width
    power = 10 ** floor(log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)
    whole = all(isinstance(time, int) for time in (sheet.story.start, sheet.story.end))
    return exact(max(step, 1) if whole else step)


def _ticks(sheet: Sheet, step: Time) -> Iterator[Time]:
    first = ceil(sheet.story.start / step - 1e-9)
    for k in range(first, floor(sheet.story.end / step + 1e-9) + 1):
        yield exact(k * step)


# --------------------------------------------------------------------------------------------------- in words


def _told(played: Played, taskset: TaskSet) -> Iterator[str]:
    """Say what the picture shows, for those who do not see it."""
    tasks, processors = _many(len(taskset.tasks), "task"), _many(played.processors, "processor")
    yield f"{taskset.name}: {tasks} under {taskset.policy} on {processors}."
    runs = [
        f"{piece.task} from {piece.start} to {piece.end}"
        + (f" on CPU {piece.processor}" if played.processors > 1 else "")
        for piece in played.slices[:_TOLD]
    ]
    more = f", and {len(played.slices) - _TOLD} more slices" if len(played.slices) > _TOLD else ""
    yield f"It runs {', '.join(runs)}{more}." if runs else "Nothing runs."
    for job, due, end in played.misses[:_TOLD]:
        yield f"{job} missed its deadline at {due}" + ("." if end is None else f" and finished at {end}.")
    if played.deadlock is not None:
        yield f"{', '.join(played.deadlock.cycle)} were in a deadlock at {played.deadlock.at}."
