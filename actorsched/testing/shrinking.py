"""Making a failure short: fewer unusual choices, and smaller ones, as long as it fails in the same way.

The law of this module: it is pure. It is given the unusual choices of a run that failed, and a function that
tries others and answers with those that were made, if that failed in the same way. It asks for so many
trials at most as it is allowed.

How it works: delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input",
IEEE TSE 2002). Blocks of choices are left out, half of all first, then smaller ones; then each that is left
is made smaller. What a choice means may change when an earlier one is left out, which does no harm: what
still fails is shorter all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

Values: TypeAlias = "dict[int, int]"
"""The choices that are not 0, by their numbers."""


def shrunk(
    values: Mapping[int, int],
    fails: Callable[[Values], Values | None],
    trials: int,
    late: Callable[[], bool] = lambda: False,
) -> Values:
    """The fewest and smallest unusual choices that were found to fail.

    Args:
        values: Those of a run that failed.
        fails: Tries others; answers with the unusual ones that were made, or None when that does not fail in
            the same way.
        trials: How often it may be called.
        late: Whether it is to be called no more, however often it was.
    """
    best = dict(values)
    shorter = True
    while shorter:
        shorter = False
        for candidate in _candidates(best):
            if not trials or late():
                return best
            trials -= 1
            found = fails(candidate)
            if found is not None and _size(found) < _size(best):
                best, shorter = found, True
                break
    return best


def _candidates(values: Values) -> Iterator[Values]:
    """What may be tried next, the boldest first."""
    numbers = sorted(values)
    if not numbers:
        return
    yield {}
    size = len(numbers)
    while size > 1:
        size = (size + 1) // 2
        for start in reversed(range(0, len(numbers), size)):  # what comes last has the fewest consequences
            left_out = set(numbers[start : start + size])
            if len(left_out) < len(numbers):
                yield {number: values[number] for number in numbers if number not in left_out}
        if size == 1:
            break
    for number in numbers:
        for smaller in {1, values[number] // 2, values[number] - 1} - {0, values[number]}:
            yield {**values, number: smaller}


def _size(values: Values) -> tuple[int, int, int]:
    """By what failures are compared: how many choices, how far the last one is, how big they are."""
    return len(values), max(values, default=0), sum(values.values())
