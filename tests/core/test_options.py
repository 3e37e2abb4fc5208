"""Options and specifications: what they keep, and how a wrong one is refused."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched.options import (
    DEFAULT,
    DEFAULT_ACTOR,
    ActorOptions,
    Backoff,
    Hosts,
    Mailbox,
    Priority,
    Retry,
    Supervise,
    TaskOptions,
    actor_options,
    task_options,
    usable_cpus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SPECIFICATIONS = [
    Retry(attempts=3, delay="1s", backoff=1.5, max_delay="30s", jitter=False, on=(OSError,), crashes=2),
    Mailbox(capacity=None, overflow="raise"),
    Hosts(min=1, max=3, start_timeout=5),
    Backoff(delay="100ms", factor=3, max="1m"),
    Supervise("rest_for_one", max_restarts=0, period="1m", backoff=Backoff("1s")),
]


class Ref:
    """Stands for a TaskRef: something that can be awaited but not iterated."""


# -------------------------------------------------------------------------------------------- specifications


@pytest.mark.parametrize("spec", SPECIFICATIONS)
def test_a_specification_survives_pickle_copy_and_replace(spec: Retry) -> None:
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert copy.deepcopy(spec) == spec
    assert spec.replace() == spec
    assert hash(spec.replace()) == hash(spec)


@pytest.mark.parametrize("spec", SPECIFICATIONS)
def test_the_repr_of_a_specification_makes_it_again(spec: Retry) -> None:
    text = repr(spec).replace("<class 'OSError'>", "OSError")
    assert eval(text) == spec


@pytest.mark.parametrize("spec", SPECIFICATIONS)
def test_a_specification_cannot_be_changed(spec: Any) -> None:
    before = repr(spec)
    field = spec.__slots__[0]
    with pytest.raises(AttributeError, match=r"is frozen; make another with \.replace"):
        setattr(spec, field, 1)
    with pytest.raises(AttributeError, match="cannot be deleted"):
        delattr(spec, field)
    with pytest.raises(AttributeError):
        spec.unheard_of = 1
    assert repr(spec) == before


def test_specifications_of_different_kinds_are_not_equal() -> None:
    assert len(set(SPECIFICATIONS)) == len(SPECIFICATIONS)
    assert Mailbox() != Hosts()


def test_replace_checks_like_a_new_one() -> None:
    spec = Retry(attempts=3, delay="1s")
    assert spec.replace(delay="2s") == Retry(attempts=3, delay=2.0)
    with pytest.raises(ValueError, match="longer than Retry.max_delay"):
        spec.replace(max_delay="10ms")


def test_durations_are_kept_as_seconds() -> None:
    retry = Retry(delay="250ms", max_delay="1m")
    assert (retry.delay, retry.max_delay) == (0.25, 60.0)
    assert Supervise(period="1m", backoff="1s") == Supervise(period=60, backoff=Backoff(1))


def test_the_defaults_are_those_of_the_contract() -> None:
    assert (Retry().attempts, Retry().crashes, Retry().on) == (1, 0, (Exception,))
    assert (Mailbox().capacity, Mailbox().overflow) == (1000, "wait")
    assert (Hosts().min, Hosts().max) == (0, usable_cpus())
    assert (Supervise().strategy, Supervise().max_restarts, Supervise().period) == ("one_for_one", 3, 5.0)
    assert Supervise().backoff == Backoff(0)


def test_a_single_exception_class_is_as_good_as_a_tuple() -> None:
    assert Retry(on=OSError) == Retry(on=[OSError])


def test_more_hosts_than_processors_may_be_kept() -> None:
    many = usable_cpus() + 5
    assert Hosts(min=many).max == many


def test_the_usable_processors_are_those_that_this_process_may_use() -> None:
    assert usable_cpus() >= 1
    if sys.version_info < (3, 13) and hasattr(os, "sched_getaffinity"):
        assert usable_cpus() == len(os.sched_getaffinity(0))


WRONG_SPECIFICATIONS: list[tuple[Callable[..., object], dict[str, object], type[Exception], str]] = [
    (Retry, {"attempts": 0}, ValueError, "Retry.attempts=0 is less than 1; give an int of 1 or more"),
    (Retry, {"attempts": 2.0}, TypeError, "Retry.attempts=2.0 is of type float"),
    (Retry, {"attempts": True}, TypeError, "Retry.attempts=True is of type bool"),
    (Retry, {"delay": "soon"}, ValueError, "Retry.delay='soon' is not"),
    (
        Retry,
        {"delay": "2s", "max_delay": "1s"},
        ValueError,
        "Retry.delay=2s is longer than Retry.max_delay=1s",
    ),
    (Retry, {"backoff": 0.5}, ValueError, "Retry.backoff=0.5 is not a finite number of 1 or more"),
    (Retry, {"backoff": float("nan")}, ValueError, "Retry.backoff=nan is not"),
    (Retry, {"backoff": "2"}, TypeError, "Retry.backoff='2' is of type str"),
    (Retry, {"jitter": 1}, TypeError, "Retry.jitter=1 is of type int; give True or False"),
    (Retry, {"on": ()}, ValueError, "Retry.on=() names no exception"),
    (Retry, {"on": "OSError"}, TypeError, "Retry.on='OSError' is of type str"),
    (Retry, {"on": OSError()}, TypeError, "give exception classes"),
    (Retry, {"on": (KeyboardInterrupt,)}, TypeError, "a BaseException is never retried"),
    (Retry, {"on": (OSError, "ValueError")}, TypeError, "Retry.on='ValueError'"),
    (Retry, {"crashes": -1}, ValueError, "Retry.crashes=-1 is less than 0"),
    (Mailbox, {"capacity": 0}, ValueError, "Mailbox.capacity=0 is less than 1"),
    (Mailbox, {"capacity": "big"}, TypeError, "Mailbox.capacity='big'"),
    (Mailbox, {"overflow": "drop"}, ValueError, "choose from 'wait', 'raise', 'drop_oldest', 'drop_newest'"),
    (Mailbox, {"overflow": ["wait"]}, ValueError, "Mailbox.overflow=['wait'] is not a choice"),
    (Hosts, {"min": 3, "max": 2}, ValueError, "Hosts.min=3 is more than Hosts.max=2"),
    (Hosts, {"max": 0}, ValueError, "Hosts.max=0 is less than 1"),
    (Hosts, {"min": "2"}, TypeError, "Hosts.min='2' is of type str"),
    (Hosts, {"start_timeout": 0}, ValueError, "Hosts.start_timeout=0 is no time at all"),
    (Backoff, {"delay": 2, "max": 1}, ValueError, "Backoff.delay=2s is longer than Backoff.max=1s"),
    (Backoff, {"factor": 0}, ValueError, "Backoff.factor=0"),
    (Supervise, {"strategy": "all"}, ValueError, "Supervise.strategy='all' is not a choice"),
    (Supervise, {"max_restarts": -1}, ValueError, "Supervise.max_restarts=-1"),
    (Supervise, {"period": "0s"}, ValueError, "Supervise.period='0s' is no time at all"),
    (Supervise, {"backoff": "now"}, ValueError, "Supervise.backoff='now'"),
]


@pytest.mark.parametrize(("kind", "fields", "error", "message"), WRONG_SPECIFICATIONS)
def test_a_wrong_specification_names_the_field_the_value_and_the_remedy(
    kind: Callable[..., object], fields: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        kind(**fields)
    assert message in str(caught.value)
    assert ";" in str(caught.value)


# ------------------------------------------------------------------------------- options of tasks and actors


def test_without_options_the_defaults_themselves_are_returned() -> None:
    assert task_options({}) is DEFAULT
    assert actor_options({}) is DEFAULT_ACTOR
    assert DEFAULT.retry == Retry()
    assert DEFAULT.priority == Priority.NORMAL


def test_all_options_of_a_task_are_kept() -> None:
    first, second = Ref(), Ref()
    options = task_options(
        {
            "name": "load",
            "description": "loads",
            "tags": ["a", "b"],
            "metadata": {"size": 3},
            "priority": Priority.HIGH,
            "after": (ref for ref in (first, second)),
            "host": "thread",
            "timeout": "5s",
            "retry": 3,
            "abandon_on_cancel": True,
            "on_upstream_failure": "run",
            "kwargs": {"level": 9},
        }
    )
    assert options == TaskOptions(
        name="load",
        description="loads",
        tags=("a", "b"),
        metadata={"size": 3},
        priority=4,
        after=(first, second),
        host="thread",
        timeout=5.0,
        retry=Retry(attempts=3),
        abandon_on_cancel=True,
        on_upstream_failure="run",
        kwargs={"level": 9},
    )


def test_all_options_of_an_actor_are_kept() -> None:
    given_options = {
        "name": "c",
        "restart": "permanent",
        "host": "process",
        "mailbox": Mailbox(5),
        "kwargs": {"start": 1},
    }
    assert actor_options(given_options) == ActorOptions(
        name="c", restart="permanent", host="process", mailbox=Mailbox(5), kwargs={"start": 1}
    )


def test_none_is_as_good_as_leaving_an_option_out() -> None:
    nothing = dict.fromkeys(("name", "description", "host", "timeout"))
    assert task_options(nothing) == DEFAULT
    assert actor_options(dict.fromkeys(("name", "host", "mailbox"))) == DEFAULT_ACTOR


def test_later_changes_of_what_was_given_change_nothing() -> None:
    kwargs, tags, after = {"a": 1}, ["x"], [Ref()]
    options = task_options({"kwargs": kwargs, "tags": tags, "after": after})
    kwargs.clear()
    tags.clear()
    after.clear()
    assert (options.kwargs, options.tags, len(options.after)) == ({"a": 1}, ("x",), 1)


@given(st.integers())
def test_any_int_is_a_priority(priority: int) -> None:
    assert task_options({"priority": priority}).priority == priority


WRONG_TASK_OPTIONS: list[tuple[Mapping[str, object], type[Exception], str]] = [
    ({"priorty": 1}, TypeError, "unknown option 'priorty'; did you mean 'priority'?"),
    ({"xyzzy": 1}, TypeError, "unknown option 'xyzzy'; The options are: name, description, tags"),
    ({"level": 9}, TypeError, "Keyword arguments of the function go into kwargs"),
    ({"deadline": "5s"}, TypeError, "unknown option 'deadline'"),
    ({"resources": {"db"}}, TypeError, "unknown option 'resources'"),
    ({"name": ""}, ValueError, "name='' is empty"),
    ({"name": 7}, TypeError, "name=7 is of type int; give a str"),
    ({"description": b"x"}, TypeError, "description=b'x' is of type bytes"),
    ({"tags": "nightly"}, TypeError, "tags='nightly' is of type str; give an iterable of str"),
    ({"tags": 5}, TypeError, "tags=5"),
    ({"tags": ["a", 1]}, TypeError, "tags=1 is of type int"),
    ({"metadata": [("a", 1)]}, TypeError, "metadata=[('a', 1)] is of type list; give a mapping"),
    ({"priority": "high"}, TypeError, "priority='high' is of type str; give any int, or a Priority: IDLE"),
    ({"priority": True}, TypeError, "priority=True"),
    ({"priority": 2.5}, TypeError, "priority=2.5"),
    ({"after": Ref()}, TypeError, "give an iterable of TaskRefs, such as after=[ref]"),
    ({"after": "load"}, TypeError, "after='load'"),
    ({"host": "auto"}, ValueError, "host='auto' is not a choice; choose from 'loop', 'thread', 'process'"),
    ({"timeout": "5"}, ValueError, "timeout='5' has no unit"),
    ({"timeout": -1}, ValueError, "timeout=-1 is negative"),
    ({"retry": 0}, ValueError, "retry=0 is less than 1"),
    ({"retry": "3"}, TypeError, "retry='3' is of type str; give the number of attempts, or Retry("),
    ({"retry": True}, TypeError, "retry=True"),
    ({"abandon_on_cancel": None}, TypeError, "abandon_on_cancel=None"),
    ({"abandon_on_cancel": True, "host": "process"}, ValueError, "contradicts host='process'"),
    ({"abandon_on_cancel": True, "host": "loop"}, ValueError, "only a thread can be abandoned"),
    ({"on_upstream_failure": "skip"}, ValueError, "choose from 'fail', 'run'"),
    ({"kwargs": None}, TypeError, "kwargs=None is of type NoneType; give a mapping"),
    ({"kwargs": {1: 2}}, TypeError, "kwargs has the key 1 of type int"),
]


@pytest.mark.parametrize(("mapping", "error", "message"), WRONG_TASK_OPTIONS)
def test_a_wrong_option_of_a_task_names_itself_its_value_and_the_remedy(
    mapping: Mapping[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        task_options(mapping)
    assert message in str(caught.value)


WRONG_ACTOR_OPTIONS: list[tuple[Mapping[str, object], type[Exception], str]] = [
    ({"nam": "c"}, TypeError, "unknown option 'nam'; did you mean 'name'?"),
    ({"priority": 1}, TypeError, "unknown option 'priority'"),
    ({"restart": "always"}, ValueError, "choose from 'permanent', 'transient', 'temporary'"),
    ({"host": "thread"}, ValueError, "choose from 'loop', 'process'"),
    ({"mailbox": 100}, TypeError, "mailbox=100 is of type int; give a Mailbox"),
]


@pytest.mark.parametrize(("mapping", "error", "message"), WRONG_ACTOR_OPTIONS)
def test_a_wrong_option_of_an_actor_names_itself_its_value_and_the_remedy(
    mapping: Mapping[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        actor_options(mapping)
    assert message in str(caught.value)


@pytest.mark.parametrize("host", ["thread", None])
def test_what_runs_in_a_thread_may_be_abandoned(host: str | None) -> None:
    assert task_options({"abandon_on_cancel": True, "host": host}).abandon_on_cancel


@pytest.mark.parametrize(
    ("kind", "build"), [(TaskOptions, task_options), (ActorOptions, actor_options)], ids=["task", "actor"]
)
def test_every_field_has_a_check_and_every_check_a_field(
    kind: type[TaskOptions | ActorOptions], build: Callable[[Mapping[str, object]], object]
) -> None:
    with pytest.raises(TypeError) as caught:
        build({"?": 1})
    listed = str(caught.value).partition("The options are: ")[2].partition(".")[0]
    assert listed.split(", ") == list(kind.__struct_fields__)
