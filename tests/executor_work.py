"""What the tests of executors run in processes and threads, and how both sides wait for each other."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INITIALIZED: list[Any] = []
"""In a host: what the initializer was called with, each time."""


class Gate:
    """A function that stays where it is until the test lets it go on; it works across processes."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.begun, self.go_on = folder / f"{name}.begun", folder / f"{name}.go"
        os.mkfifo(self.begun)
        os.mkfifo(self.go_on)

    def __call__(self, result: Any = None) -> Any:
        """Say that it has begun, wait, and return something."""
        with self.begun.open("w"):  # waits until the test reads
            pass
        with self.go_on.open():  # waits until the test writes
            pass
        return result

    def wait_until_begun(self) -> None:
        with self.begun.open():
            pass

    def open(self) -> None:
        """Let it go on; it has begun."""
        with self.go_on.open("w"):
            pass


def double(number: int) -> int:
    return 2 * number


def add(a: int, b: int = 0, *more: int, **named: int) -> int:
    return a + b + sum(more) + sum(named.values())


def given(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def fail(text: str) -> None:
    raise ValueError(text)


def invert(number: int) -> float:
    return 1 / number


def die(code: int = 3) -> None:
    os._exit(code)


def touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT))


def place() -> tuple[int, int]:
    """Which process and which thread this is."""
    return os.getpid(), threading.get_ident()


def note(*what: Any) -> None:
    INITIALIZED.append((*what, threading.get_ident()))


def noted() -> list[Any]:
    """What the initializer has noted in this very thread."""
    return [what[:-1] for what in INITIALIZED if what[-1] == threading.get_ident()]


def fail_to_initialize() -> None:
    raise OSError("no such device")


def nothing() -> None:
    pass


class Thing:
    """Something that one can see go."""

    def method(self) -> None:
        pass


def make_thing(number: int) -> Thing:
    return Thing()


def endless(seen: list[int]) -> Iterator[int]:
    """All numbers, and which of them were asked for."""
    number = 0
    while True:
        seen.append(number)
        yield number
        number += 1
