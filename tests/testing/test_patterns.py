"""Patterns mean messages: which of them, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from actorsched import Actor
from actorsched.testing import alone
from actorsched.testing.patterns import ANY, Message, call, describe, handler_name, matches


class Account(Actor):
    async def deposit(self, amount: int) -> None: ...

    async def entries(self) -> Any:
        yield


DEPOSIT = Message("deposit", (50,))


def is_large(message: Message) -> bool:
    return bool(message.args and message.args[0] > 10)


@pytest.mark.parametrize(
    "pattern",
    [
        "deposit",
        Account.deposit,
        call("deposit", 50),
        call(Account.deposit, 50),
        call("deposit", ANY),
        call("deposit", int),
        call("deposit", lambda amount: amount > 10),
        int,
        is_large,
        ANY,
    ],
)
def test_a_pattern_matches_the_message_that_it_means(pattern: Any) -> None:
    assert matches(pattern, DEPOSIT)


@pytest.mark.parametrize(
    "pattern",
    [
        "withdraw",
        Account.entries,
        call("deposit"),
        call("deposit", 51),
        call("deposit", 50, 50),
        call("deposit", amount=50),
        call("deposit", str),
        call("deposit", lambda amount: amount > 100),
        call("withdraw", 50),
        str,
        lambda message: not message.args,
    ],
)
def test_a_pattern_matches_no_other_message(pattern: Any) -> None:
    assert not matches(pattern, DEPOSIT)


def test_named_arguments_are_matched_by_name() -> None:
    message = Message("deposit", (), {"amount": 50})
    assert matches(call("deposit", amount=50), message)
    assert matches(call("deposit", amount=int), message)
    assert not matches(call("deposit", amount=51), message)
    assert not matches(call("deposit", 50), message)
    assert not matches(call("deposit", amount=50, currency="EUR"), message)


def test_a_pattern_may_ask_for_a_sender() -> None:
    ada, grace = alone.ref("ada"), alone.ref("grace")
    message = Message("deposit", (50,), {}, ada)
    assert matches(call("deposit", 50).sent_by(ada), message)
    assert not matches(call("deposit", 50).sent_by(grace), message)
    assert not matches(call("deposit", 50).sent_by(ada), DEPOSIT)


def test_a_class_or_a_function_may_be_what_is_sent() -> None:
    assert matches(call("make", int), Message("make", (int,)))
    assert matches(call("use", is_large), Message("use", (is_large,)))


def test_a_class_means_a_message_with_one_argument_alone() -> None:
    assert not matches(int, Message("deposit", (50, 60)))
    assert not matches(int, Message("deposit"))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("deposit", "deposit(...)"),
        (Account.deposit, "deposit(...)"),
        (call("deposit", 50), "deposit(50)"),
        (call("deposit", ANY, amount=int), "deposit(ANY, amount=<any int>)"),
        (call("deposit", is_large), "deposit(<is_large>)"),
        (call("deposit").sent_by(alone.ref("ada")), "deposit() from <stand-in for actor 'ada'>"),
        (int, "a message with one int"),
        (is_large, "a message for which is_large is true"),
        (ANY, "any message"),
    ],
)
def test_a_pattern_is_described_in_words(pattern: Any, words: str) -> None:
    assert describe(pattern) == words


def test_a_message_and_a_call_read_like_a_call() -> None:
    assert str(Message("deposit", (50,), {"note": "x"}, alone.ref("ada"))) == (
        "deposit(50, note='x') from <stand-in for actor 'ada'>"
    )
    assert repr(call("deposit", 50)) == "deposit(50)"


@pytest.mark.parametrize("function", [matches, lambda pattern, _: describe(pattern)])
@pytest.mark.parametrize("pattern", [None, 5, ("deposit", 50)])
def test_what_is_no_pattern_is_refused(function: Any, pattern: Any) -> None:
    with pytest.raises(TypeError, match="is no pattern; give"):
        function(pattern, DEPOSIT)


@pytest.mark.parametrize("handler", [None, 5, is_large])
def test_what_is_no_handler_is_refused(handler: Any) -> None:
    with pytest.raises(TypeError, match="is no handler; give one"):
        handler_name(handler)
    with pytest.raises(TypeError, match="is no handler"):
        call(handler)
