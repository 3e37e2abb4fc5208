"""What crosses, how, and what is said when it cannot."""

from __future__ import annotations

import contextvars
import functools
import logging
import sys
import threading
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsched._hosting import importable
from actorsched._hosting.definitions import Definitions
from actorsched._hosting.failures import pack_error, unpack_error
from actorsched._hosting.transfer import (
    BIG,
    by_value,
    current_link,
    dump_call,
    dumps,
    load_call,
    loads,
    travelling,
)
from actorsched._hosting.variables import contextvars_in, contextvars_out
from actorsched._hosting.wire import Bulky
from actorsched.exceptions import NotTransferable, RemoteTraceback, TaskCancelled
from tests.hosting import work

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=8,
)


def there_and_back(value: Any) -> Any:
    return loads(dumps(value, "the value"))


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content


# --------------------------------------------------------------------------------------------------- crossing


@given(plain)
def test_plain_values_arrive_as_they_were(value: Any) -> None:
    assert there_and_back(value) == value


@given(st.lists(plain, max_size=3), st.dictionaries(st.text(min_size=1), plain, max_size=2))
def test_calls_arrive_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert load_call(dump_call(tuple(args), kwargs, "the call")) == (tuple(args), kwargs)


def test_nothing_costs_no_bytes() -> None:
    assert dumps(None, "nothing") == b""
    assert dump_call((), None, "no arguments") == b""


def test_a_single_list_among_the_arguments_is_no_pair_of_arguments() -> None:
    assert load_call(dump_call(([(1,), {}],), None, "the call")) == (([(1,), {}],), {})


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("size", [BIG - 1, BIG, 3 * BIG])
def test_big_bytes_travel_beside_the_pickle(kind: type, size: int) -> None:
    value = kind(b"x" * size)
    payload = dumps(value, "bytes")
    assert isinstance(payload, Bulky) is (size >= BIG)
    arrived = loads(payload)
    assert arrived == value
    assert type(arrived) is kind
    args, _ = load_call(dump_call((1, value), {"named": value}, "the call"))
    assert args == (1, value)


def test_a_big_pickle_travels_as_a_buffer() -> None:
    value = [str(n) for n in range(100_000)]
    payload = dumps(value, "a list")
    assert isinstance(payload, Bulky)
    assert not isinstance(payload.data, bytes)
    assert loads(payload) == value


def test_who_lacks_a_module_is_told_where_a_host_looks_for_it() -> None:
    with pytest.raises(NotTransferable, match=r"No module named 'nowhere'; .* sys\.path of the moment when"):
        loads(b"cnowhere\nthing\n.")


def test_memoryviews_cross_with_their_shape() -> None:
    numpy = pytest.importorskip("numpy")
    flat = memoryview(b"abc")
    assert there_and_back(flat) == flat
    grid = memoryview(numpy.arange(6, dtype="i4").reshape(2, 3))
    arrived = there_and_back(grid)
    assert (arrived.format, arrived.shape, arrived.tolist()) == ("i", (2, 3), [[0, 1, 2], [3, 4, 5]])
    strided = memoryview(numpy.arange(6, dtype="i4")[::2])
    assert there_and_back(strided).tolist() == [0, 2, 4]


def test_functions_that_can_be_imported_travel_by_reference() -> None:
    assert there_and_back(work.add) is work.add


def test_a_mere_mention_of_main_changes_nothing_but_the_price() -> None:
    assert there_and_back([work.add, "__main__"]) == [work.add, "__main__"]


def test_what_lives_in_a_module_that_no_import_finds_travels_by_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("made_up_here")
    exec("class Thing:\n    def __init__(self): self.x = 1\ndef f(): return Thing().x", module.__dict__)
    monkeypatch.setitem(sys.modules, "made_up_here", module)
    assert not importable.can_import("made_up_here")
    payload = dumps([module.f, module.Thing()], "things")
    assert isinstance(payload, bytes)
    assert b"cloudpickle" in payload
    monkeypatch.delitem(sys.modules, "made_up_here")
    function, thing = loads(payload)
    assert (function(), thing.x) == (1, 1)


