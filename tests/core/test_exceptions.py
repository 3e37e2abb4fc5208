"""The errors: their family, and their way through pickle."""

from __future__ import annotations

import inspect
import pickle

import pytest

from actorsched import exceptions
from actorsched.exceptions import (
    ActorschedError,
    AskTimeout,
    ChainTooLong,
    DependencyCycle,
    HostDied,
    Interrupted,
    MailboxFull,
    TaskCancelled,
    TaskTimeout,
    shown,
)

KINDS = [getattr(exceptions, name) for name in exceptions.__all__]


def example(kind: type[BaseException]) -> BaseException:
    """Make an instance with a distinct value for every fact that it can hold."""
    facts = [name for name in inspect.signature(kind).parameters if name != "message"]
    values = {name: (name,) if name in ("circle", "path") else f"the {name}" for name in facts}
    return kind("what happened", **values)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_crosses_pickle_with_its_facts_and_notes(kind: type[BaseException]) -> None:
    error = example(kind)
    error.add_note("on the way")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == "what happened"
    assert vars(copy) == vars(error)
    assert copy.__notes__ == ["on the way"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_can_be_made_with_nothing_but_a_message(kind: type[BaseException]) -> None:
    assert str(kind("just so")) == "just so"


@pytest.mark.parametrize("kind", KINDS)
def test_every_fact_is_an_attribute(kind: type[BaseException]) -> None:
    error = example(kind)
    for name in set(inspect.signature(kind).parameters) - {"message"}:
        assert getattr(error, name)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Interrupted])
def test_all_errors_but_the_interruption_are_of_one_family(kind: type[BaseException]) -> None:
    assert issubclass(kind, ActorschedError)


def test_the_interruption_of_plain_code_passes_by_except_exception() -> None:
    assert not issubclass(Interrupted, Exception)


def test_awaiting_a_cancelled_task_is_no_cancellation_of_the_awaiter() -> None:
    assert issubclass(TaskCancelled, Exception)


@pytest.mark.parametrize("kind", [TaskTimeout, AskTimeout])
def test_timeouts_are_the_built_in_kind(kind: type[BaseException]) -> None:
    assert issubclass(kind, TimeoutError)


@pytest.mark.parametrize("kind", [DependencyCycle, ChainTooLong])
def test_a_refused_submission_is_a_wrong_value(kind: type[BaseException]) -> None:
    assert issubclass(kind, ValueError)


def test_facts_are_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        MailboxFull("full", "counter")  # type: ignore[call-arg]  # the mistake under test


def test_a_host_that_died_tells_what_is_known() -> None:
    error = HostDied("host 7 was killed", pid=7, signal=9, cause="killed")
    assert (error.pid, error.signal, error.exit_code, error.cause) == (7, 9, None, "killed")


def test_a_value_in_a_message_is_short_and_never_raises() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert shown("x" * 1000) == "'" + "x" * 76 + "..."
    assert shown(Broken()) == "<Broken whose repr raised RuntimeError>"
