"""Answers that a test has prepared, by the name of what is asked for.

The law of this module: it keeps them and hands them out, in their order. The last one stays for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorsched.exceptions import shown

if TYPE_CHECKING:
    from collections.abc import Hashable


class Answers:
    """What was prepared for one name: values or an error."""

    __slots__ = ("_error", "_values")

    def __init__(self, values: tuple[Any, ...], error: BaseException | None) -> None:
        self._values = list(values)
        self._error = error

    def __repr__(self) -> str:
        return f"<prepared: {self._error or self._values}>"

    def one(self) -> Any:
        """The next one.

        Raises:
            BaseException: The error that was prepared.
        """
        if self._error is not None:
            raise self._error
        return self._values.pop(0) if len(self._values) > 1 else self._values[0]

    def all(self) -> list[Any]:
        """All of them, as the items of a stream.

        Raises:
            BaseException: The error that was prepared.
        """
        if self._error is not None:
            raise self._error
        return list(self._values)


class Prepared:
    """What was prepared, by name."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        self._answers: dict[Hashable, Answers] = {}

    def __repr__(self) -> str:
        return f"<prepared: {self._answers}>"

    def answers(self, name: Hashable, values: tuple[Any, ...]) -> None:
        """Prepare values.

        Raises:
            TypeError: There are none.
        """
        if not values:
            raise TypeError(f"answers({shown(name)}) was given no value; give one, perhaps None, or several")
        self._answers[name] = Answers(values, None)

    def fails(self, name: Hashable, error: BaseException) -> None:
        """Prepare an error.

        Raises:
            TypeError: It is none.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error={shown(error)} is no exception; give one, such as ValueError('no')")
        self._answers[name] = Answers((), error)

    def of(self, name: Hashable) -> Answers | None:
        """What was prepared for this one, if anything was."""
        return self._answers.get(name)
