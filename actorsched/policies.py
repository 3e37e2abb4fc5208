"""Scheduling policies: the four that come with actorsched, and what a policy of one's own has to be.

`Runtime(policy="edf")` and `Runtime(policy=Edf())` mean the same. A policy of one's own extends `Policy`, or
satisfies `SchedulingPolicy` otherwise; the runtime asks it for a `fresh` copy for each pool.
"""

from __future__ import annotations

from actorsched._core.policies import Policy, Schedulable, SchedulingPolicy
from actorsched._core.policies.edf import Edf
from actorsched._core.policies.fair import Fair
from actorsched._core.policies.priority import FixedPriority
from actorsched._core.policies.realtime import Realtime

__all__ = ["Edf", "Fair", "FixedPriority", "Policy", "Realtime", "Schedulable", "SchedulingPolicy"]