@pytest.mark.parametrize(
    "name", ["os", "os.path", "json.decoder", "numpy", "tests.hosting.work", "sys", "_io"]
)
def test_ordinary_modules_can_be_imported_by_a_host(name: str) -> None:
    __import__(name)
    assert importable.can_import(name)


def test_travelling_names_the_link_for_references() -> None:
    link = object()
    assert current_link() is None
    with travelling(link):
        assert current_link() is link
        with travelling(None):
            assert current_link() is None
        assert current_link() is link
    assert current_link() is None


# --------------------------------------------------------------------------------------------------- culprits


LOCK = threading.Lock()


def uses_the_lock() -> object:
    return LOCK


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, "value"),
        ([1, LOCK], "value[1]"),
        ({"a": {"b": LOCK}}, "value['a']['b']"),
        (Box([LOCK]), "value.content[0]"),
        (Slotted(LOCK), "value.inner"),
        (functools.partial(print, 1, file=LOCK), "value.keywords['file']"),
        (Box(LOCK).content.acquire, "value.__self__"),
    ],
    ids=["itself", "list", "dicts", "attribute", "slot", "partial", "method"],
)
def test_the_culprit_is_named(value: Any, path: str) -> None:
    with pytest.raises(NotTransferable, match="lock") as caught:
        dumps(value, "the test's value")
    assert caught.value.what == "the test's value"
    if path != "value.__self__":  # a built-in method is pickled as a call of getattr
        assert caught.value.path == path
    assert caught.value.__cause__ is not None


def test_the_culprit_among_arguments_is_named() -> None:
    with pytest.raises(NotTransferable) as caught:
        dump_call((1, {"handler": Box(LOCK)}), {"ok": 1}, "the arguments of task 'x'")
    assert caught.value.path == "args[1]['handler'].content"
    assert "the arguments of task 'x'" in str(caught.value)
    assert "cannot pickle '_thread.lock' object" in str(caught.value)
    with pytest.raises(NotTransferable) as caught:
        dump_call((), {"lock": LOCK}, "the arguments of task 'x'")
    assert caught.value.path == "kwargs['lock']"


def test_the_culprit_in_a_closure_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(NotTransferable) as caught:
        Definitions().call(lambda: lock, (), {}, "task 'x'")
    assert caught.value.path == "<lambda>.__closure__['lock']"


def test_the_culprit_among_very_many_is_found_in_time() -> None:
    many = [*range(200_000), LOCK]
    with pytest.raises(NotTransferable) as caught:
        dumps(many, "many")
    assert caught.value.path == "value[200000]"


def test_a_broken_reduce_is_told_of() -> None:
    class Broken:
        def __reduce__(self) -> Any:
            raise ZeroDivisionError("in reduce")

    with pytest.raises(NotTransferable, match="in reduce") as caught:
        dumps([Broken()], "x")
    assert caught.value.path == "value[0]"


def test_an_endless_structure_ends_in_an_error_and_not_in_a_crash() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(NotTransferable):
        dumps(nested, "x")
    while nested:
        nested = nested.pop()


# ------------------------------------------------------------------------------------------------ definitions


def test_a_function_is_pickled_once() -> None:
    definitions = Definitions()
    first, _ = definitions.call(work.add, (1,), None, "x")
    second, _ = definitions.call(work.add, (2,), None, "x")
    assert first is second


def test_partials_are_taken_apart() -> None:
    definitions = Definitions()
    bound = functools.partial(functools.partial(work.add, 1), c=3)
    definition, payload = definitions.call(bound, (2,), {}, "x")
    assert loads(definition.body) is work.add
    assert load_call(payload) == ((1, 2), {"c": 3})


