"""A sampler of the main thread, in this process or in a host: where does the processor's time go?

A timer of consumed CPU time interrupts the thread, and the innermost Python function is counted. CPython
runs a signal handler at the next call or backward jump, so the time of a C function, or of a short function
without calls, is credited to what its caller does next: read neighbours together.

Nothing here knows of figures. The two functions at the end run in a host, as tasks, and are importable there.
"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType, FrameType

INTERVAL = 0.001
TOP = 12


@dataclass(frozen=True, slots=True)
class Profile:
    """What a sampler saw: samples by function, innermost and anywhere on the stack, and the time spent."""

    innermost: dict[str, int]
    anywhere: dict[str, int]
    wall: float
    cpu: float

    def lines(self) -> list[str]:
        """A heading and the functions with the most self time."""
        total = sum(self.innermost.values()) or 1
        lines = [f"{total} samples; on the CPU {self.cpu / self.wall:.0%} of {self.wall:.1f} s"]
        lines.append(f"{'self':>6} {'total':>6}  function")
        ranking = sorted(self.innermost.items(), key=lambda item: (-item[1], item[0]))
        for name, count in ranking[:TOP]:
            lines.append(f"{count / total:>6.1%} {self.anywhere[name] / total:>6.1%}  {name}")
        return lines


class Sampler:
    """Counts functions of the main thread while it runs. One per process: there is one timer."""

    def __init__(self) -> None:
        self._innermost: Counter[CodeType] = Counter()
        self._anywhere: Counter[CodeType] = Counter()
        self._began = (0.0, 0.0)

    @property
    def samples(self) -> int:
        """How many samples it has taken."""
        return self._innermost.total()

    def start(self) -> None:
        """Starts counting. Only in the main thread."""
        self._began = (perf_counter(), process_time())
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self) -> Profile:
        """Stops counting, and tells what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        wall, cpu = perf_counter() - self._began[0], process_time() - self._began[1]
        return Profile(_named(self._innermost), _named(self._anywhere), wall, cpu)

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._innermost[frame.f_code] += 1
        codes: set[CodeType] = set()
        outer: FrameType | None = frame
        while outer is not None:
            codes.add(outer.f_code)
            outer = outer.f_back
        self._anywhere.update(codes)


def _named(counts: Counter[CodeType]) -> dict[str, int]:
    names: Counter[str] = Counter()
    for code, count in counts.items():
        path = Path(code.co_filename)
        names[f"{code.co_qualname}  ({'/'.join(path.parts[-2:])}:{code.co_firstlineno})"] += count
    return dict(names)


_in_host = Sampler()


def start_in_host() -> None:
    """Runs in a host: starts its sampler."""
    _in_host.start()


def stop_in_host() -> Profile:
    """Runs in a host: stops its sampler."""
    return _in_host.stop()
