"""The lanes of a picture: one for each processor, each task and each resource.

The law of this module: where things stand within a lane, and what they look like. `gantt` puts the lanes
together; what happened is told by `story`.

How it works: a `Sheet` has layers, so that the grid lies between the ground of the lanes and what is in them.
When there is more than can be told apart, all bars of a lane and colour become one path, and what is narrower
than a quarter of a pixel joins its neighbour: a picture of any number of slices stays small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actorsched.simulate.story import Span, rows_of
from actorsched.simulate.svg import Canvas, colour_of, darker, number, shortened, text_on, width_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actorsched.simulate.played import Played
    from actorsched.simulate.story import Due, ResourceStory, Story, TaskStory
    from actorsched.simulate.taskset import Task, TaskSet, Time

__all__ = ["INK", "MUTED", "RED", "Sheet", "detail_of", "draw_processors", "draw_resources", "draw_tasks"]

INK: Final = "#1f2733"
MUTED: Final = "#66707d"
RED: Final = "#d1242f"
_GROUND: Final = "#f4f6f9"
_RED_LINE: Final = f'fill="none" stroke="{RED}" stroke-linecap="round"'

MARGIN: Final = 28  # around everything
DENSE: Final = 1500  # slices; more than these are not drawn one by one
MOST_TASKS: Final = 60  # lanes of tasks; more than these nobody looks at
_MOST_ROWS: Final = 6  # of those who wait for one resource
_CROWDED: Final = 9.0  # pixels from one arrow to the next, below which they become strokes
_MOST_WORDS: Final = 40  # misses in a lane, above which the crosses have to do

_GAP: Final = 6
_PROCESSOR: Final = 36
_TASK: Final = 50
_ROW: Final = 20


class Sheet:
    """A picture being made: its scale, its colours, its layers, and the signs that the legend has to explain.

    Attributes:
        story: What there is to tell.
        left: Where the time begins, in pixels.
        width: How wide the time is.
        mark: What the names of the patterns begin with.
        colours: By task.
        dense: Whether there is more than can be told apart.
        signs: Those that are in use.
        ground: The lowest layer; `grid` lies above it, then `over`.
    """

    __slots__ = ("colours", "dense", "grid", "ground", "left", "mark", "over", "signs", "story", "width")

    def __init__(self, story: Story, left: float, width: float, mark: str, dense: bool) -> None:
        self.story = story
        self.left = left
        self.width = width
        self.mark = mark
        self.dense = dense
        self.colours = {task: colour_of(place) for place, task in enumerate(story.tasks)}
        self.signs: set[str] = set()
        self.ground, self.grid, self.over = Canvas(), Canvas(), Canvas()

    def x(self, time: Time) -> float:
        """Where a time is; what is outside stands at the edge."""
        share = (time - self.story.start) / (self.story.end - self.story.start)
        return self.left + self.width * min(1.0, max(0.0, share))

    def colour(self, job: str) -> str:
        """The colour of the task that a job belongs to."""
        return self.colours.get(self.story.task_of.get(job, job), "#9aa4b0")

    def pattern(self, name: str) -> str:
        """What fills an area with a pattern."""
        self.signs.add(name)
        return f'fill="url(#{self.mark}-{name})"'

    def heading(self, y: float, text: str) -> float:
        """Write the name of a group of lanes; returns where they begin."""
        self.over.text(MARGIN, y + 14, text.upper(), 'class="head"')
        return y + 22

    def lane(self, y: float, height: float, name: str, detail: str = "", colour: str = "") -> None:
        """Lay the ground of a lane, and write its name before it."""
        self.ground.rect(self.left, y, self.width, height, f'fill="{_GROUND}"', corner=4)
        middle = y + height / 2
        indent = 16 if colour else 0
        room = self.left - MARGIN - indent - 14
        if colour:
            swatch = f'fill="{colour}" stroke="{darker(colour)}" stroke-width=".75"'
            self.over.rect(MARGIN, middle - (11 if detail else 5), 10, 10, swatch, corner=2)
        shift = -2 if detail else 4
        self.over.text(MARGIN + indent, middle + shift, shortened(name, 12.5, room), 'class="name"')
        if detail:
            self.over.text(MARGIN + indent, middle + 12, shortened(detail, 10, room), 'class="small"')

    def bars(self, spans: Sequence[Span], y: float, height: float, *, named: bool = False) -> None:
        """Draw spans in the colours of their tasks."""
        if self.dense:
            self._paths(spans, y, height)
            return
        for span in spans:
            colour = self.colour(span.job)
            x, w = self._extent(span)
            look = f'fill="{colour}" stroke="{darker(colour)}" stroke-width=".75"'
            self.over.rect(x, y, w, height, look, tip=_tip(span), corner=min(3, w / 3))
            label = self._label(span.job, w - 6) if named else ""
            if label:
                place = f'fill="{text_on(colour)}" class="label"'
                self.over.text(x + w / 2, y + height / 2 + 4, label, place)

    def _label(self, job: str, room: float) -> str:
        """The name of a job; where it has no room that of its task, or enough of it to know it by."""
        for name in (job, self.story.task_of.get(job, job)):
            if width_of(name, 11) <= room:
                return name
        label = shortened(job, 11, room)
        return label if len(label) > 3 else ""

    def _extent(self, span: Span) -> tuple[float, float]:
        x = self.x(span.start)
        return x, max(self.x(span.end) - x, 0.4)

    def _paths(self, spans: Iterable[Span], y: float, height: float) -> None:
        """All bars of a colour as one path; neighbours too near to be told apart are one."""
        merged: dict[str, list[list[float]]] = {}
        painted = 0.0  # up to where; what would hide within the next fraction of a pixel is left out
        for span in spans:
            start, end = self.x(span.start), self.x(span.end)
            if end - painted < 0.3:
                continue
            painted = end
            extents = merged.setdefault(self.colour(span.job), [])
            if extents and start - extents[-1][1] < 0.25:
                extents[-1][1] = max(end, extents[-1][1])
            else:
                extents.append([start, end])
        for colour, extents in merged.items():
            tall = number(height)
            bars = (
                f"M{number(start)} {number(y)}h{number(max(end - start, 0.3))}v{tall}H{number(start)}z"
                for start, end in extents
            )
            self.over.path("".join(bars), f'fill="{colour}"')

    def pale(self, spans: Sequence[Span], y: float, height: float) -> None:
        """Draw spans so that one sees that nothing runs there."""
        for colour in dict.fromkeys(self.colour(span.job) for span in spans):
            self._area([span for span in spans if self.colour(span.job) == colour], y, height, colour)

    def _area(self, spans: Sequence[Span], y: float, height: float, colour: str) -> None:
        extents: list[list[float]] = []
        for span in spans:
            start, end = self.x(span.start), self.x(span.end)
            if extents and start - extents[-1][1] < 0.25:
                extents[-1][1] = max(end, extents[-1][1])
            else:
                extents.append([start, end])
        data = "".join(
            f"M{number(a)} {number(y)}H{number(b)}v{number(height)}H{number(a)}z" for a, b in extents
        )
        self.over.path(data, f'fill="{colour}" fill-opacity=".25"')

    def hatched(
        self, spans: Sequence[Span], y: float, height: float, verb: str, pattern: str = "wait"
    ) -> None:
        """Draw spans of waiting."""
        for span in spans:
            x, w = self._extent(span)
            self.over.rect(x, y, w, height, self.pattern(pattern), tip=f"{span.job} {verb}, {_times(span)}")


def _tip(span: Span) -> str:
    return f"{span.job}: {_times(span)}"


def _times(span: Span) -> str:
    return f"{span.start} to {span.end}"


# ------------------------------------------------------------------------------------------------ processors


def draw_processors(sheet: Sheet, played: Played, y: float) -> float:
    """Draw who ran where; returns where the next lanes may begin."""
    y = sheet.heading(y, "Processor" if played.processors == 1 else "Processors")
    lanes: list[list[Span]] = [[] for _ in range(played.processors)]
    for piece in played.slices:
        lanes[piece.processor].append(Span(piece.start, piece.end, piece.task))
    busy = [place for place, spans in enumerate(lanes) if spans]
    shown = range(played.processors) if played.processors <= 32 else busy[:256] or [0]
    for place in shown:
        sheet.lane(y, _PROCESSOR, f"CPU {place}")
        sheet.bars(lanes[place], y + 4, _PROCESSOR - 8, named=True)
        y += _PROCESSOR + _GAP
    return y


# ----------------------------------------------------------------------------------------------------- tasks


def draw_tasks(sheet: Sheet, taskset: TaskSet, y: float) -> float:
    """Draw the life of each task; returns where the next lanes may begin."""
    y = sheet.heading(y, "Tasks")
    for task in taskset.tasks[:MOST_TASKS]:
        story = sheet.story.tasks[task.name]
        sheet.lane(y, _TASK, task.name, detail_of(task, taskset), sheet.colours[task.name])
        _draw_life(sheet, story, y)
        _draw_arrows(sheet, story, y)
        _draw_misses(sheet, [due for due in story.dues if due.missed], y)
        _draw_victim(sheet, task, y)
        y += _TASK + _GAP
    left_out = len(taskset.tasks) - MOST_TASKS
    if left_out > 0:
        sheet.over.text(MARGIN, y + 12, f"and {left_out} more", 'class="small"')
        y += 20
    return y


def detail_of(task: Task, taskset: TaskSet) -> str:
    """Return what is said below the name of a task."""
    parts = [f"priority {task.priority}"] if any(each.priority for each in taskset.tasks) else []
    if task.period is not None:
        parts.append(f"every {task.period}")
    elif task.deadline is not None:
        parts.append(f"due {task.deadline}")
    return ", ".join(parts)


def _draw_life(sheet: Sheet, story: TaskStory, y: float) -> None:
    foot = y + _TASK - 10
    sheet.pale(story.lives, foot - 10, 10)
    if story.lives:
        sheet.signs.add("ready")
    if not sheet.dense:
        for span in story.blocked:
            sheet.hatched([span], foot - 10, 10, f"waits for {span.detail}")
    sheet.bars(story.runs, foot - 18, 18)
    sheet.over.line(sheet.left, foot, sheet.left + sheet.width, foot, 'stroke="#aab3be"')


def _draw_arrows(sheet: Sheet, story: TaskStory, y: float) -> None:
    """Arrivals point up from the foot of the lane, deadlines down to it."""
    foot, head = y + _TASK - 10, y + 7
    shift = 2 if story.dues else 0.7  # the next arrival is often at the deadline
    crowded = len(story.arrivals) * _CROWDED > sheet.width
    ups = (f"M{number(sheet.x(at) + shift)} {number(foot)}V{number(head)}" for at in story.arrivals)
    downs = (f"M{number(sheet.x(due.at) - shift)} {number(head)}V{number(foot)}" for due in story.dues)
    up, down = ("", "") if crowded else ("m-3.5 5l3.5 -5l3.5 5", "m-3.5 -5l3.5 5l3.5 -5")
    thin = 'fill="none" stroke-linejoin="round" stroke-linecap="round" stroke-width='
    width = '".5"' if crowded else '"1.4"'
    sheet.over.path("".join(each + up for each in ups), f'{thin}{width} stroke="{INK}"')
    sheet.over.path("".join(each + down for each in downs), f'{thin}{width} stroke="#8a5a00"')
    sheet.signs.update(["arrival"] if story.arrivals else [], ["deadline"] if story.dues else [])


def _draw_misses(sheet: Sheet, missed: Sequence[Due], y: float) -> None:
    foot = y + _TASK - 10
    if missed:
        sheet.signs.add("missed")
    crowded = len(missed) * 14 > sheet.width
    crosses: list[str] = []
    last = sheet.left - 100
    for due in missed:
        x = sheet.x(due.at)
        crosses.append(f"M{number(x)} {number(foot - 5)}v10" if crowded else _cross(x, foot))
        if due.finish is not None:
            late = Span(due.at, min(due.finish, sheet.story.end), due.job)
            sheet.hatched([late], foot - 18, 18, f"is late by {due.finish - due.at}", "late")
        if len(missed) <= _MOST_WORDS and x - last > 60:
            last = x
            anchor = ' text-anchor="end"' if x + 50 > sheet.left + sheet.width else ""
            sheet.over.text(x + (-6 if anchor else 6), y + 15, "missed", f'class="missed"{anchor}')
    thick = "1.2" if crowded else "2.6"
    sheet.over.path("".join(crosses), f'{_RED_LINE} stroke-width="{thick}"')


def _cross(x: float, y: float) -> str:
    return f"M{number(x - 5)} {number(y - 5)}l10 10m0 -10l-10 10"


def _draw_victim(sheet: Sheet, task: Task, y: float) -> None:
    """Who was ended to break the deadlock."""
    deadlock = sheet.story.deadlock
    if deadlock is None or deadlock.victim is None:
        return
    if sheet.story.task_of.get(deadlock.victim) == task.name:
        x, foot = sheet.x(deadlock.at), y + _TASK - 10
        sheet.over.path(_cross(x, foot), f'{_RED_LINE} stroke-width="2.6"')
        anchor = ' text-anchor="end"' if x + 90 > sheet.left + sheet.width else ""
        sheet.over.text(x + (-6 if anchor else 6), y + 15, "ended (victim)", f'class="missed"{anchor}')


# ------------------------------------------------------------------------------------------------- resources


def draw_resources(sheet: Sheet, taskset: TaskSet, y: float) -> float:
    """Draw who held each resource, and who waited for it; returns where the next lanes may begin."""
    y = sheet.heading(y, "Resource" if len(taskset.resources) == 1 else "Resources")
    for resource in taskset.resources[:MOST_TASKS]:
        units = f"{resource.capacity} units" if resource.capacity > 1 else ""
        y += _GAP + _draw_resource(sheet, sheet.story.resources[resource.name], resource.name, units, y)
    return y


def _draw_resource(sheet: Sheet, story: ResourceStory, name: str, units: str, y: float) -> float:
    held, hidden = rows_of(story.held, _MOST_ROWS)
    waits, unseen = rows_of(story.waits, _MOST_ROWS)
    height = max(_ROW * max(1, len(held)) + 8 + 13 * len(waits), 30)
    detail = f"{hidden + unseen} not shown" if hidden + unseen else units
    sheet.lane(y, height, name, detail)
    top = y + 4
    for row in held:
        sheet.bars(row, top, _ROW, named=True)
        top += _ROW
    top += 3 + (_ROW if not held else 0)
    for row in waits:
        sheet.pale(row, top, 10)
        for span in row:
            sheet.hatched([span], top, 10, f"waits for {name}, held by {span.detail}")
            _name_waiter(sheet, span, top)
        top += 13
    return height


def _name_waiter(sheet: Sheet, span: Span, top: float) -> None:
    x, end = sheet.x(span.start), sheet.x(span.end)
    label = shortened(f"{span.job} waits", 9.5, end - x - 10)
    if label and len(label) > 2 and not sheet.dense:
        plate = 'fill="#ffffff" fill-opacity=".82"'
        sheet.over.rect(x + 2, top + 0.5, width_of(label, 9.5) + 4, 9, plate, corner=2)
        sheet.over.text(x + 4, top + 8.3, label, 'class="waiter"')
