"""What a task costs when 100,000 are ready, against what it costs when 100 are: how policies scale.

Both sides run no-ops in a pool of one slot, from `spawn` until they are awaited. The floor has 100 of them
ready at once, again and again. Ours has all of its tasks ready before the first one runs: so on average half
of them are in the queue.

The garbage collector is off during the rounds of both: it looks at whatever is alive, 100,000 tasks with
their contexts for instance, which is the price of having them, not of choosing among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks._bounded import POLICIES, no_ops
from benchmarks._figure import Figure

if TYPE_CHECKING:
    from benchmarks._bounded import Made

FEW = 100


def _figure(name: str, policy: Made) -> Figure:
    floor = no_ops(policy, ready=FEW, collector=False)
    return Figure(
        name=f"ready_queue_{name}",
        what=f"a task among 100,000 ready ones, against one among {FEW}; {name}",
        judged="time",
        unit="µs",
        must=1.5,
        aim=1.2,
        floor=floor,
        ours=no_ops(policy, collector=False),
        trio_floor=floor,
        size=100_000,
        quick_size=20_000,
    )


FIGURES = tuple(_figure(name, policy) for name, policy in POLICIES.items())
