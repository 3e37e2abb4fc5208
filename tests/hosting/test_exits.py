"""How the end of a host is told."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from actorsched._hosting.exits import HostExit, judge, memory_kills


def end(status: int | None, **facts: Any) -> HostExit:
    known = {"ready": True, "said_bye": False, "blame": None, "starved": False, "last_started": 0}
    return judge(7, status, **{**known, **facts})


@pytest.mark.parametrize(
    ("status", "facts", "cause", "detail"),
    [
        (0, {"said_bye": True}, "stopped", "stopped when it was told to"),
        (0, {}, "exited", "exited with code 0"),
        (3, {}, "exited", "exited with code 3"),
        (None, {}, "exited", "exited"),
        (-signal.SIGKILL, {}, "killed", "was killed by SIGKILL"),
        (-signal.SIGTERM, {}, "killed", "was killed by SIGTERM"),
        (-60, {}, "killed", "was killed by signal 60"),
        (-signal.SIGKILL, {"starved": True}, "out of memory", "run out of memory"),
        (-signal.SIGTERM, {"starved": True}, "killed", "was killed by SIGTERM"),
        (-signal.SIGSEGV, {}, "crashed", "a segmentation fault"),
        (-signal.SIGABRT, {}, "crashed", "SIGABRT"),
        (1, {"ready": False}, "never started", "exited with code 1 before it was ready"),
        (-signal.SIGKILL, {"blame": ("crashed", "wrote garbage")}, "crashed", "wrote garbage"),
    ],
)
def test_the_likely_cause_is_told(status: int | None, facts: dict[str, Any], cause: str, detail: str) -> None:
    told = end(status, **facts)
    assert told.cause == cause
    assert detail in told.detail


def test_an_end_is_an_error_for_what_was_lost() -> None:
    error = end(-signal.SIGKILL).error("task 'load'")
    assert str(error) == "task 'load' was lost: the host process 7 was killed by SIGKILL"
    assert (error.pid, error.signal, error.exit_code, error.cause) == (7, signal.SIGKILL, None, "killed")
    assert end(0, said_bye=True).error("x").cause is None


def test_the_system_counts_what_it_killed_for_memory() -> None:
    assert memory_kills() >= 0
