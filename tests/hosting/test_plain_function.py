"""Functions that travel without cloudpickle are what it would make of them; others are left to it."""

from __future__ import annotations

import math
import sys
import types
from importlib import import_module
from pickle import loads
from typing import Any

import pytest

from actorsched._hosting import plain_function
from actorsched._hosting.definitions import Definitions

SOURCE = """
import json, math, sys, threading
from fractions import Fraction

FACTOR = 3
TABLE = {"a": [1, 2]}
LOCK = threading.Lock()
VIEW = memoryview(b"x")

class Thing: pass

def plain(x, y: int = 2, *, z=FACTOR) -> float:
    "What it is for."
    return math.floor(x * FACTOR) + y + z + TABLE["a"][1] + sum(n * FACTOR for n in range(2))

def recursive(n):
    return 1 if n < 2 else n * recursive(n - 1)

def imported():
    return Fraction(1, 2)

async def waits():
    return FACTOR

def outer():
    inner = 1
    def closed(): return inner
    return closed

closed = outer()
def helped(): return plain(1)
def made(): return Thing()
def locked(): return LOCK
def packaged(): return json.dumps(1)
def annotated(x: Thing): return x
def decorated(): return 1
decorated.extra = 1
default = lambda thing=Thing(): thing
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a script has defined: a module that no host could import."""
    module = types.ModuleType("made_up_script")
    monkeypatch.setitem(sys.modules, "made_up_script", module)
    exec(compile(SOURCE, "made_up_script.py", "exec", dont_inherit=True), module.__dict__)
    return module


def there(function: object) -> Any:
    """The function as it arrives."""
    data = plain_function.pickled(function)
    assert data is not None
    assert plain_function.MARK in data
    assert b"cloudpickle" not in data
    return loads(data)


def test_a_function_arrives_with_all_that_belongs_to_it(script: Any) -> None:
    function = there(script.plain)
    assert function is not script.plain
    assert function(2) == script.plain(2)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__"):
        assert getattr(function, name) == getattr(script.plain, name)
    assert function.__annotations__ == {"y": int, "return": float}
    assert function.__code__ == script.plain.__code__
    assert function.__globals__["math"] is math
    assert function.__globals__["__name__"] == "made_up_script"
    assert "LOCK" not in function.__globals__


def test_a_function_that_calls_itself_does_so_over_there(script: Any) -> None:
    function = there(script.recursive)
    assert function(5) == 120
    assert function.__globals__["recursive"] is function


def test_what_can_be_imported_is(script: Any) -> None:
    assert there(script.imported)() == script.Fraction(1, 2)


async def test_an_async_function_arrives_too(script: Any) -> None:
    assert await there(script.waits)() == 3


@pytest.mark.parametrize(
    "name",
    ["closed", "helped", "made", "locked", "packaged", "annotated", "decorated", "default", "Thing", "VIEW"],
)
def test_whatever_is_not_so_simple_is_left_to_cloudpickle(script: Any, name: str) -> None:
    assert plain_function.pickled(getattr(script, name)) is None


def test_big_globals_are_left_to_cloudpickle(script: Any) -> None:
    script.TABLE["b"] = bytes(1 << 20)
    assert plain_function.pickled(script.plain) is None


def test_modules_that_cloudpickle_was_told_to_take_along_are_left_to_it(script: Any) -> None:
    import fractions

    library: Any = import_module("cloudpickle")
    library.register_pickle_by_value(fractions)
    try:
        assert plain_function.pickled(script.imported) is None
    finally:
        library.unregister_pickle_by_value(fractions)


def test_a_function_is_sent_anew_when_a_global_of_it_was_assigned_to(script: Any) -> None:
    definitions = Definitions()
    first = definitions.of(script.plain, "a function")
    assert definitions.of(script.plain, "a function") is first
    script.FACTOR = 10
    second = definitions.of(script.plain, "a function")
    assert second is not first
    assert isinstance(second.body, bytes)
    assert loads(second.body)(2) == script.plain(2) != loads(first.body)(2)  # type: ignore[arg-type]
