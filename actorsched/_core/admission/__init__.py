"""Admission control: may a task be taken without one of those with deadlines being late?

The law of this package: it calculates, and knows no clock, no queue and no worker. It is told which tasks
there are, what they have used, and the time.

`claims` is what is remembered of a task, `busy` how long a processor is. `demand_bound` judges for earliest
deadline first, with `backlog` for one processor and `density` for several; `response_times` judges for fixed
priorities, with `interference` for several processors.

Times are compared with a tolerance of `claims.EPSILON` of themselves, so that sums of floats that should be
equal are. With integers (below 10^12) all that is said of one processor is exact.
"""

from __future__ import annotations

from actorsched._core.admission.demand_bound import DemandBound
from actorsched._core.admission.response_times import ResponseTimes

__all__ = ["DemandBound", "ResponseTimes"]
