"""What an actor's own code waits for, and how a circle of waiting is found.

The waits of one task or one actor: for tasks that it awaits and actors that it asks. Two things follow
from a wait:

* A task lends its slot from the first wait to the end of the last, and goes on only when it has one
  again. While other waits of it are open it goes on without: its code may be waiting for them all, and
  a slot held meanwhile would be held for ever.
* The request that closes a circle in the wait-for graph is refused. A `Probe` follows the edges from
  whoever begins to wait; everybody who waits passes it on; when it comes home, there is a circle
  (Chandy, Misra and Haas, "Distributed deadlock detection", 1983). A chain of waiters that does not
  close costs one message per edge, and nothing is ever polled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from actorsched._core.behaviour import Behaviour, Outbox, Reply
from actorsched.exceptions import AskCycle, DeadlockError
from actorsched.messages import Await, Failure, Forget, Lend, Probe, Reclaim

if TYPE_CHECKING:
    from actorsched._kernel.kernel import Kernel


class Waiter(Behaviour, kw_only=True):
    """An actor with code of its own that may wait: a task, or the cell of a user's actor."""

    kernel: Kernel
    """Whose actor it is; only actors of one kernel wait for each other."""
    scheduler: Behaviour | None = None
    """Who gets its slot meanwhile; None when it has none to lend."""
    waits: Waits | None = None

    settles: ClassVar[bool] = False
    """Whether it tells `Settled` to those who `Await` it."""

    @property
    def name(self) -> str:
        """Its name, for people."""
        raise NotImplementedError


class Waits:
    """The open waits of one actor's code."""

    __slots__ = ("_lent", "_open", "_resuming")

    def __init__(self) -> None:
        self._open: list[tuple[Waiter, Reply]] = []
        self._resuming: list[Reply] = []  # have what they waited for, and now wait for the slot
        self._lent = False

    def __bool__(self) -> bool:
        return bool(self._open)

    def __repr__(self) -> str:
        return f"<waits for {[target for target, _ in self._open]}>"

    def begin(self, owner: Waiter, target: Waiter, answer: Reply, out: Outbox) -> None:
        """The owner's code begins to wait for a target."""
        if target is owner:
            out.reply(answer, Failure(_circle((owner,))))
            return
        self._open.append((target, answer))
        if owner.scheduler is not None and not self._lent:
            self._lent = True
            out.send((owner.scheduler, Lend(owner)))
        if target.settles:
            out.send((target, Await(owner)))
        out.send((target, Probe(owner, answer, (owner,))))

    def end(self, owner: Waiter, target: Waiter, answer: Reply, resumed: Reply, out: Outbox) -> None:
        """The owner's code has what it waited for, or waits no longer; answered when it may go on."""
        if (target, answer) not in self._open:
            return out.reply(resumed, None)
        self._open.remove((target, answer))
        if target.settles and all(other is not target for other, _ in self._open):
            out.send((target, Forget(owner)))
        self._go_on(owner, resumed, out)

    def settled(self, owner: Waiter, target: Waiter, out: Outbox) -> bool:
        """A task has settled. Answers whether the owner's code waited for it."""
        answers = [answer for other, answer in self._open if other is target]
        self._open = [wait for wait in self._open if wait[0] is not target]
        for answer in answers:
            self._go_on(owner, answer, out)
        return bool(answers)

    def _go_on(self, owner: Waiter, answer: Reply, out: Outbox) -> None:
        if not self._lent or self._open:
            out.reply(answer, None)
            return
        if not self._resuming:
            assert owner.scheduler is not None
            out.send((owner.scheduler, Reclaim(owner)))
        self._resuming.append(answer)

    def resumed(self, out: Outbox) -> None:
        """The slot is ours again."""
        self._lent = False
        resuming, self._resuming = self._resuming, []
        for answer in resuming:
            out.reply(answer, None)

    def abandon(self, owner: Waiter, out: Outbox) -> None:
        """The code is over; so are its waits."""
        for target, _ in self._open:
            if target.settles:
                out.send((target, Forget(owner)))
        self._open.clear()

    def pass_on(self, owner: Waiter, probe: Probe, out: Outbox) -> None:
        """Pass a probe on along every open wait."""
        for target, _ in self._open:
            pass_probe(owner, target, probe, out)


def pass_probe(owner: Waiter, target: Waiter, probe: Probe, out: Outbox) -> None:
    """The probe has reached `owner`, who waits for `target`."""
    path = (*probe.path, owner)
    if target is probe.initiator:
        out.reply(probe.answer, Failure(_circle(path)))
    elif target not in path:
        out.send((target, Probe(probe.initiator, probe.answer, path)))


def _circle(path: tuple[Waiter, ...]) -> DeadlockError | AskCycle:
    """The error for a circle of waiting; the first of the path closes it."""
    names = [member.name for member in path]
    shown = " -> ".join([*names, names[0]])
    if not any(member.settles for member in path):
        return AskCycle(
            f"this ask would never be answered: {shown} wait for each other; "
            "use tell for one of the messages, or let one of them pass what the other needs",
            path=[*names, names[0]],
        )
    return DeadlockError(
        f"waiting would never end: {shown} wait for each other; break the circle where one of them awaits",
        circle=names,
    )
