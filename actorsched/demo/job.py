"""The job itself: finding the files, the pipeline, and how it ends.

The law of this module: here is what the demo is a demonstration of. The pipeline is the one of the
documentation: a stage that reads, stages that compute in host processes, stages that write, all in step by
demand. However it ends, what is said about it at the end is what the tally has counted.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from actorsched.demo import BadUsage, words
from actorsched.demo.board import Board
from actorsched.demo.display import OutputLost, suitable
from actorsched.demo.files import find
from actorsched.demo.quiet import Quiet, hushed
from actorsched.demo.results import SUMS, Results
from actorsched.demo.steps import Checked, Failed, Form, Settings, check, read, reason, squeeze, store
from actorsched.demo.tally import Tally
from actorsched.options import Hosts, Retry
from actorsched.pipeline import stage
from actorsched.running import run
from actorsched.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorsched.demo.display import Lines
    from actorsched.scope import Scope

CODES: dict[words.Ending, int] = {"interrupted": 130, "terminated": 143}
"""The exit codes of what did not come to its end: 128 and the number of the signal."""


_AGAIN = Retry(crashes=2)
"""A file whose host has died is tried again: it need not have been the reason. At the third time it was."""


class Order(NamedTuple):
    """What is to be done."""

    path: str | None
    """What to read; None for the installed package."""
    out: str | None = None
    """Where results go; None for a temporary folder."""
    form: Form = "gz"
    """How they are compressed."""
    hosts: int | None = None
    """How many host processes there may be; None for one per processor."""
    interval: float | None = None
    """How often to show how far it is, in seconds; None for what suits."""
    backend: Literal["asyncio", "trio"] = "asyncio"
    """The event loop."""
    timeline: str | None = None
    """Where a timeline of all that happens goes; None for nowhere."""


def demo(order: Order) -> int:
    """Do it, show it, and sum it up.

    Returns:
        The exit code: 0 when every file was done, 1 when some could not be, 130 and 143 after signals.

    Raises:
        BadUsage: It cannot be done as it was ordered.
        OutputLost: Nobody takes what is printed; everything is tidied up.
    """
    source = _source(order.path)
    with contextlib.ExitStack() as tidying:
        quiet = tidying.enter_context(Quiet())
        results = tidying.enter_context(Results.at(order.out, source, order.form))
        display = tidying.enter_context(suitable(order.interval))
        job = Job(source, results, display, quiet, order)
        try:
            ending = _ending(job, order.backend)
        finally:
            quiet.begin()
            unwritten = _write_sums(results, job.tally)
    return _sum_up(job, ending, unwritten)


def _source(path: str | None) -> str:
    """What to read.

    Raises:
        BadUsage: It is not there, or cannot be looked into.
    """
    source = str(Path(__file__).parent.parent) if path is None else path
    shown = words.name(source) or "PATH ''"
    try:
        if Path(source).is_dir():
            os.scandir(source).close()
        elif not Path(source).is_file():
            there = os.path.lexists(source)
            raise BadUsage(f"{shown}: it {'is neither a folder nor a file' if there else 'does not exist'}")
    except (OSError, ValueError) as error:
        raise BadUsage(f"{shown}: {getattr(error, 'strerror', None) or error}") from None
    return source


def _ending(job: Job, backend: Literal["asyncio", "trio"]) -> words.Ending:
    """Run the job, and tell how it came to its end."""
    try:
        with hushed():
            run(job.work, backend=backend, tree_on=getattr(signal, "SIGUSR1", None))
    except KeyboardInterrupt:
        return "interrupted"
    except SystemExit as signalled:
        if signalled.code != CODES["terminated"]:
            raise
        return "terminated"
    return "done"


def _write_sums(results: Results, tally: Tally) -> str | None:
    """Write down the fingerprints; answers with why it could not be done."""
    try:
        results.write_sums(tally.sums)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _sum_up(job: Job, ending: words.Ending, unwritten: str | None) -> int:
    line, tally = job.display.line, job.tally
    for text in words.summary(tally, time.monotonic() - job.began):
        line(text)
    folder = words.name(str(job.results.folder))
    line(f"results: {folder}, with the fingerprints of the originals in {SUMS}")
    if unwritten is not None:
        line(f"failed: {SUMS} could not be written: {unwritten}")
    line(words.last_line(tally, ending))
    return CODES.get(ending, 1 if tally.failures or tally.left or unwritten is not None else 0)


class Job:
    """The work on one tree of files.

    Attributes:
        tally: What has been done so far.
        results: Where results go.
        display: What shows it.
        quiet: Begins when nothing is left to do but to tidy up.
        began: When the work on the files began, on the monotonic clock, in seconds.
    """

    def __init__(self, source: str, results: Results, display: Lines, quiet: Quiet, order: Order) -> None:
        self.tally: Tally = Tally()
        self.results = results
        self.display = display
        self.quiet = quiet
        self.began: float = time.monotonic()
        self._source = source
        self._is_package = order.path is None
        self._hosts = Hosts(max=order.hosts)
        self._timeline = order.timeline

    def __repr__(self) -> str:
        return f"<Job: {self.tally!r}>"

    async def work(self) -> None:
        """Find the files, and have them done.

        Raises:
            OutputLost: Nobody takes what is printed.
        """
        self.display.line(f"reading {words.name(self._source)}")
        self.display.line(f"writing to {words.name(str(self.results.folder))}")
        try:
            async with Runtime(hosts=self._hosts, name="demo") as rt:
                self._begin_timeline(rt)
                await self._work_within(rt)
        except BaseExceptionGroup as several:
            lost, rest = several.split(OutputLost)
            if lost is None or rest is not None:
                raise
            raise OutputLost from next(iter(_leaves(lost))).__cause__

    async def _work_within(self, rt: Runtime) -> None:
        async with rt.scope() as scope:
            try:
                aside = [await scope.spawn(task, rt) for task in (self._keep_showing, self._bury)]
                await self._find(scope)
                await self._do(rt)
                for task in aside:
                    await task.cancel("all is done")
            finally:
                self.quiet.begin()

    def _begin_timeline(self, rt: Runtime) -> None:
        """Write down what happens, if that is wanted.

        Raises:
            BadUsage: It cannot be written there.
        """
        if self._timeline is None:
            return
        try:
            rt.timeline(self._timeline)
        except OSError as error:
            why = error.strerror or error
            raise BadUsage(f"the timeline cannot be written to {words.name(self._timeline)}: {why}") from None
        self.display.line(f"timeline: {words.name(self._timeline)}, to be opened at https://ui.perfetto.dev")

    async def _find(self, scope: Scope) -> None:
        """Find the files, in a thread."""
        # The package's own compiled files come and go while hosts start.
        without = ("__pycache__",) if self._is_package else ()
        await scope.run(find, self._source, self.tally.finds, self.results.place, without)
        self.tally.searched = True
        self.began = time.monotonic()
        finds = self.tally.finds
        self.display.line(f"found {words.count(len(finds.files), 'file')}, {words.size(finds.size)}")

    async def _do(self, rt: Runtime) -> None:
        """Have every file done."""
        board = await rt.spawn(Board, self.tally)
        settings = Settings(self.results.form, self.results.parts)
        computing = functools.partial(
            stage,
            host="process",
            workers=self._hosts.max,
            demand=8,
            ordered=False,
            on_error="skip",
            retry=_AGAIN,
        )
        pipe = rt.pipeline(
            stage(functools.partial(read, board=board), workers=4, ordered=False),
            computing(functools.partial(squeeze, settings=settings), name="squeeze"),
            stage(functools.partial(store, settings=settings), workers=4, ordered=False),
            computing(functools.partial(check, settings=settings), name="check"),
            self._keep,
        )
        async for _ in pipe(self.tally.finds.files):
            pass
        for _ in range(500):  # what was skipped is heard of a moment later
            if not self.tally.left:
                break
            await rt.sleep("10ms")

    def _keep(self, checked: Checked | Failed) -> None:
        """The last stage: what is in place is counted, in one go, so that the two never disagree."""
        outcome = self.results.keep(checked) if isinstance(checked, Checked) else checked
        if isinstance(outcome, Failed):
            self.tally.gave_up(outcome)
        else:
            self.tally.passed(outcome)

    async def _bury(self, rt: Runtime) -> None:
        """Count what the stages in hosts have skipped: only the death of a host can be the reason."""
        async for letter in rt.dead_letters():
            if letter.reason == "skipped" and letter.error is not None:
                self.tally.gave_up(Failed(letter.args[0].name, reason(letter.error)))

    async def _keep_showing(self, rt: Runtime) -> None:
        """Show again and again how far it is."""
        while True:
            await rt.sleep(self.display.interval)
            self.display.show(self.tally, time.monotonic(), self.began)


def _leaves(group: BaseExceptionGroup[OutputLost]) -> Iterator[OutputLost]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
