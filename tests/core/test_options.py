"""Options and specifications: what they keep, and how a wrong one is refused."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched import options, specifications
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
    capacity,
    pool_name,
    pool_sizes,
    resource_name,
    seconds_until,
    task_options,
    usable_cpus,
    workers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SPECIFICATIONS = [
    Retry(attempts=3, delay="1s", backoff=1.5, max_delay="30s", jitter=False, on=(OSError,), crashes=2),
    Mailbox(capacity=None, overflow="raise"),
    Hosts(min=1, max=3, idle_timeout="1m", max_tasks=100, max_rss="1 GB", start_timeout=5),
    Backoff(delay="100ms", factor=3, max="1m"),
    Supervise("rest_for_one", max_restarts=0, period="1m", backoff=Backoff("1s")),
]


SOON = datetime.now(UTC) + timedelta(days=1)
ELSEWHERE = SOON.astimezone(timezone(timedelta(hours=-11)))
PAST = datetime(2020, 1, 1, tzinfo=UTC)
NAIVE = datetime(2099, 1, 1)  # noqa: DTZ001  # it is there to be refused


class Nowhere(tzinfo):
    """A time zone that knows no offset, so that a datetime with it is naive all the same."""

    def utcoffset(self, when: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


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
        assert usable_cpus() <= len(os.sched_getaffinity(0))


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
    (Hosts, {"idle_timeout": 0}, ValueError, "Hosts.idle_timeout=0 is no time at all"),
    (Hosts, {"max_tasks": 0}, ValueError, "Hosts.max_tasks=0 is less than 1"),
    (Hosts, {"max_rss": "lots"}, ValueError, "Hosts.max_rss='lots' is no amount of memory"),
    (Hosts, {"min": "2"}, TypeError, "Hosts.min='2' is of type str"),
    (Hosts, {"start_timeout": 0}, ValueError, "Hosts.start_timeout=0 is no time at all"),
    (Hosts, {"cpu_limit": 101}, ValueError, "Hosts.cpu_limit=101 is no share of a machine"),
    (Hosts, {"cpu_limit": "90"}, TypeError, "Hosts.cpu_limit='90' is of type str; give per cent"),
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
    checked = task_options(
        {
            "name": "load",
            "description": "loads",
            "tags": ["a", "b"],
            "metadata": {"size": 3},
            "priority": Priority.HIGH,
            "after": (ref for ref in (first, second)),
            "host": "thread",
            "timeout": "5s",
            "deadline": "1m",
            "hard": True,
            "cost": "250ms",
            "period": "2m",
            "retry": 3,
            "resources": {"net", "db"},
            "preemptible": False,
            "tag": "io",
            "abandon_on_cancel": True,
            "max_latency": 2,
            "cpu_cores": 2,
            "memory_mb": 512,
            "on_upstream_failure": "run",
            "kwargs": {"level": 9},
        }
    )
    assert checked == TaskOptions(
        name="load",
        description="loads",
        tags=("a", "b"),
        metadata={"size": 3},
        priority=4,
        after=(first, second),
        host="thread",
        timeout=5.0,
        deadline=60.0,
        hard=True,
        cost=0.25,
        period=120.0,
        retry=Retry(attempts=3),
        resources=("db", "net"),
        preemptible=False,
        tag="io",
        abandon_on_cancel=True,
        max_latency=2.0,
        cpu_cores=2,
        memory_mb=512,
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
    nothing = dict.fromkeys(("name", "description", "host", "timeout", "deadline", "cost", "period", "tag"))
    assert task_options(nothing) == DEFAULT
    assert task_options(dict.fromkeys(("max_latency", "cpu_cores", "memory_mb"))) == DEFAULT
    assert actor_options(dict.fromkeys(("name", "host", "mailbox"))) == DEFAULT_ACTOR


def test_later_changes_of_what_was_given_change_nothing() -> None:
    kwargs, tags, after, resources = {"a": 1}, ["x"], [Ref()], {"db"}
    checked = task_options({"kwargs": kwargs, "tags": tags, "after": after, "resources": resources})
    for given_value in (kwargs, tags, after, resources):
        given_value.clear()
    assert (checked.kwargs, checked.tags, len(checked.after)) == ({"a": 1}, ("x",), 1)
    assert checked.resources == ("db",)


@given(st.integers())
def test_any_int_is_a_priority(priority: int) -> None:
    assert task_options({"priority": priority}).priority == priority


WRONG_TASK_OPTIONS: list[tuple[Mapping[str, object], type[Exception], str]] = [
    ({"priorty": 1}, TypeError, "unknown option 'priorty'; did you mean 'priority'?"),
    ({"xyzzy": 1}, TypeError, "unknown option 'xyzzy'. The options are: name, description, tags"),
    ({"level": 9}, TypeError, "Keyword arguments of the function go into kwargs"),
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
    (
        {"host": "atuo"},
        ValueError,
        "host='atuo' is not a choice; choose from 'loop', 'thread', 'process', 'auto'",
    ),
    ({"timeout": "5"}, ValueError, "timeout='5' has no unit"),
    ({"timeout": -1}, ValueError, "timeout=-1 is negative"),
    ({"deadline": 0}, ValueError, "deadline=0 is no time at all; give a duration above zero"),
    ({"deadline": "0s"}, ValueError, "deadline='0s' is no time at all"),
    ({"deadline": -1}, ValueError, "deadline=-1 is negative"),
    ({"deadline": timedelta(seconds=-1)}, ValueError, "is negative"),
    ({"deadline": float("nan")}, ValueError, "deadline=nan is not finite"),
    ({"deadline": float("inf")}, ValueError, "deadline=inf is not finite"),
    ({"deadline": "soon"}, ValueError, 'or "1d", or an aware datetime'),
    ({"deadline": True}, ValueError, "deadline=True is true or false, not a duration"),
    ({"deadline": [5]}, ValueError, "deadline=[5] is a list, not a duration"),
    ({"deadline": date(2099, 1, 1)}, ValueError, "is a date, not a duration; give seconds as a number"),
    ({"deadline": NAIVE}, ValueError, "deadline=2099-01-01T00:00:00 is a naive datetime"),
    ({"deadline": NAIVE}, ValueError, "; give it a tzinfo, such as datetime.now(timezone.utc) + timedelta("),
    ({"deadline": NAIVE.replace(tzinfo=Nowhere())}, ValueError, "is a naive datetime"),
    ({"deadline": PAST}, ValueError, "deadline=2020-01-01T00:00:00+00:00 is already past, by "),
    (
        {"deadline": PAST},
        ValueError,
        'give a time to come, or a duration from the submission on, such as "5s"',
    ),
    ({"deadline": datetime.min.replace(tzinfo=UTC)}, ValueError, "is already past"),
    ({"hard": 1, "deadline": "5s"}, TypeError, "hard=1 is of type int; give True or False"),
    ({"hard": None}, TypeError, "hard=None"),
    ({"hard": True}, ValueError, "hard=True contradicts deadline=None"),
    ({"hard": True, "deadline": None}, ValueError, 'such as deadline="5s", or leave hard out'),
    ({"cost": 0}, ValueError, "cost=0 is no time at all; give a duration above zero"),
    ({"cost": -1}, ValueError, "cost=-1 is negative"),
    ({"cost": "much"}, ValueError, "cost='much' is not"),
    ({"cost": SOON}, ValueError, "is a datetime, not a duration"),
    ({"period": 0.0}, ValueError, "period=0.0 is no time at all"),
    ({"period": "often"}, ValueError, "period='often' is not"),
    ({"period": float("inf")}, ValueError, "period=inf is not finite"),
    ({"cost": "3s", "period": "2s"}, ValueError, "cost=3s is longer than period=2s: the next is due before"),
    ({"cost": 3, "deadline": "2s"}, ValueError, "cost=3s is longer than deadline=2s: it could never be done"),
    (
        {"cost": 3, "deadline": 2, "period": 9},
        ValueError,
        "; give the processor time of one task as cost, or",
    ),
    ({"retry": 0}, ValueError, "retry=0 is less than 1"),
    ({"retry": "3"}, TypeError, "retry='3' is of type str; give the number of attempts, or Retry("),
    ({"retry": True}, TypeError, "retry=True"),
    ({"resources": "db"}, TypeError, "resources='db' is of type str; give a set of names, such as"),
    ({"resources": "db"}, TypeError, 'such as resources={"db"}'),
    ({"resources": b"db"}, TypeError, "resources=b'db' is of type bytes"),
    ({"resources": {"db": 2}}, TypeError, "resources={'db': 2} is of type dict"),
    ({"resources": None}, TypeError, "resources=None is of type NoneType; give a set of names"),
    ({"resources": 3}, TypeError, "resources=3 is of type int"),
    ({"resources": ["db", 3]}, TypeError, "resources=3 is of type int; give names as str, such as"),
    ({"resources": {None}}, TypeError, "resources=None is of type NoneType; give names as str"),
    ({"resources": {""}}, ValueError, "resources='' is empty; give a name that says something"),
    ({"resources": ["db", " "]}, ValueError, "resources=' ' is empty"),
    (
        {"resources": ["db", "x", "db"]},
        ValueError,
        "resources=['db', 'db', 'x'] names 'db' twice; a task holds",
    ),
    ({"preemptible": 0}, TypeError, "preemptible=0 is of type int; give True or False"),
    ({"preemptible": None}, TypeError, "preemptible=None"),
    ({"tag": ""}, ValueError, "tag='' is empty; give a str that says something, or leave it out"),
    ({"tag": 3}, TypeError, "tag=3 is of type int; give a str"),
    ({"tag": ["io"]}, TypeError, "tag=['io'] is of type list"),
    ({"tagg": "io"}, TypeError, "unknown option 'tagg'; did you mean 'tag"),
    ({"max_latency": 0}, ValueError, "max_latency=0 is no time at all"),
    ({"max_latency": -1}, ValueError, "max_latency=-1 is negative"),
    ({"max_latency": SOON}, ValueError, "is a datetime, not a duration"),
    ({"cpu_cores": 0}, ValueError, "cpu_cores=0 is less than 1; give how many processors it uses"),
    ({"cpu_cores": 1.5}, TypeError, "cpu_cores=1.5 is of type float; give how many processors"),
    ({"cpu_cores": True}, TypeError, "cpu_cores=True"),
    ({"cpu_cores": "2"}, TypeError, "cpu_cores='2' is of type str"),
    ({"cpu_cores": 2, "host": "loop"}, ValueError, "cpu_cores=2 does not fit a task in the event loop"),
    ({"memory_mb": 0}, ValueError, "memory_mb=0 is no amount of memory; give how many megabytes"),
    ({"memory_mb": -1.5}, ValueError, "memory_mb=-1.5 is no amount of memory"),
    ({"memory_mb": float("inf")}, ValueError, "memory_mb=inf is no amount of memory"),
    ({"memory_mb": float("nan")}, ValueError, "memory_mb=nan is no amount of memory"),
    ({"memory_mb": "512 MB"}, TypeError, "memory_mb='512 MB' is of type str; give how many megabytes"),
    ({"memory_mb": True}, TypeError, "memory_mb=True"),
    ({"memory_mb": 0.5, "host": "loop"}, ValueError, 'use host="process", where it is a limit too'),
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


RIGHT_TASK_OPTIONS: list[tuple[Mapping[str, object], Mapping[str, object]]] = [
    ({"deadline": 5}, {"deadline": 5.0}),
    ({"deadline": timedelta(minutes=1)}, {"deadline": 60.0}),
    ({"deadline": SOON, "hard": True}, {"deadline": SOON, "hard": True}),
    ({"deadline": ELSEWHERE}, {"deadline": ELSEWHERE}),
    ({"deadline": datetime.max.replace(tzinfo=UTC)}, {"deadline": datetime.max.replace(tzinfo=UTC)}),
    ({"deadline": "5s", "hard": False}, {"deadline": 5.0}),
    ({"hard": False}, {}),
    ({"cost": "2s", "period": "2s", "deadline": "2s"}, {"cost": 2.0, "period": 2.0, "deadline": 2.0}),
    ({"cost": "3s", "deadline": SOON}, {"cost": 3.0, "deadline": SOON}),
    ({"period": "2s", "deadline": "1m"}, {"period": 2.0, "deadline": 60.0}),  # several under way at once
    ({"resources": ()}, {}),
    ({"resources": set()}, {}),
    ({"resources": ["b", "a"]}, {"resources": ("a", "b")}),
    ({"resources": frozenset({"b", "a", "c"})}, {"resources": ("a", "b", "c")}),
    ({"resources": (name for name in "ba")}, {"resources": ("a", "b")}),
    ({"preemptible": True}, {}),
    ({"tag": "io"}, {"tag": "io"}),
    ({"max_latency": "250ms"}, {"max_latency": 0.25}),
    ({"cpu_cores": 1}, {"cpu_cores": 1}),
    ({"memory_mb": 0.5, "host": "thread"}, {"memory_mb": 0.5, "host": "thread"}),
]


@pytest.mark.parametrize(("mapping", "fields"), RIGHT_TASK_OPTIONS)
def test_a_right_option_of_a_task_is_kept_in_its_one_form(
    mapping: Mapping[str, object], fields: Mapping[str, Any]
) -> None:
    assert task_options(mapping) == TaskOptions(**fields)


def test_the_options_of_a_task_survive_pickle_copy_and_replace() -> None:
    checked = task_options({"deadline": ELSEWHERE, "resources": {"db"}, "retry": 2, "tags": ["a"]})
    assert pickle.loads(pickle.dumps(checked)) == checked
    assert copy.deepcopy(checked) == checked
    assert checked.replace(tag="io") == TaskOptions(
        deadline=ELSEWHERE, resources=("db",), retry=Retry(attempts=2), tags=("a",), tag="io"
    )


def test_a_deadline_is_as_far_away_in_every_time_zone() -> None:
    for when in (SOON, ELSEWHERE):
        assert 0 < seconds_until(when) < timedelta(days=1).total_seconds()


def test_a_deadline_that_came_too_near_is_refused_when_it_is_looked_at_again() -> None:
    checked = task_options({"deadline": datetime.now(UTC) + timedelta(days=1)}).replace(deadline=PAST)
    assert isinstance(checked.deadline, datetime)
    with pytest.raises(ValueError, match=r"due=2020-01-01T00:00:00\+00:00 is already past"):
        seconds_until(checked.deadline, "due")


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


# ---------------------------------------------------------------------------------------- pools and resources


def test_pools_are_names_with_numbers_of_workers() -> None:
    assert pool_sizes({}) == {}
    assert pool_sizes({"io": 2, "cpu": 1, "net": None}) == {"io": 2, "cpu": 1, "net": None}
    assert list(pool_sizes({"b": 1, "a": 1})) == ["b", "a"]


def test_later_changes_of_the_pools_that_were_given_change_nothing() -> None:
    sizes = {"io": 2}
    checked = pool_sizes(sizes)
    sizes.clear()
    assert checked == {"io": 2}


def test_a_right_name_or_number_is_returned_as_it_is() -> None:
    assert (pool_name("io"), resource_name("loop")) == ("io", "loop")
    assert (workers(1), workers(10**6), workers(None)) == (1, 10**6, None)
    assert (capacity(1), capacity(10**6)) == (1, 10**6)


WRONG_SIZES: list[tuple[Callable[[object], object], object, type[Exception], str]] = [
    (
        pool_sizes,
        None,
        TypeError,
        "pools=None is of type NoneType; give a mapping of names to numbers of workers",
    ),
    (
        pool_sizes,
        3,
        TypeError,
        "pools=3 is of type int; give a mapping of names to numbers of workers, such as",
    ),
    (pool_sizes, ["io"], TypeError, 'such as pools={"io": 2}'),
    (pool_sizes, {1: 2}, TypeError, 'pools=1 is of type int; give names as str, such as "io"'),
    (pool_sizes, {"": 2}, ValueError, "pools='' is empty; give a name that says something"),
    (pool_sizes, {" ": 2}, ValueError, "pools=' ' is empty"),
    (
        pool_sizes,
        {"loop": 2},
        ValueError,
        "pools='loop' names a pool that exists already (Runtime(concurrency=",
    ),
    (pool_sizes, {"thread": 2}, ValueError, "pools='thread' names a pool that exists already"),
    (
        pool_sizes,
        {"process": 2},
        ValueError,
        "(Runtime(hosts=Hosts(max=...)) limits it); choose another name",
    ),
    (
        pool_sizes,
        {"io": 0},
        ValueError,
        "pools['io']=0 is less than 1; give how many of its tasks may run at once",
    ),
    (pool_sizes, {"io": 2, "cpu": -1}, ValueError, "pools['cpu']=-1 is less than 1"),
    (pool_sizes, {"io": "2"}, TypeError, "pools['io']='2' is of type str; give how many"),
    (pool_sizes, {"io": True}, TypeError, "pools['io']=True is of type bool"),
    (pool_sizes, {"io": 2.0}, TypeError, "pools['io']=2.0 is of type float"),
    (pool_name, "process", ValueError, "name='process' names a pool that exists already"),
    (pool_name, None, TypeError, "name=None is of type NoneType; give names as str"),
    (
        workers,
        0,
        ValueError,
        "workers=0 is less than 1; give how many of its tasks may run at once, an int of 1 or",
    ),
    (workers, "all", TypeError, "an int of 1 or more, or None for no limit"),
    (workers, False, TypeError, "workers=False is of type bool"),
    (resource_name, "", ValueError, "name='' is empty; give a name that says something, such as \"db\""),
    (resource_name, 3, TypeError, 'name=3 is of type int; give names as str, such as "db"'),
    (
        capacity,
        0,
        ValueError,
        "capacity=0 is less than 1; give how many tasks may hold it at once, an int of 1",
    ),
    (capacity, -3, ValueError, "capacity=-3 is less than 1"),
    (capacity, None, TypeError, "capacity=None is of type NoneType; give how many tasks may hold it at once"),
    (capacity, True, TypeError, "capacity=True is of type bool"),
    (capacity, 1.0, TypeError, "capacity=1.0 is of type float"),
    (capacity, "many", TypeError, "capacity='many' is of type str"),
]


@pytest.mark.parametrize(("check", "value", "error", "message"), WRONG_SIZES)
def test_a_wrong_pool_or_resource_names_itself_its_value_and_the_remedy(
    check: Callable[[object], object], value: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        check(value)
    assert message in str(caught.value)
    assert ";" in str(caught.value)


def test_the_field_that_an_error_names_is_up_to_the_caller() -> None:
    with pytest.raises(ValueError, match=r"^sizes\['io'\]=0 "):
        pool_sizes({"io": 0}, "sizes")
    with pytest.raises(ValueError, match="^seats=0 "):
        capacity(0, "seats")


def test_what_is_specified_may_be_imported_from_the_options_too() -> None:
    assert {name: getattr(options, name) for name in specifications.__all__} == {
        name: getattr(specifications, name) for name in specifications.__all__
    }
    assert set(specifications.__all__) <= set(options.__all__)
