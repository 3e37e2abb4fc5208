"""Benchmarks of the promises that actorsched makes about speed, each as a ratio to a floor.

What belongs here: one module per figure, with a *floor* (the least that plain Python could do for the same
work, written as its author would write it by hand) and *ours* (the same work through the public interface).
Both run in one process, in one event loop, in alternating rounds, and only the ratio of neighbouring rounds
is judged: absolute figures say more about the machine than about the code.

Figures whose work never waits (`tell`, `spawn_stop`, `noop_tasks`, `dag`) are timed by the processor time of
the process, so that a busy neighbour is nobody's cost; the others by the clock on the wall.

What never comes here: private names of actorsched (a user could not write them), and thresholds in tests (a
slow machine is not a defect; `python -m benchmarks` prints the verdicts).

How it works: `_figure` is the vocabulary, `_measure` plays the rounds, `_report` prints them, `_catalogue`
lists the figures, `__main__` is the command, and `profile` shows where the time of one figure goes.
"""

from __future__ import annotations
