"""Behaviours: a table from types of messages to functions, made with the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from actorsched._core.behaviour import Behaviour, Outbox, handles

if TYPE_CHECKING:
    from collections.abc import Callable


class Ping:
    """A message."""


class Pong:
    """Another."""


class LoudPing(Ping):
    """A kind of the first."""


OUT = cast("Outbox", None)


class Player(Behaviour):
    """Takes both, and remembers them."""

    heard: list[str] = []

    @handles(Ping, Pong)
    def _heard(self, message: Ping | Pong, out: Outbox) -> None:
        self.heard.append(type(message).__name__)


class Referee(Player):
    """Takes one in another way."""

    @handles(Pong)
    def _whistle(self, message: Pong, out: Outbox) -> None:
        self.heard.append("whistle")


class Quiet(Player):
    """Takes one in the same way, by another function of the same name."""

    def _heard(self, message: Ping | Pong, out: Outbox) -> None:  # type: ignore[override]
        self.heard.append("shh")


def after(player: Player, *messages: object) -> list[str]:
    for message in messages:
        player.receive(message, OUT)
    return player.heard


def test_a_message_goes_to_the_function_that_was_marked_for_its_type() -> None:
    assert after(Player(), Ping(), Pong()) == ["Ping", "Pong"]


def test_a_subclass_inherits_the_table_and_overrides_entries() -> None:
    assert after(Referee(), Ping(), Pong()) == ["Ping", "whistle"]
    assert after(Player(), Pong()) == ["Pong"], "the base is as it was"


def test_only_marked_functions_count() -> None:
    assert after(Quiet(), Ping()) == ["Ping"]


@pytest.mark.parametrize("stranger", [LoudPing(), object(), None])
def test_a_message_of_any_other_type_is_refused_and_changes_nothing(stranger: object) -> None:
    player = Player()
    with pytest.raises(KeyError):
        player.receive(stranger, OUT)
    assert player.heard == []


def test_two_behaviours_share_nothing() -> None:
    one, other = Player(), Player()
    after(one, Ping())
    assert other.heard == []


def test_a_behaviour_is_its_own_address() -> None:
    one, other = Player(), Player()
    assert one != other
    assert len({one, other}) == 2


def test_a_marked_function_can_still_be_called() -> None:
    player = Player()
    call = cast("Callable[[Ping, Outbox], None]", player._heard)
    call(Ping(), OUT)
    assert player.heard == ["Ping"]