def test_the_end_of_a_function_is_the_end_of_its_definition() -> None:
    class Link:
        forgotten: list[int]

        def undefine_later(self, number: int) -> None:
            self.forgotten.append(number)

    link: Any = Link()
    link.forgotten = []
    definitions = Definitions()
    number = 1

    def closure() -> int:
        return number

    definition = definitions.of(closure, "x")
    definition.known_by(link)
    fn_id = definition.fn_id
    del closure, definition
    assert link.forgotten == [fn_id]


# ----------------------------------------------------------------------------------------------------- errors


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_error_crosses_with_type_message_attributes_and_notes() -> None:
    error = TaskCancelled("gone", reason="because", task="t")
    error.add_note("a note")
    arrived = unpack_error(pack_error(raised(error)))
    assert isinstance(arrived, TaskCancelled)
    assert (str(arrived), arrived.reason, arrived.__notes__) == ("gone", "because", ["a note"])
    assert isinstance(arrived.__cause__, RemoteTraceback)
    assert "in raised" in str(arrived.__cause__)


def test_groups_cross() -> None:
    group = raised(ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [KeyError(2)])]))
    arrived = unpack_error(pack_error(group))
    assert isinstance(arrived, ExceptionGroup)
    assert [type(error) for error in arrived.exceptions] == [ValueError, ExceptionGroup]


def test_a_circle_of_causes_ends() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__context__ = other, one
    arrived = unpack_error(pack_error(one))
    assert str(arrived) == "one"
    assert str(arrived.__cause__) == "other"


def test_a_context_that_cannot_travel_is_left_behind() -> None:
    error = KeyError("kept")
    error.__cause__ = ValueError(LOCK)
    arrived = unpack_error(pack_error(error))
    assert isinstance(arrived, KeyError)
    assert "ValueError" in str(arrived.__cause__)


def test_an_error_that_the_receiver_cannot_import_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack_error(raised(work.Picky(3, "text")))
    monkeypatch.delattr(work, "Picky")
    arrived = unpack_error(packed, "the exception of task 'x'")
    assert isinstance(arrived, NotTransferable)
    assert arrived.original_type == "tests.hosting.work.Picky"
    assert arrived.original_message == "text (3)"
    assert "text (3)" in str(arrived)


def test_an_error_with_broken_methods_is_told_of() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    arrived = unpack_error(pack_error(raised(Broken())))
    assert isinstance(arrived, Exception)


# -------------------------------------------------------------------------------------------------- variables


def in_context(values: dict[contextvars.ContextVar[Any], Any]) -> contextvars.Context:
    context = contextvars.Context()
    for variable, value in values.items():
        context.run(variable.set, value)
    return context


def test_a_context_without_variables_of_the_user_costs_nothing() -> None:
    from actorsched._kernel.current import CURRENT

    assert contextvars_out(contextvars.Context()) == b""
    assert contextvars_out(in_context({CURRENT: object()})) == b""


def test_variables_are_the_same_over_there() -> None:
    local: contextvars.ContextVar[int] = contextvars.ContextVar("local")
    payload = contextvars_out(in_context({work.VARIABLE: "a", local: 5}))
    context = contextvars.Context()
    context.run(contextvars_in, payload)
    assert context[work.VARIABLE] == "a"
    assert context[local] == 5


def test_a_value_that_cannot_be_pickled_stays_behind_with_a_debug_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    local: contextvars.ContextVar[Any] = contextvars.ContextVar("local")
    with caplog.at_level(logging.DEBUG, "actorsched"):
        payload = contextvars_out(in_context({work.VARIABLE: "a", local: LOCK}))
    assert "'local'" in caplog.text
    context = contextvars.Context()
    context.run(contextvars_in, payload)
    assert dict(context) == {work.VARIABLE: "a"}


def test_a_variable_travels_with_a_function_that_uses_it() -> None:
    local: contextvars.ContextVar[int] = contextvars.ContextVar("local", default=1)
    assert there_and_back(local) is local
    assert loads(by_value(lambda: local))() is local
