"""Admission control: may a task be taken without one of those with deadlines being late?

The law of this package: it calculates, and knows no clock, no queue and no worker. It is told which tasks there
are, what they have used, and the time. `claims` holds what is remembered of a task; `demand_bound` judges for
earliest deadline first, `response_times` for fixed priorities.
"""

from __future__ import annotations

from actorsched._core.admission.demand_bound import DemandBound
from actorsched._core.admission.response_times import ResponseTimes

__all__ = ["DemandBound", "ResponseTimes"]
