"""What stops the task that runs in a host: for a while, in favour of a more urgent one, or for good.

`Preempt` suspends the process of the host, by the operating system, wherever its code is; what it has not
begun goes elsewhere. `Resume`, or an `Interrupt`, lets it go on.

`Interrupt` asks the function to stop, at its next checkpoint or await. One that has not stopped when the
grace period is over loses its host; one that had not begun is taken back instead.

The law of this module: nobody else is harmed. A host is suspended only when no result of another task is
still to come from it; before it is killed, what it has not begun is taken back.
"""

from __future__ import annotations

from typing import Any

from actorsched._core.behaviour import Outbox, handles, require
from actorsched._hosting import wire
from actorsched._system.host_ahead import HostAhead
from actorsched._system.pools import Place
from actorsched.messages import GraceOver, Interrupt, Preempt, Preempted, Resume

GRACE = 1.0
"""Seconds that a function in a host has to stop before its host is killed."""


class HostStops(HostAhead, kw_only=True):
    """Being preempted, resumed and interrupted."""

    @handles(Preempt)
    def _preempt(self, message: Preempt, out: Outbox) -> None:
        number = self._number_of(message.task)
        if not number:
            return
        if self.runs[number].packed is not None:
            return self._give_back(number, self.runs[number])
        assert self.link is not None
        quick = self._is_quick
        if number > self.link.last_started:  # those that outrank it stay: they would displace who follows it
            task: Any = message.task
            self._take_back(lambda other: not task.pool.precedes(other, task), again=quick)
        if number in self.runs:
            self._take_back(again=quick)
            self.leaving, self.window = number, 1
            if len(self.runs) > 1:  # they have ended; without shared memory, some may not have begun
                self._revoke(list(self.runs))
            self.make_room()

    def make_room(self) -> None:
        """Suspend the host for the sake of somebody else, if that is wanted, and when it may be.

        The results of those before in the host are awaited, because it could not send them meanwhile. When as
        many hosts are suspended as may be, it is tried again as soon as one of them is not.
        """
        if self.leaving not in self.runs:
            self.leaving = 0
        elif len(self.runs) == 1 and not self.suspended and self.pool.may_suspend():
            assert self.link is not None
            self.suspended = True
            self.link.suspend()
            task = self.runs[self.leaving].owner
            self.kernel.send((task, Preempted(task)))

    @handles(Resume)
    def _resume(self, message: Resume, out: Outbox) -> None:
        run, self.called_back = self.runs.get(self.leaving), False
        if run is not None and run.owner.place not in (Place.LEAVING, Place.QUEUED):
            self.go_on()

    def go_on(self) -> None:
        """The host goes on where it was suspended, or is not to be suspended any more."""
        self.leaving, self.called_back = 0, False
        if self.suspended:
            self.suspended = False
            assert self.link is not None
            self.link.resume()
            self.pool.one_less_suspended()

    @handles(Interrupt)
    def _interrupt(self, message: Interrupt, out: Outbox) -> None:
        number = self._number_of(message.task)
        if not number:
            return
        if number == self.leaving:
            self.go_on()
        run = self.runs[number]
        if run.packed is not None:
            return self._give_back(number, run)
        assert self.link is not None
        self.link.send(wire.Cancel(number, getattr(message.reason, "reason", None)))
        if run.grace is None:
            run.grace = self._later(GRACE, GraceOver(run.owner))

    @handles(GraceOver)
    def _grace_over(self, message: GraceOver, out: Outbox) -> None:
        number = self._number_of(message.task)
        if number and number != next(iter(self.runs)):
            self._take_back()
        if self._number_of(message.task):  # it runs; or the host, with nothing to do before it, is silent
            self.retiring = True
            assert self.link is not None
            self.link.kill()

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """The same; and it is suspended in favour of another only, when no result is still to come."""
        super().check()
        require(self.suspended or not self.called_back, self, "only who is suspended is called back")
        if self.suspended:
            require(self.leaving, self, "it is suspended because what it runs is to make room")
            alone = not self.runs or list(self.runs) == [self.leaving]
            require(alone, self, "when it is suspended, the results of all others have come")

    def check_at_rest(self) -> None:
        """The same; and the task that was suspended knows that."""
        super().check_at_rest()
        run = self.runs.get(self.leaving) if self.suspended else None
        paused = run is None or self.called_back or run.owner.paused
        require(paused, self, "the task that is suspended knows that it was preempted")
