"""A world in which something crashes at one moment: a handler, a task, or a host.

The law of this module: a crash is what could happen. A function or a handler fails before it has done
anything, or when it has done all; and at an await what it waits for fails, unless that is something of ours,
which fails only as it says, or a lock or a task group, which do not. A host is gone as it hears a frame or
says one.

How it works: all user code of a runtime is stepped by `Stepper`s, which a runtime takes from a store. Here
that has other ones.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from actorsched._kernel.current import CURRENT
from actorsched._kernel.stepper import DONE, Stepper
from actorsched._system.actor_cell import ActorCell
from actorsched._system.call import Call, Hook
from actorsched._system.code_run import unwind
from actorsched._system.loop_worker import LoopWorker
from actorsched._system.reading import Reading
from actorsched.testing._everywhere.watched import Kinds, WatchedWorld, chain_of
from actorsched.testing.leaks import is_users

if TYPE_CHECKING:
    from actorsched._kernel.simulated import SimulatedKernel
    from actorsched.testing.choices import Choices

What: TypeAlias = Literal["handlers", "tasks", "hooks", "hosts"]

_SAFE = frozenset({"acquire", "acquire_on_behalf_of", "__aenter__", "__aexit__", "aclose"})
"""Awaits in these fail for no reason of their own."""
_OURS = f"{__file__.rsplit('testing', 1)[0]}"


class Crash(Exception):
    """Something was made to crash on purpose, to see what becomes of everything else."""


class CrashingWorld(WatchedWorld):
    """A simulated world in which something crashes at a moment.

    Args:
        choices: Decide what is left open.
        only: At which moment; None for none.
        expected: With what the scenario may end then.
        what: What may crash.
        options: Those of every world.
    """

    def __init__(
        self,
        choices: Choices,
        *,
        only: int | None = None,
        expected: Kinds = (),
        what: tuple[What, ...] = ("handlers",),
        **options: Any,
    ) -> None:
        super().__init__(choices, only=only, expected=expected, **options)
        self._what = frozenset(what)
        self._planned = self.fate
        self.fate = self._fate

    # ------------------------------------------------------------------------------------------ hosts

    def look(self, task: int) -> None:
        """The scenario may have planned faults of its own: they are asked next."""
        if self.fate != self._fate:
            self._planned, self.fate = self.fate, self._fate

    def _fate(self, host: Any, frame: Any, outward: bool) -> Any:
        if self.watching and self.moment is None and "hosts" in self._what:
            what = f"as it {'says' if outward else 'hears'} {type(frame).__name__}"
            if self.due(str(host.name), what):
                return "crash"
        return self._planned(host, frame, outward)

    # -------------------------------------------------------------------------------------- user code

    def joined(self, kernel: SimulatedKernel, /) -> None:
        """A runtime is entered: its code is stepped by us."""
        super().joined(kernel)
        kernel.steppers = Steppers(self)
        kernel.seeded = True  # each message is stepped by itself

    def who(self, code: Any) -> str | None:
        """Whose code is about to take its first step; None if that does not crash."""
        if getattr(code, "cr_code", None) is unwind.__code__:
            return None
        run: Any = CURRENT.get()
        if isinstance(run, ActorCell) and isinstance(run.turn, Reading):
            kind, name = "handlers", f"{run.turn.letter.handler.name} of actor {run.name!r}"
        else:
            kind = next((kind for kind, types in _KINDS.items() if isinstance(run, types)), "")
            name = "" if run is None else run.title
        return name if kind in self._what else None

    def crashes(self, who: str, what: str, code: Any) -> bool:
        """Whether it crashes now."""
        return self.watching and self.moment is None and self.due(who, what, chain_of(code))


_KINDS: dict[str, type] = {"tasks": LoopWorker, "handlers": Call, "hooks": Hook}


class Steppers(list[Stepper]):
    """A store of steppers that is never empty, and keeps none."""

    def __init__(self, world: CrashingWorld) -> None:
        super().__init__()
        self._world = world

    def __len__(self) -> int:
        return 1

    def pop(self, index: object = -1, /) -> Stepper:
        """One more."""
        return CrashingStepper(self._world)

    def append(self, stepper: Stepper, /) -> None:
        """It is not used again."""


class CrashingStepper(Stepper):
    """The same as a stepper, but for the crash."""

    def __init__(self, world: CrashingWorld) -> None:
        super().__init__()
        generator: Any = _stepping(world, self.box)
        generator.send(None)
        self.send = generator.send
        self.throw = generator.throw


@types.coroutine
def _stepping(world: CrashingWorld, box: list[Any]) -> Generator[Any, Any, None]:
    code: Any = yield DONE
    while True:
        who = world.who(code)
        box[0] = yield from (code if who is None else _crashing(world, who, code))
        code = yield DONE


def _crashing(world: CrashingWorld, who: str, code: Any) -> Generator[Any, Any, Any]:
    """Step some code to its end, or to its crash."""
    if world.crashes(who, "before it began", None):
        code.close()
        raise Crash(f"{who} crashed before it began, on purpose")
    step: Callable[[Any], Any]
    step, value, number = code.send, None, 0
    while True:
        try:
            yielded = step(value)
        except StopIteration as stop:
            if world.crashes(who, "when it had done its work", None):
                raise Crash(f"{who} crashed when it had done its work, on purpose") from None
            return stop.value
        number += 1
        crashes = _may_fail(code) and world.crashes(who, f"at its await number {number}", code)
        try:
            value = yield yielded
            step = code.send
        except GeneratorExit:
            code.close()
            raise
        except BaseException as error:
            step, value = code.throw, error
        else:
            if crashes:
                step, value = (
                    code.throw,
                    Crash(f"what {who} waited for at its await {number} failed, on purpose"),
                )


def _may_fail(code: Any) -> bool:
    """Whether what some code waits for can fail: nothing of ours, no lock, and no end of a task group."""
    inner: list[types.CodeType] = []
    while code is not None:
        frame = next((f for name in _FRAMES if (f := getattr(code, name, None)) is not None), None)
        if frame is not None:
            inner = [] if is_users(frame.f_code.co_filename) else [*inner, frame.f_code]
        code = next((c for name in _INNER if (c := getattr(code, name, None)) is not None), None)
    return not any(each.co_name in _SAFE or each.co_filename.startswith(_OURS) for each in inner)


_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_INNER = ("cr_await", "gi_yieldfrom", "ag_await")
