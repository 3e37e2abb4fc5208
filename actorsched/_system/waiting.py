"""What an actor's own code waits for, and how a circle of waiting is found.

The waits of one task or one actor: for tasks that it awaits and actors that it asks. Two things follow
from a wait:

* A task lends its slot from the first wait to the end of the last, and goes on only when it has one
  again. While other waits of it are open it goes on without: its code may be waiting for them all, and
  a slot held meanwhile would be held for ever. So does one whose wait was cut short, by a time limit in its
  code or because it was told to stop; it has its slot back as soon as there is one.
* The request that closes a circle in the wait-for graph is refused. A `Probe` follows the edges from
  whoever begins to wait; everybody who waits passes it on; when it comes home, there is a circle
  (Chandy, Misra and Haas, "Distributed deadlock detection", 1983). Nothing is ever polled.

A circle leads through everybody in it, so a task that nobody waits for cannot close one: its waits cost no
probe. Should somebody begin to wait for it whose own wait was not probed either, the probes are sent then;
that is possible only while messages are in transit. A probe visits nobody twice, however many ways there
are: its cost is the number of waits, not of paths through them.

A task may have children in task groups, each a strand of its own. What one strand holds, it may well give
back while another one waits. So where a circle leads through a resource, the strand that holds has to be the
one that waits. (Nobody but the backend knows that a strand waits for its children: such a circle is not
found.)

A wait may be `certain`: whoever waits for what it has cancelled cannot give up. The circle is then broken
at its other end, where it leads home.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from actorsched._core.behaviour import Behaviour, Outbox, Reply, handles, require
from actorsched._core.invariants import FEW
from actorsched.exceptions import AskCycle, DeadlockError
from actorsched.messages import (
    Await,
    EndWait,
    Failure,
    Forget,
    Lend,
    Probe,
    Reclaim,
    Refused,
    Resume,
    Settled,
    Unwatch,
    Wait,
    Watch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from actorsched._kernel.kernel import Kernel
    from actorsched._system.urgent import Urgent


class Waiter(Behaviour, eq=False, kw_only=True):
    """An actor with code of its own that may wait: a task, or the cell of a user's actor."""

    kernel: Kernel
    """Whose actor it is; only actors of one kernel wait for each other."""
    scheduler: Behaviour | None = None
    """Who gets its slot meanwhile; None when it has none to lend."""
    waits: Waits | None = None

    settles: ClassVar[bool] = False
    """Whether it tells `Settled` to those who `Await` it."""
    inherits: ClassVar[bool] = False
    """Whether it has an urgency that it lends, and inherits."""
    locks_wait: ClassVar[bool] = False
    """Whether it stands for a wait for resources."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name, for people."""

    @property
    def at_work(self) -> bool:
        """Whether code of it is running, in whose name it may wait."""
        return True

    @property
    def awaited(self) -> bool:
        """Whether anybody may be waiting for it."""
        return True

    @property
    def holds_resources(self) -> bool:
        """Whether it may hold resources, or wait for some."""
        return False

    @property
    def strand(self) -> object:
        """Which strand of somebody's code waits for it; None if it may be any."""
        return None

    @property
    def hurried(self) -> bool:
        """Whether it was told to stop."""
        return False

    def waits_changed(self) -> None:
        """It began to wait, or waits no longer."""

    def awaits(self) -> Iterable[Waiter]:
        """Those that it waits for now."""
        return () if self.waits is None else self.waits.targets()

    def lends_to(self) -> Iterable[Waiter]:
        """Those who inherit from it, if it has anything to lend."""
        return self.awaits()

    def needs(self, target: Waiter) -> bool:
        """Whether it cannot go on before this one does."""
        return target in list(self.awaits())

    def hinders(self, waiter: Waiter, strand: object) -> bool:
        """Whether one for whom it waits cannot go on, for its sake, while that strand of it waits."""
        return True

    def waive(self, out: Outbox) -> bool:
        """It waits for resources, and some are kept free for it: others may have them. False if none are."""
        return False

    def urged_by(self, waiter: Urgent, out: Outbox) -> None:
        """Somebody waits for it who may be more urgent than before, or less. Not everybody inherits."""

    def left_by(self, waiter: Urgent, out: Outbox) -> None:
        """Somebody waits for it no longer. A task is told by `Forget`."""

    @handles(Wait)
    def _wait(self, message: Wait, out: Outbox) -> None:
        if not self.at_work:  # somebody whom its code has left behind
            if message.target.settles:
                out.send((message.target, Watch(message.answer)))
            return
        if self.waits is None:
            self.waits = Waits()
        self.waits.begin(self, message, out)
        self.waits_changed()

    @handles(EndWait)
    def _end_wait(self, message: EndWait, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.end(self, message, out)
            return self.waits_changed()
        if message.target.settles:
            out.send((message.target, Unwatch(message.answer)))
        out.reply(message.resumed, None)

    @handles(Settled)
    def _awaited_settled(self, message: Settled, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.settled(self, message.task, out)  # type: ignore[arg-type]
            self.waits_changed()

    @handles(Refused)
    def _refused(self, message: Refused, out: Outbox) -> None:
        probe_again(message.circle, out, but=self)
        if not is_closed(message.circle):  # it was broken elsewhere meanwhile
            return
        if message.circle and out.watched:
            tell_of_deadlock(message.circle, self, out)
        if self.waits is not None:
            self.waits.refuse(self, message.target, message.answer, message.error, out)
            self.waits_changed()

    @handles(Resume)
    def _resume(self, message: Resume, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.resumed(self, out)
            self.waits_changed()

    @handles(Probe)
    def _probe(self, message: Probe, out: Outbox) -> None:
        if self.waits is not None:
            self.waits.pass_on(self, message, out)
            self.waits_changed()

    # ------------------------------------------------------------------------------ what always holds

    def check(self) -> None:
        """What its code waits for is in order."""
        if self.waits is not None:
            self.waits.check(self)

    def check_at_rest(self) -> None:
        """The same; and those for whom it waits know that."""
        self.check()
        if self.waits is not None:
            self.waits.check_at_rest(self)


class Aside(Waiter, kw_only=True):
    """Something that code may wait for though it is neither task nor actor: a step of an end, say."""

    title: str
    others: Callable[[], Iterable[Waiter]] = tuple
    """Finds those who have to end, all of them, before it comes about."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.title

    def __repr__(self) -> str:
        return f"<{self.title}>"

    def awaits(self) -> Iterable[Waiter]:
        """All of the others."""
        return self.others()

    @handles(Probe)
    def _probe(self, message: Probe, out: Outbox) -> None:
        for other in self.others():
            pass_probe(self, other, message, out)

    def check(self) -> None:
        """It stands for something, and has no code of its own."""
        require(self.waits is None and self.scheduler is None, self, "what is no actor has nothing to lend")


class Waits:
    """The open waits of one actor's code."""

    __slots__ = ("_lent", "_open", "_reclaimed", "_resuming", "_strands", "_unprobed")

    def __init__(self) -> None:
        self._open: dict[Waiter, dict[Reply, bool]] = {}  # whom for, on what, and whether for certain
        self._resuming: dict[Reply, None] = {}  # who only wait for the slot now
        self._lent = False
        self._reclaimed = False  # the slot was asked for
        self._unprobed = False
        self._strands: dict[Reply, object] = {}  # which one waits on what, where that may matter

    def __bool__(self) -> bool:
        return bool(self._open)

    def __repr__(self) -> str:
        return f"<waits for {list(self._open)}>"

    @property
    def lent(self) -> bool:
        """Whether the slot is lent."""
        return self._lent

    @property
    def locked(self) -> bool:
        """Whether resources are waited for."""
        for target in self._open:  # noqa: SIM110 - a generator would cost three times as much
            if target.locks_wait:
                return True
        return False

    @property
    def resuming(self) -> bool:
        """Whether the code only waits for its slot."""
        return bool(self._resuming)

    def targets(self) -> list[Waiter]:
        """What is waited for now."""
        return list(self._open)

    # -------------------------------------------------------------------------- their begin and their end

    def begin(self, owner: Waiter, wait: Wait, out: Outbox) -> None:
        """The owner's code begins to wait."""
        target = wait.target
        if target is owner:
            return out.reply(wait.answer, Failure(_circle([owner])))
        if owner.scheduler is not None and not self._lent:
            self._lent = True
            out.send((owner.scheduler, Lend(owner)))
        if wait.strand is not None:
            self._strands[wait.answer] = wait.strand
        probed = owner.awaited
        answers = self._open.get(target)
        if answers is None:
            self._open[target] = {wait.answer: wait.certain}
            if target.settles:
                out.send((target, Await(owner, probed)))
            if owner.inherits:
                target.urged_by(owner, out)  # type: ignore[arg-type]  # who inherits, lends
        else:
            answers[wait.answer] = wait.certain
        if probed:
            self._probe(owner, target, wait.answer, wait.certain, out)
        if not probed or not target.settles:  # what is no task may come to depend on others later
            self._unprobed = True

    def end(self, owner: Waiter, message: EndWait, out: Outbox) -> None:
        """The owner's code has what it waited for, or waits no longer; answered when it may go on."""
        self._close(owner, message.target, message.answer, out)
        self._resuming.pop(message.answer, None)
        if message.at_once:
            self._reclaim(owner, out)
            out.reply(message.resumed, None)
        else:
            self._go_on(owner, message.resumed, out)

    def settled(self, owner: Waiter, target: Waiter, out: Outbox) -> bool:
        """A task has settled. Answers whether the owner's code waited for it."""
        answers = self._open.pop(target, None)
        for answer in answers or ():
            self._strands.pop(answer, None)
            self._go_on(owner, answer, out)
        return answers is not None

    def refuse(
        self, owner: Waiter, target: Waiter, answer: Reply | None, error: BaseException, out: Outbox
    ) -> None:
        """A wait in a circle ends with an error, and what is told next is that it has ended.

        Without an answer given, all waits for this target end.
        """
        for refused in list(self._open.get(target, ())) if answer is None else [answer]:
            if self._close(owner, target, refused, out):
                out.reply(refused, Failure(error))

    def strand(self, target: Waiter, answer: Reply | None) -> object:
        """Which strand of the code waits for this target; None if that is not known, or does not matter."""
        return target.strand if answer is None else self._strands.get(answer, target.strand)

    def must(self, target: Waiter) -> bool:
        """Whether a wait for this target cannot be given up."""
        return any(self._open.get(target, {}).values())

    def _close(self, owner: Waiter, target: Waiter, answer: Reply, out: Outbox) -> bool:
        answers = self._open.get(target)
        if answers is None or answer not in answers:
            return False
        del answers[answer]
        self._strands.pop(answer, None)
        if not answers:
            del self._open[target]
            if target.settles:
                out.send((target, Forget(owner)))
            elif owner.inherits:
                target.left_by(owner, out)  # type: ignore[arg-type]  # as above
        return True

    # ---------------------------------------------------------------------------------------- the slot

    def _go_on(self, owner: Waiter, answer: Reply, out: Outbox) -> None:
        self._reclaim(owner, out)
        if not self._lent or self._open or owner.hurried:
            out.reply(answer, None)
        else:
            self._resuming[answer] = None

    def _reclaim(self, owner: Waiter, out: Outbox) -> None:
        """Ask for the slot, if it is needed again."""
        if self._lent and not self._open and not self._reclaimed:
            assert owner.scheduler is not None
            self._reclaimed = True
            out.send((owner.scheduler, Reclaim(owner)))

    def resumed(self, owner: Waiter, out: Outbox) -> None:
        """The slot is ours again. Where the code has begun to wait for something else, it is lent at once."""
        self._reclaimed = False
        self._lent = bool(self._open)
        if self._lent:
            assert owner.scheduler is not None
            out.send((owner.scheduler, Lend(owner)))
        self.hurry(out)

    def hurry(self, out: Outbox) -> None:
        """Whoever waits for nothing but the slot goes on."""
        resuming, self._resuming = self._resuming, {}
        for answer in resuming:
            out.reply(answer, None)

    def abandon(self, owner: Waiter, out: Outbox) -> None:
        """The code is over. Those whom it has left behind wait on their own account."""
        for target, answers in self._open.items():
            if target.settles:
                out.send((target, Forget(owner)))
                for answer in answers:
                    out.send((target, Watch(answer)))
            elif owner.inherits:
                target.left_by(owner, out)  # type: ignore[arg-type]  # as above
        self._open.clear()
        self._strands.clear()
        self.hurry(out)

    # --------------------------------------------------------------------------------- what always holds

    def check(self, owner: Waiter) -> None:
        """Look whether what always holds of the waits of this owner does.

        Raises:
            InvariantBroken: Something does not.
        """
        require(owner not in self._open, owner, "nobody waits for itself")
        require(owner.scheduler is not None or not self._lent, owner, "nobody lends a slot that has none")
        require(self._lent or not self._reclaimed, owner, "nobody asks for a slot that was not lent")
        require(
            self._reclaimed or not self._resuming, owner, "whoever waits for nothing but its slot asks for it"
        )
        if len(self._open) <= FEW:
            require(all(self._open.values()), owner, "whatever it waits for is waited for by somebody")
            answers = {answer for answers in self._open.values() for answer in answers}
            require(self._strands.keys() <= answers, owner, "only who waits is known by the strand that does")

    def check_at_rest(self, owner: Waiter) -> None:
        """Look whether those for whom the owner waits know that.

        Raises:
            InvariantBroken: Somebody does not, and never will.
        """
        for target in self._open if len(self._open) <= FEW else ():
            if target.settles:
                task: Any = target
                require(task.outcome is None, owner, f"it has heard of the end of {target!r}")
                require(owner in (task.waiters or ()), owner, f"{target!r} knows that it waits")
        require(
            self._lent or not self._open or owner.scheduler is None, owner, "its slot is lent while it waits"
        )

    # --------------------------------------------------------------------------------------- the probes

    def probe_late(self, owner: Waiter, out: Outbox) -> None:
        """Somebody waits for the owner after all."""
        if self._unprobed:
            self._unprobed = not all(target.settles for target in self._open)
            for target, answers in self._open.items():
                for answer, certain in answers.items():
                    self._probe(owner, target, answer, certain, out)

    def _probe(self, owner: Waiter, target: Waiter, answer: Reply, certain: bool, out: Outbox) -> None:
        out.send((target, Probe(owner, target, answer, certain, Step(owner), {target})))

    def pass_on(self, owner: Waiter, probe: Probe, out: Outbox) -> None:
        """Pass a probe on along every open wait."""
        before = probe.way.member
        for target, answers in list(self._open.items()):
            if not any(before.hinders(owner, self.strand(target, answer)) for answer in answers):
                continue
            error = pass_probe(owner, target, probe, out)
            if error is not None:
                for answer in list(answers):
                    self.refuse(owner, target, answer, error, out)


class Step(msgspec.Struct, frozen=True, eq=False):
    """One step of the way that a probe has come."""

    member: Waiter
    before: Step | None = None


def pass_probe(owner: Waiter, target: Waiter, probe: Probe, out: Outbox) -> DeadlockError | AskCycle | None:
    """Send a probe on along one edge. Answers with the error, where it is this edge that has to give way."""
    way = Step(owner, probe.way)
    if target is probe.initiator:
        if target.waits is not None and not owner.hinders(
            target, target.waits.strand(probe.target, probe.answer)
        ):
            return None
        members = _members(way)
        if any(member.locks_wait for member in members):
            _break_somewhere(members, out)
            return None
        error = _circle(members)
        if probe.certain:
            return error
        out.send((target, Refused(probe.target, probe.answer, error)))
    elif target not in probe.seen:
        probe.seen.add(target)
        out.send((target, Probe(probe.initiator, probe.target, probe.answer, probe.certain, way, probe.seen)))
    return None


def is_closed(circle: Sequence[Waiter]) -> bool:
    """Whether everybody in a circle still waits for the next one, and cannot go on without."""
    return all(one.needs(after) for one, after in _pairs(circle))


def probe_again(circle: Sequence[Waiter], out: Outbox, but: Waiter | None = None) -> None:
    """A circle is, or will be, no more. Those in it may be in another: a probe visits nobody twice.

    They are probed when what follows from the end of this one has happened.
    """
    for one, wait in _pairs(circle):
        if wait.locks_wait and one is not but and wait in one.awaits():
            out.at_rest((wait, Probe(one, wait, None, False, Step(one), {wait})))


def tell_of_deadlock(circle: Sequence[Waiter], victim: Waiter, out: Outbox) -> None:
    """Tell those who listen: who closed the circle, the others as they wait, and who gives way."""
    out.tell("deadlock", circle[0], circle=_tasks(circle), victim=victim.name)


def _pairs(circle: Sequence[Waiter]) -> list[tuple[Waiter, Waiter]]:
    return [(one, circle[(index + 1) % len(circle)]) for index, one in enumerate(circle)]


def _tasks(circle: Sequence[Waiter]) -> list[str]:
    return [member.name for member in circle if not member.locks_wait]


def _break_somewhere(circle: list[Waiter], out: Outbox) -> None:
    """A circle leads through resources: the task of the lowest own priority gives way, then the youngest.

    Unless somebody in it waits for nothing but what is kept free for another one: that can be waived.
    """
    for member in circle:
        if member.waive(out) and not is_closed(circle):
            return probe_again(circle, out)
    waits: list[tuple[Any, Waiter]] = [pair for pair in _pairs(circle) if pair[0].settles]
    able = [(one, after) for one, after in waits if one.waits is None or not one.waits.must(after)]
    victim, target = min(able or waits, key=lambda wait: (wait[0].own_rank, -wait[0].number))
    told = "; ".join(one.tells_of_wait(after) for one, after in waits)
    error = DeadlockError(
        f"waiting would never end: {told}; task {victim.name!r} has to give way, having the lowest priority "
        "or being the youngest: let go of what it holds, and try again; always acquiring resources in the "
        "same order, or all together, avoids this",
        circle=_tasks(circle),
    )
    out.send((victim, Refused(target, None, error, circle)))


def _members(way: Step | None) -> list[Waiter]:
    members: list[Waiter] = []
    while way is not None:
        members.append(way.member)
        way = way.before
    members.reverse()
    return members


def _circle(members: list[Waiter]) -> DeadlockError | AskCycle:
    """The error for a circle of waiting."""
    names = [member.name for member in members]
    shown = " -> ".join([*names, names[0]])
    if not any(member.settles for member in members):
        return AskCycle(
            f"this ask would never be answered: {shown} wait for each other; "
            "use tell for one of the messages, or let one of them pass what the other needs",
            path=[*names, names[0]],
        )
    return DeadlockError(
        f"waiting would never end: {shown} wait for each other; break the circle where one of them awaits",
        circle=names,
    )
