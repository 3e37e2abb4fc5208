"""How far a runtime is can be watched on a terminal, and whoever watches changes and delays nothing."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from rich.console import Console

from actorsched import Retry, Runtime, current
from actorsched.observe import progress
from actorsched.observe.picture import draw, span
from actorsched.observe.progress import Progress, start_progress
from actorsched.observe.tally import HEARD, Look, Pace, Row, Running, Tally
from actorsched.testing import VirtualClock, compute
from tests.commands import ON_ITS_TERMINAL, WITHOUT_RICH, running

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    """Looks like a terminal, and says when it shows something."""

    def __init__(self, awaited: str = "all tasks") -> None:
        super().__init__()
        self._awaited = awaited
        self.has_shown = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if self._awaited in text:
            self.has_shown.set()
        return super().write(text)

    async def shows_it(self) -> None:
        assert await anyio.to_thread.run_sync(self.has_shown.wait, 10)


@pytest.fixture(autouse=True)
def an_ordinary_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the tests themselves run on."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


async def nothing() -> None:
    """What costs no time."""


async def fail() -> None:
    raise ValueError("it does not work")


# -------------------------------------------------------------------------------------------- what is counted


def watched(rt: Runtime) -> Tally:
    tally = Tally(rt.stats())
    rt.subscribe(HEARD, tally.hear)
    return tally


def seen(rt: Runtime, tally: Tally, shown: int = 8) -> Look:
    return tally.look(rt.stats(), rt.now, shown)


async def test_tasks_are_counted_all_together_and_by_pool() -> None:
    async with Runtime(clock=VirtualClock(), pools={"net": 1, "disk": 2, "idle": 1}) as rt:
        tally = watched(rt)
        for _ in range(3):
            await rt.spawn(compute, 1, tag="net")
        for _ in range(4):
            await rt.spawn(compute, 2, tag="disk")
        await rt.sleep(1.5)
        look = seen(rt, tally)
        assert (look.overall.done, look.overall.total, look.overall.running) == (1, 7, 3)
        assert [(row.name, row.done, row.total, row.running) for row in look.rows] == [
            ("net", 1, 3, 1),
            ("disk", 0, 4, 2),
        ]
        await rt.sleep(10)
        assert (seen(rt, tally).overall.done, seen(rt, tally).overall.running) == (7, 0)


async def test_failures_and_cancellations_are_counted_by_themselves() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        tally = watched(rt)
        bad = await rt.spawn(fail)
        await bad.outcome()
        slow = await rt.spawn(compute, 5)
        await slow.cancel()
        late = await rt.spawn(compute, 5, deadline="1s", hard=True)
        await late.outcome()
        overall = seen(rt, tally).overall
        assert (overall.done, overall.failed, overall.cancelled) == (3, 2, 1)


async def test_what_had_ended_before_does_not_count_and_what_had_begun_does() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        await rt.run(nothing)
        slow = await rt.spawn(compute, 2)
        tally = watched(rt)
        assert (seen(rt, tally).overall.done, seen(rt, tally).overall.total) == (0, 1)
        await slow
        assert (seen(rt, tally).overall.done, seen(rt, tally).overall.total) == (1, 1)


async def test_the_rate_and_what_remains_follow_the_last_seconds() -> None:
    async with Runtime(clock=VirtualClock(), concurrency=1) as rt:
        tally = watched(rt)
        for _ in range(10):
            await rt.spawn(compute, 1)
        assert (seen(rt, tally).overall.rate, seen(rt, tally).overall.remaining) == (None, None)
        await rt.sleep(4.5)
        overall = seen(rt, tally).overall
        assert overall.rate == pytest.approx(4 / 4.5)
        assert overall.remaining == pytest.approx(6 / (4 / 4.5))
        await rt.sleep(10)
        assert seen(rt, tally).overall.remaining == 0


def test_a_pace_forgets_what_is_long_ago() -> None:
    pace = Pace(0.0)
    assert pace.rate(0, 0.1) is None
    assert pace.rate(100, 1.0) == 100
    for second in range(2, 30):
        pace.rate(100, float(second))
    assert pace.rate(100, 30.0) == 0


async def test_tasks_that_report_are_shown_with_what_they_say_before_those_that_do_not() -> None:
    async def report() -> None:
        current().report(0.25, "page 1")
        await compute(5)

    async with Runtime(clock=VirtualClock(), concurrency=None) as rt:
        tally = watched(rt)
        for number in range(5):
            await rt.spawn(compute, 5, name=f"silent {number}")
        await rt.spawn(report, name="telling")
        await rt.sleep(2)
        look = seen(rt, tally, shown=3)
        (first, seconds), *others = look.running
        assert (first.name, first.fraction, first.message, seconds) == ("telling", 0.25, "page 1", 2)
        assert [task.name for task, _ in others] == ["silent 0", "silent 1"]
        assert look.more == 3
        await rt.sleep(10)
        assert seen(rt, tally).running == ()


async def test_a_task_that_waits_for_its_next_attempt_does_not_run() -> None:
    async with Runtime(clock=VirtualClock()) as rt:
        tally = watched(rt)
        ref = await rt.spawn(fail, retry=Retry(attempts=2, delay=5, jitter=False))
        await rt.sleep(1)
        assert seen(rt, tally).running == ()
        await ref.outcome()
        await rt.sleep(1)
        assert seen(rt, tally).running == ()


# ---------------------------------------------------------------------------------------------- what is drawn


def row(name: str = "", **changes: object) -> Row:
    fields = {
        "done": 3,
        "total": 12,
        "failed": 0,
        "cancelled": 0,
        "running": 1,
        "rate": 1.5,
        "remaining": 6.0,
    }
    return Row(name=name, **{**fields, **changes})  # type: ignore[arg-type]


def drawn(look: Look, width: int = 80, *, over: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(draw(look, over=over))
    return capture.get().splitlines()


LOOK = Look(
    elapsed=4.0,
    overall=row(failed=2, cancelled=1),
    rows=(row("network"), row("disk", done=12, remaining=0.0)),
    running=(
        (Running("fetch", "loop", 0.0, 0.5, "page\n\x1b[2J 1"), 61.0),
        (Running("scan", "thread-1", 0.0), 2.0),
    ),
    more=7,
)


def test_a_picture_has_a_line_for_all_tasks_for_each_pool_and_for_some_that_run() -> None:
    lines = drawn(LOOK)
    assert [line.split()[0] for line in lines] == ["all", "network", "disk", "fetch", "scan", "and"]
    assert "3/12 2 failed 1 cancelled" in lines[0]
    assert "1.5/s" in lines[0]
    assert lines[0].endswith("0:06 left")
    assert "50%" in lines[3]
    assert lines[3].endswith("1:01")
    assert "thread-1" in lines[4]
    assert "and 7 more" in lines[5]


def test_what_a_task_says_cannot_move_the_cursor() -> None:
    assert "\x1b" not in drawn(LOOK)[3]
    assert "page  [2J 1" in drawn(LOOK)[3]


@pytest.mark.parametrize("width", [1, 10, 20, 40, 60, 200])
def test_a_picture_has_as_many_lines_on_a_narrow_terminal_and_none_is_too_long(width: int) -> None:
    lines = drawn(LOOK, width)
    assert len(lines) == 6
    assert max(map(len, lines)) <= width


def test_the_last_picture_shows_what_came_of_it() -> None:
    lines = drawn(LOOK, over=True)
    assert len(lines) == 3
    assert lines[0].endswith("in 0:04")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (3599, "59:59"), (3723, "1:02:03"), (1e9, ">100 h")]
)
def test_a_span_is_written_as_on_a_clock(seconds: float, text: str) -> None:
    assert span(seconds) == text


# ------------------------------------------------------------------------------------------ where it is shown


async def test_a_display_shows_the_bars_and_leaves_the_terminal_as_it_was() -> None:
    terminal = Terminal()
    async with Runtime() as rt:
        async with start_progress(rt, 8, terminal) as display:
            assert display.shown
            await rt.run(nothing)
            await terminal.shows_it()
            await rt.run(nothing)
        assert not display.shown
    text = terminal.getvalue()
    assert text.index(HIDE_CURSOR) < text.index("all tasks") < text.rindex(SHOW_CURSOR)
    last = text[text.rindex("all tasks") :]
    assert "2/2" in last
    assert "in 0:0" in last
    assert type(sys.stderr).__name__ != "FileProxy"


async def test_an_ordinary_with_will_do_and_so_will_start_and_stop() -> None:
    terminal = Terminal()
    async with Runtime() as rt:
        with start_progress(rt, 8, terminal) as display:
            await rt.run(nothing)
        assert terminal.getvalue().endswith(SHOW_CURSOR)
        assert display.start() is display
        assert display.start().shown, "starting it twice is harmless"
        display.stop()
        display.stop()


async def test_a_display_that_nobody_stops_ends_with_the_runtime() -> None:
    terminal = Terminal()
    async with Runtime() as rt:
        display = start_progress(rt, 8, terminal).start()
        await rt.spawn(nothing)
    assert not display.shown
    assert "1/1" in terminal.getvalue()
    assert terminal.getvalue().endswith(SHOW_CURSOR)


async def test_an_error_in_the_body_leaves_the_terminal_as_it_was() -> None:
    terminal = Terminal()
    async with Runtime() as rt:
        with pytest.raises(LookupError):
            async with start_progress(rt, 8, terminal):
                await rt.run(nothing)
                await terminal.shows_it()
                raise LookupError
    assert terminal.getvalue().endswith(SHOW_CURSOR)


async def test_without_a_task_nothing_is_shown() -> None:
    terminal = Terminal()
    async with Runtime() as rt, start_progress(rt, 8, terminal):
        pass
    assert terminal.getvalue() == ""


async def test_where_the_output_is_no_terminal_it_says_nothing() -> None:
    stream = io.StringIO()
    async with Runtime() as rt, start_progress(rt, 8, stream) as display:
        await rt.run(nothing)
        assert not display.shown
    assert stream.getvalue() == ""


async def test_a_dumb_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    async with Runtime() as rt, start_progress(rt, 8, Terminal()) as display:
        assert not display.shown


async def test_of_two_displays_the_second_says_nothing() -> None:
    one, other = Terminal(), Terminal()
    async with Runtime() as rt:
        async with start_progress(rt, 8, one), start_progress(rt, 8, other) as second:
            assert not second.shown
            await rt.run(nothing)
        async with start_progress(rt, 8, other) as third:
            assert third.shown
    assert "1/1" in one.getvalue()
    assert other.getvalue() == ""


async def test_what_is_logged_and_printed_stands_above_the_bars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    log = logging.getLogger("test of progress")
    handler = logging.StreamHandler()  # it holds the terminal itself
    log.addHandler(handler)
    try:
        async with Runtime() as rt, start_progress(rt, 8):
            await rt.run(nothing)
            await terminal.shows_it()
            log.warning("a record %s", "of the log")
            print("an error message", file=sys.stderr)
            print("for a pipe")
            print("no end of line", end="", file=sys.stderr)
    finally:
        log.removeHandler(handler)
    assert handler.stream is terminal
    assert sys.stderr is terminal
    text = terminal.getvalue()
    for said in ("a record of the log", "an error message", "no end of line"):
        assert text.index(said) < text.rindex("all tasks")
    assert "for a pipe" not in text
    assert capsys.readouterr().out == "for a pipe\n"


async def test_a_terminal_that_takes_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    stuck, goes_on = threading.Event(), threading.Event()

    class Stuck(Terminal):
        def flush(self) -> None:
            stuck.set()
            goes_on.wait(10)

    async with Runtime() as rt:
        with start_progress(rt, 8, Stuck()):
            await rt.run(nothing)
            assert await anyio.to_thread.run_sync(stuck.wait, 10)
            for _ in range(100):
                await rt.run(nothing)
        goes_on.set()


async def test_a_terminal_that_has_gone_ends_the_display_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = threading.Event()

    class Gone(Terminal):
        def write(self, text: str, /) -> int:
            gone.set()
            raise OSError(5, "Input/output error")

    async with Runtime() as rt, start_progress(rt, 8, Gone()):
        await rt.run(nothing)
        assert await anyio.to_thread.run_sync(gone.wait, 10)
        await rt.run(nothing)
    assert not caplog.records


async def test_a_display_belongs_to_the_thread_of_its_runtime() -> None:
    async with Runtime() as rt:
        display = start_progress(rt, 8, Terminal())
        with pytest.raises(RuntimeError, match="another thread"):
            await anyio.to_thread.run_sync(display.start)
        assert not display.shown


async def test_without_rich_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    async with Runtime() as rt:
        with pytest.raises(ImportError, match=r"rich, which is not installed; install actorsched\[cli\]"):
            rt.progress()


@pytest.mark.parametrize(("lines", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
async def test_a_wrong_number_of_lines_is_refused(lines: object, error: type[Exception]) -> None:
    async with Runtime() as rt:
        with pytest.raises(error, match=r"lines=.*give an int of 0 or more"):
            rt.progress(lines=lines)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_repr_tells_the_truth() -> None:
    async with Runtime(name="mine") as rt:
        display = rt.progress()
        assert isinstance(display, Progress)
        assert repr(display) == "<Progress of <Runtime 'mine'>, not shown>"


# ------------------------------------------------------------------------------------------ on real terminals

PROGRAM = """
import logging
from actorsched import Runtime, current, sleep

