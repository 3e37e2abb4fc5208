"""The vocabulary of the benchmarks: what a figure is, and what a comparison of its two sides yields.

Pure data and arithmetic; nothing here runs, waits or prints.

A *round* is an async function that does the work once and returns its cost per operation: seconds, or bytes.
A *side* is an async context manager that prepares what the round needs (a runtime, child processes) outside
the measured time, and yields the round. A figure has two sides, and says how their costs are compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from statistics import median
from typing import Literal

LoopName = Literal["uvloop", "asyncio", "trio"]
LOOPS: tuple[LoopName, ...] = ("uvloop", "asyncio", "trio")
JUDGED_LOOPS: tuple[LoopName, ...] = ("uvloop", "asyncio")  # trio has other floors, so its ratios only inform

Round = Callable[[], Awaitable[float]]
Side = Callable[[int], AbstractAsyncContextManager[Round]]

Judged = Literal["rate", "time", "excess", "amount"]
"""How the cost of ours is held against the floor's.

"rate": floor / ours, higher is better; "time": ours / floor, lower is better; "excess": ours - floor in the
figure's unit, lower is better; "amount": the cost of ours itself in that unit, lower is better, with the
floor's beside it for comparison.
"""

Unit = Literal["/s", "µs", "ms", "s", "MB/s", "B"]
Verdict = Literal["aim", "must", "below", "info"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One promise about speed, and how to measure it.

    Attributes:
        name: What `--only` selects.
        what: One line for people.
        judged: How the two costs are compared; see `Judged`.
        unit: How a cost is shown.
        must: The least that is acceptable, as a ratio, an excess or an amount; None for a figure that only
            informs.
        aim: What we are after.
        floor: The side that plain Python sets, on asyncio and uvloop.
        ours: The side of actorsched.
        trio_floor: The same floor in trio's own terms; None if the figure is not measured on trio.
        size: Operations per round.
        quick_size: The same for `--quick`.
        volume: Megabytes moved by one operation, where the unit is MB/s.
    """

    name: str
    what: str
    judged: Judged
    unit: Unit
    must: float | None
    aim: float | None
    floor: Side
    ours: Side
    trio_floor: Side | None
    size: int
    quick_size: int
    volume: float = 0.0

    def floor_on(self, loop: LoopName) -> Side | None:
        """The floor for this loop; None when the figure has none there."""
        return self.trio_floor if loop == "trio" else self.floor

    def shown(self, cost: float) -> float:
        """A cost in the figure's unit."""
        match self.unit:
            case "/s":
                return 1 / cost
            case "µs":
                return cost * 1e6
            case "ms":
                return cost * 1e3
            case "s":
                return cost
            case "MB/s":
                return self.volume / cost
            case "B":
                return cost

    def compared(self, floor: float, ours: float) -> float:
        """What is judged: the ratio of two costs, their difference, or the amount."""
        match self.judged:
            case "rate":
                return floor / ours
            case "time":
                return ours / floor
            case "excess":
                return self.shown(ours) - self.shown(floor)
            case "amount":
                return self.shown(ours)

    def verdict(self, value: float, loop: LoopName) -> Verdict:
        """Whether a judged value meets the aim, the must, or neither."""
        if self.must is None or self.aim is None or loop not in JUDGED_LOOPS:
            return "info"
        if self.judged == "rate":
            value, must, aim = -value, -self.must, -self.aim
        else:
            must, aim = self.must, self.aim
        return "aim" if value <= aim else "must" if value <= must else "below"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rounds of one figure on one loop, in the order in which they ran."""

    figure: Figure
    loop: LoopName
    floor: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """One judged value per pair of neighbouring rounds."""
        return tuple(self.figure.compared(f, o) for f, o in zip(self.floor, self.ours, strict=True))

    def as_row(self) -> dict[str, object]:
        """A plain dictionary, the same for the table and for JSON."""
        figure, ratios = self.figure, self.ratios
        ratio = median(ratios)
        return {
            "name": figure.name,
            "loop": self.loop,
            "what": figure.what,
            "judged": figure.judged,
            "unit": figure.unit,
            "floor": figure.shown(median(self.floor)),
            "ours": figure.shown(median(self.ours)),
            "ratio": ratio,
            "min": min(ratios),
            "max": max(ratios),
            "best": figure.compared(min(self.floor), min(self.ours)),
            "rounds": len(ratios),
            "must": figure.must,
            "aim": figure.aim,
            "verdict": figure.verdict(ratio, self.loop),
        }
