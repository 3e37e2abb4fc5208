"""How a host ends, and what becomes of the tasks that it had.

In order it ends when nothing is left in it, after it was told to take no more: because it is not needed, has
had as many tasks as it may, or has grown too large. Otherwise it dies, or is killed; so is one that was told
to end and does not, because something that a task has left behind there keeps it from hearing.

The law of this module: every task that the host had hears of its end, once. Which of them had begun is known
exactly, also when a host is silent or has died: they were lost with it; the others are ready again at once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorsched._core.behaviour import require
from actorsched._system.host_stops import HostStops
from actorsched.messages import Finished, Idle, Unbegun

if TYPE_CHECKING:
    from actorsched._core.behaviour import Timer
    from actorsched._hosting.exits import HostExit
    from actorsched._system.task import TaskActor
    from actorsched.exceptions import HostDied

_FAREWELL = 5.0
"""Seconds that a host with nothing left in it has to end before it is killed."""


class HostEnd(HostStops, kw_only=True):
    """Having nothing to do, being replaced, and being gone."""

    farewell: Timer | None = None
    """When its host is killed, which was told to end."""

    def became_idle(self) -> None:
        """It has nothing left to do."""
        if self.retiring:
            self._end_if_over()
        else:
            self.pool.became_idle(self)  # type: ignore[arg-type]  # a HostWorker

    def retire(self, why: str) -> None:
        """Take no more tasks; give back what the host has not begun, and end it when the rest is over."""
        if self.retiring:
            return
        self.retiring, self.why_over = True, why
        self.pool.told_to_end(self)  # type: ignore[arg-type]  # a HostWorker
        if len(self.runs) > 1:
            self._take_back()
        self._end_if_over()

    def recycle(self, why: str) -> None:
        """Have another host take over, and end this one when what runs in it is over."""
        if not self.retiring:
            logging.getLogger("actorsched.host").info("%s is replaced: it %s", self.link, why)
        self.retire(f"it {why}")

    def _end_if_over(self) -> None:
        if self.retiring and not self.runs and self.link is not None and self.farewell is None:
            self.link.stop()
            why = f"was told to end, did not within {_FAREWELL:g} s, and was killed"
            self.farewell = self.kernel.call_for_host(_FAREWELL, self.link.kill_for, "killed", why)

    def over_memory(self, rss: int) -> None:
        """So many bytes are resident of its host: end it if its task has taken more than it may."""
        ration, link = self.ration, self.link
        if ration is not None and link is not None and ration.number in self.runs:
            why = ration.exceeded(rss, link.weight)
            if why is not None:
                link.kill_for("out of memory", why)

    def exited(self, end: HostExit) -> None:
        """The host has ended. Those that it had not begun are ready again; the others were lost with it."""
        self.retiring = True
        was_suspended, self.suspended, self.leaving = self.suspended, False, 0
        self.called_back = False
        self._unwatch()
        if self.farewell is not None:
            self.farewell.cancel()
        runs, self.runs = self.runs, {}
        self.desk.gone()
        elsewhere = self.pool.worker_gone(self, end)  # type: ignore[arg-type]  # a HostWorker
        if was_suspended:
            self.pool.one_less_suspended()
        for number, run in reversed(runs.items()):
            run.clear_grace()
            if number > end.last_started and elsewhere:
                self.kernel.send((self.scheduler, Unbegun(self, run.owner)))
            else:
                self.kernel.send((self.scheduler, Idle(self, run.owner)))
                error = self._error_of(number, run.owner, end)
                stopped = run.owner.stopping is not None
                self.kernel.send((run.owner, Finished(error=error, stopped=stopped, crashed=True)))
        self.kernel.drain()

    def _error_of(self, number: int, task: TaskActor, end: HostExit) -> HostDied:
        """The error of a task that was lost with the host."""
        crashes = task.options.retry.crashes
        remedy = f"Retry(crashes={crashes + 1}) would run it again" + (" once more" if crashes else "")
        ration = self.ration
        if ration is None or ration.number != number:
            return end.error(f"task {task.name!r}", remedy)
        error = end.of_limited(ration.memory_mb).error(f"task {task.name!r}", remedy)
        error.__cause__ = ration.error
        return error

    # ----------------------------------------------------------------------------- what always holds

    def check(self) -> None:
        """The same; and it is told to end only when it takes no more, and has nothing left."""
        super().check()
        told = self.farewell is not None
        require(self.retiring or not told, self, "whoever is told to end takes no more tasks")
        require(not (told and self.runs), self, "whoever is told to end has nothing left to do")
        named = not self.runs or all(run.owner.host == "process" for run in self.runs.values())
        require(named or self.retiring, self, "its tasks are for a host process")

    def check_at_rest(self) -> None:
        """The same; and it is told to end as soon as nothing is left."""
        super().check_at_rest()
        idle = self.is_over and self.link is not None and self in self.pool.workers
        told = not idle or self.farewell is not None
        require(told, self, "whoever takes no more, and has nothing left, is told to end")
