"""How the end of a host is told."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from actorsched._hosting.exits import HostExit, judge, memory_kills
from actorsched._hosting.wire import OUT_OF_MEMORY


def end(status: int | None, **facts: Any) -> HostExit:
    known = {"ready": True, "said_bye": False, "blame": None, "starved": False, "last_started": 0}
    return judge(7, status, **{**known, **facts})


@pytest.mark.parametrize(
    ("status", "facts", "cause", "detail"),
    [
        (0, {"said_bye": True}, "stopped", "stopped when it was told to"),
        (0, {}, "exited", "exited with code 0"),
        (3, {}, "exited", "exited with code 3"),
        (None, {}, "exited", "its exit status is unknown because its spawner had died before it"),
        (None, {"said_bye": True}, "stopped", "stopped when it was told to"),
        (-signal.SIGKILL, {}, "killed", "was killed by SIGKILL"),
        (-signal.SIGTERM, {}, "killed", "was killed by SIGTERM"),
        (-60, {}, "killed", "was killed by signal 60"),
        (-signal.SIGKILL, {"starved": True}, "out of memory", "run out of memory"),
        (-signal.SIGTERM, {"starved": True}, "killed", "was killed by SIGTERM"),
        (-signal.SIGSEGV, {}, "crashed", "a segmentation fault"),
        (-signal.SIGABRT, {}, "crashed", "SIGABRT"),
        (OUT_OF_MEMORY, {}, "out of memory", "ran out of memory"),
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


def test_an_end_without_a_process_names_none() -> None:
    refused = judge(
        0,
        None,
        ready=False,
        said_bye=False,
        blame=("never started", "could not"),
        starved=False,
        last_started=0,
    ).error("x")
    assert (str(refused), refused.pid) == ("x was lost: its host process could not", None)


def test_an_error_says_what_to_do_where_there_is_something() -> None:
    error = end(-signal.SIGKILL).error("task 'load'", "use retry=Retry(crashes=1)")
    assert str(error).endswith("was killed by SIGKILL; use retry=Retry(crashes=1)")


@pytest.mark.parametrize(
    ("status", "facts", "cause", "detail"),
    [
        (OUT_OF_MEMORY, {}, "out of memory", "ran out of the memory that memory_mb=64 allows it; raise"),
        (-signal.SIGABRT, {}, "out of memory", "gave up), most likely for lack of memory: memory_mb=64 is"),
        (-signal.SIGSEGV, {}, "crashed", "native code), perhaps for lack of memory: memory_mb=64 is what"),
        (1, {}, "exited", "exited with code 1, perhaps for lack of memory: memory_mb=64 is what it had"),
        (0, {}, "exited", "exited with code 0"),
        (0, {"said_bye": True}, "stopped", "stopped when it was told to"),
        (-signal.SIGKILL, {}, "killed", "was killed by SIGKILL"),
        (-signal.SIGKILL, {"blame": ("out of memory", "was killed at 90 MB")}, "out of memory", "at 90 MB"),
    ],
)
def test_the_end_of_a_host_whose_task_had_a_limit_of_memory_names_it(
    status: int | None, facts: dict[str, Any], cause: str, detail: str
) -> None:
    told = end(status, **facts).of_limited(64.0)
    assert told.cause == cause
    assert detail in told.detail


def test_the_system_counts_what_it_killed_for_memory() -> None:
    assert memory_kills() >= 0
