"""The life of a task: the table of what may follow what."""

from __future__ import annotations

from itertools import pairwise

import pytest

from actorsched._core.lifecycle import ALLOWED, FINAL, IllegalTransition, TaskStatus, check, mermaid

(
    PENDING,
    WAITING,
    READY,
    BLOCKED,
    RUNNING,
    PREEMPTED,
    RETRYING,
    COMPLETED,
    FAILED,
    CANCELLED,
    DEADLINE_MISSED,
) = TaskStatus

LIVES = {
    "a plain one": [PENDING, READY, RUNNING, COMPLETED],
    "with dependencies": [PENDING, WAITING, READY, RUNNING, COMPLETED],
    "whose dependency failed": [PENDING, WAITING, FAILED],
    "that awaits its children": [PENDING, READY, RUNNING, WAITING, READY, RUNNING, COMPLETED],
    "that is cancelled while it awaits": [PENDING, READY, RUNNING, WAITING, RUNNING, CANCELLED],
    "that needs a resource": [PENDING, READY, BLOCKED, READY, RUNNING, BLOCKED, READY, RUNNING, COMPLETED],
    "that closes a deadlock": [PENDING, READY, RUNNING, BLOCKED, FAILED],
    "that is preempted": [PENDING, READY, RUNNING, PREEMPTED, RUNNING, COMPLETED],
    "that is tried again": [PENDING, READY, RUNNING, RETRYING, READY, RUNNING, FAILED],
    "that is cancelled between attempts": [PENDING, READY, RUNNING, RETRYING, CANCELLED],
    "that is cancelled at once": [PENDING, CANCELLED],
    "that is too late": [PENDING, READY, DEADLINE_MISSED],
    "whose host took it back": [PENDING, READY, RUNNING, READY, RUNNING, COMPLETED],
}


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_the_lives_that_tasks_lead_are_allowed(life: list[TaskStatus]) -> None:
    for old, new in pairwise(life):
        assert check(old, new) is new
    assert life[-1] in FINAL


def test_nothing_follows_a_final_status() -> None:
    assert {COMPLETED, FAILED, CANCELLED, DEADLINE_MISSED} == FINAL
    for old in FINAL:
        for new in TaskStatus:
            with pytest.raises(IllegalTransition, match=f"{old.name} is final"):
                check(old, new)


@pytest.mark.parametrize("old", [status for status in TaskStatus if status not in FINAL])
def test_whatever_is_not_final_can_end(old: TaskStatus) -> None:
    assert ALLOWED[old] >= {FAILED, CANCELLED, DEADLINE_MISSED}


def test_only_what_runs_completes() -> None:
    assert [old for old in TaskStatus if COMPLETED in ALLOWED[old]] == [RUNNING]


def test_nothing_follows_itself_and_nothing_returns_to_the_beginning() -> None:
    for old, following in ALLOWED.items():
        assert old not in following
        assert PENDING not in following


def test_every_status_is_reached() -> None:
    assert set().union(*ALLOWED.values()) == set(TaskStatus) - {PENDING}


def test_an_illegal_change_names_both_ends_and_what_is_allowed() -> None:
    with pytest.raises(
        IllegalTransition, match=r"from PENDING to RUNNING; after PENDING come WAITING, READY, FAILED"
    ):
        check(PENDING, RUNNING)


def test_the_diagram_shows_every_transition_and_nothing_else() -> None:
    lines = [line.strip() for line in mermaid().splitlines()]
    assert lines[0] == "stateDiagram-v2"
    arrows = {f"{old.name} --> {new.name}" for old, following in ALLOWED.items() for new in following}
    ends = {f"{status.name} --> [*]" for status in FINAL}
    assert set(lines[1:]) == arrows | ends | {"[*] --> PENDING"}
    assert len(lines) == len(set(lines))