log = logging.getLogger("shop")

async def fetch(number):
    log.info("fetching %d", number)
    current().report(0.5, f"page {number}")
    await sleep("150ms")

async def work(rt: Runtime) -> None:
    rt.pool("net", 2)
    for number in range(4):
        await rt.spawn(fetch, number, tag="net", name=f"fetch {number}")
    await rt.spawn(sleep, "300ms", name="nap")
    print("printed")

async def hang(rt: Runtime) -> None:
    await rt.run(sleep, "1h", name="long nap")
"""


@pytest.fixture
def shop(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "shop.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path


def joined(screen: Iterator[str]) -> str:
    return "".join(screen).replace("\r\n", "\n")


@pytest.mark.process
def test_actorsched_run_shows_how_far_it_is_until_all_is_over(shop: pathlib.Path) -> None:
    with running("run", "shop:work", cwd=shop, terminal=True) as command:
        text = joined(command.screen())
        assert command.answer().code == 0
    assert text.index(HIDE_CURSOR) < text.index("all tasks") < text.rindex(SHOW_CURSOR)
    assert text.rstrip().endswith(SHOW_CURSOR)
    last = text[text.rindex("all tasks") :]
    assert "5/5" in last
    assert "net" in last
    assert "4/4" in last
    for said in ("page 0", "printed", "fetching 3"):
        assert said in text


@pytest.mark.process
@pytest.mark.parametrize("how", ["flag", "dumb", "without rich"])
def test_actorsched_run_shows_nothing_where_nobody_wants_it(how: str, shop: pathlib.Path) -> None:
    words = ["run", "--no-progress", "shop:work"] if how == "flag" else ["run", "shop:work"]
    code = f"{WITHOUT_RICH} sys.exit(main())" if how == "without rich" else None
    environment = {"TERM": "dumb"} if how == "dumb" else None
    with running(*words, cwd=shop, terminal=True, environment=environment, code=code) as command:
        text = joined(command.screen())
        assert command.answer().code == 0
    assert "\x1b" not in text
    assert "printed\n" in text
    assert "fetching 3" in text


@pytest.mark.process
def test_ctrl_c_gives_the_terminal_back(shop: pathlib.Path) -> None:
    with running("run", "shop:hang", cwd=shop, terminal=True, before=ON_ITS_TERMINAL) as command:
        text = ""
        for piece in command.screen():
            if "all tasks" not in text and "all tasks" in text + piece:
                command.type("\x03")
            text += piece
        assert command.answer().code == 130
        assert not command.left()
    assert "long nap" in text
    assert HIDE_CURSOR not in text[text.rindex(SHOW_CURSOR) :]
    assert "Traceback" not in text
