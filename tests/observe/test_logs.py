"""The log actor: what is logged is written, in order, once, and nobody who logs waits for it."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import pathlib
import pty
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from actorsched import HostDied, Hosts, Runtime, RuntimeClosed, current
from actorsched.observe import TaskFields, start_log
from actorsched.testing import VirtualClock
from tests.observe import log_work
from tests.observe.log_work import Chatterbox

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "tests.log_work"
ONLY = (NAME,)
log = logging.getLogger(NAME)
LONG = "x" * 10_000


class Reader:
    """The other end of a pipe or a terminal, read to its end in a thread; nothing of it before `begin`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = b""
        self._thread = threading.Thread(target=self._read, name="reader of a test")

    def begin(self) -> None:
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # of a terminal that nobody has open any more
                break
            if not data:
                break
            self._data += data

    def lines(self) -> list[str]:
        """All that came until the writers had closed."""
        if self._thread.ident is None:
            self.begin()
        self._thread.join()
        os.close(self._descriptor)
        return self._data.decode().replace("\r\n", "\n").splitlines()


@contextmanager
def a_pipe() -> Iterator[tuple[Reader, int]]:
    read, write = os.pipe()
    yield from _with_reader(read, write)


@contextmanager
def a_terminal() -> Iterator[tuple[Reader, int]]:
    read, write = pty.openpty()
    yield from _with_reader(read, write)


@contextmanager
def a_socket() -> Iterator[tuple[Reader, int]]:
    here, there = socket.socketpair()
    yield from _with_reader(here.detach(), there.detach())


def _with_reader(read: int, write: int) -> Iterator[tuple[Reader, int]]:
    try:
        yield Reader(read), write
    finally:
        for descriptor in (read, write):
            try:
                os.close(descriptor)
            except OSError:  # the test has closed it
                pass


KINDS = {"pipe": a_pipe, "terminal": a_terminal, "socket": a_socket}


def messages(lines: list[str]) -> list[str]:
    return [json.loads(line)["message"] for line in lines]


def numbered(count: int) -> list[str]:
    return [f"number {number}" for number in range(count)]


def records_in(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("kind", KINDS)
async def test_records_arrive_in_order_and_the_descriptor_stays_as_it_is(kind: str) -> None:
    with KINDS[kind]() as (reader, write):
        reader.begin()
        async with Runtime() as rt:
            written = await start_log(rt, write, format="json", loggers=ONLY)
            for number in range(2000):
                log.info("number %d", number)
                if number % 100 == 0:
                    await anyio.lowlevel.checkpoint()
            assert os.get_blocking(write)
        assert os.get_blocking(write)
        os.close(write)
        assert messages(reader.lines()) == numbered(2000)
        assert (written.written, written.waiting, written.lost) == (2000, 0, 0)


async def test_a_socket_that_does_not_block_anyway_is_written_to_by_the_loop() -> None:
    with a_socket() as (reader, write):
        os.set_blocking(write, False)
        reader.begin()
        async with Runtime() as rt:
            await start_log(rt, write, format="json", loggers=ONLY)
            for number in range(2000):
                log.info("number %d", number)
        os.close(write)
        assert messages(reader.lines()) == numbered(2000)


async def test_the_loop_of_asyncio_writes_pipes_with_aiologger_and_all_else_is_the_standard_librarys(
    backend: str, tmp_path: pathlib.Path
) -> None:
    with a_pipe() as (_, write):
        async with Runtime() as rt:
            to_pipe = await start_log(rt, write, loggers=ONLY)
            to_file = await start_log(rt, tmp_path / "log", loggers=ONLY)
            assert (to_pipe._writer._aiologger is not None) == (backend != "trio")
            assert to_file._writer._aiologger is None


async def test_a_file_is_appended_to_and_followed_when_it_is_rotated(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    async with Runtime() as rt:
        written = await start_log(rt, path, loggers=ONLY)
        log.warning("one")
        await written.flush()
        path.rename(tmp_path / "log.1")
        log.warning("two")
        await written.flush()
        assert written.written == 2
    first, second = (tmp_path / "log.1").read_text().splitlines()
    assert first == "before"
    assert second.endswith("WARNING  tests.log_work: one")
    assert path.read_text().endswith("WARNING  tests.log_work: two\n")


async def test_a_stream_without_a_descriptor_takes_records_too() -> None:
    stream = io.StringIO()
    async with Runtime() as rt:
        await start_log(rt, stream, loggers=ONLY)
        log.info("hello")
    assert stream.getvalue().endswith("INFO     tests.log_work: hello\n")
    assert not stream.closed


async def test_standard_error_is_where_a_log_goes_that_was_told_nothing_else(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with Runtime() as rt:
        await start_log(rt, loggers=ONLY)
        log.info("hello")
    assert "tests.log_work: hello" in capfd.readouterr().err


# ---------------------------------------------------------------------------------------- who wrote a record


@pytest.mark.process
async def test_records_say_which_task_or_actor_wrote_them_and_where(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    async with Runtime() as rt:
        await start_log(rt, path, format="json", loggers=ONLY)
        log.info("outside")
        ids = [(await rt.spawn(log_work.one_async, "in the loop", name="mine")).id]
        for host in ("thread", "process"):
            ref = await rt.spawn(log_work.one, f"in a {host}", host=host, name="mine")
            await ref
            ids.append(ref.id)
        for host in ("loop", "process"):
            box = await rt.spawn(Chatterbox, host=host, name=f"box in a {host}")
            await box.ask.say("hello")
            await box.stop()
    found = {record["message"]: record for record in records_in(path)}
    assert "task" not in found["outside"]
    assert "host" not in found["outside"]
    for message, host, number in zip(
        ("loop", "thread", "process"), ("loop", "thread", "process"), ids, strict=True
    ):
        record = found[f"in {'the' if host == 'loop' else 'a'} {message}"]
        assert (record["task"], record["task_id"], record["attempt"], record["host"]) == (
            "mine",
            number,
            1,
            host,
        )
        assert (record["pid"] == os.getpid()) == (host != "process")
    said = [record for record in records_in(path) if record["message"] in ("hello", "the last word")]
    assert [(one["actor"], one["host"]) for one in said if one["message"] == "hello"] == [
        ("box in a loop", "loop"),
        ("box in a process", "process"),
    ]


async def test_the_filter_serves_handlers_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, NAME)
    caplog.handler.addFilter(fields := TaskFields())
    try:
        async with Runtime() as rt:
            await rt.run(log_work.one_async, "hello", name="mine")
    finally:
        caplog.handler.removeFilter(fields)
    (record,) = [record for record in caplog.records if record.name == NAME]
    assert record.__dict__["task"] == "mine"
    assert record.__dict__["host"] == "loop"


async def test_the_log_of_the_context_and_extras_keep_what_they_say(tmp_path: pathlib.Path) -> None:
    async def speak() -> None:
        current().log.warning("by the context")
        log.warning("with more", extra={"colour": "red", "task": "another"})

    async with Runtime() as rt:
        await start_log(rt, tmp_path / "log", format="json", loggers=("actorsched.task", NAME))
        await rt.run(speak, name="mine")
    first, second = records_in(tmp_path / "log")
    assert (first["task"], first["task_id"][:5], first["host"]) == ("mine", "task-", "loop")
    assert (second["task"], second["extra"]) == ("another", {"colour": "red"})
    assert "attempt" not in second


# --------------------------------------------------------------------------------------------- threads, hosts


async def test_every_thread_keeps_its_order(tmp_path: pathlib.Path) -> None:
    async with Runtime() as rt:
        await start_log(rt, tmp_path / "log", format="json", loggers=ONLY)
        refs = [await rt.spawn(log_work.chatter, 300, host="thread", name=f"t{n}") for n in range(4)]
        for ref in refs:
            await ref
    records = records_in(tmp_path / "log")
    for n in range(4):
        assert [one["message"] for one in records if one["task"] == f"t{n}"] == numbered(300)


@pytest.mark.process
async def test_records_of_a_host_arrive_in_order_at_its_levels_also_when_it_is_killed(
    tmp_path: pathlib.Path,
) -> None:
    async with Runtime() as rt:
        await start_log(rt, tmp_path / "log", format="json", loggers=ONLY)
        with pytest.raises(HostDied):
            await rt.run(log_work.chatter_and_die, 500, host="process")
    records = records_in(tmp_path / "log")
    assert [one["message"] for one in records] == numbered(500)
    assert [one["level"] for one in records[:3]] == ["INFO", "WARNING", "ERROR"]
    assert {one["host"] for one in records} == {"process"}


async def test_actors_that_stop_after_it_was_told_to_are_heard_to_the_last_word(
    tmp_path: pathlib.Path,
) -> None:
    async with Runtime() as rt:
        early = await rt.spawn(Chatterbox, name="early")
        await start_log(rt, tmp_path / "log", format="json", loggers=ONLY)
        await rt.spawn(Chatterbox, name="late")
        assert early.alive
    assert [(one["actor"], one["message"]) for one in records_in(tmp_path / "log")] == [
        ("late", "the last word"),
        ("early", "the last word"),
    ]


async def test_what_is_logged_when_the_actor_has_ended_is_written_directly(tmp_path: pathlib.Path) -> None:
    async with Runtime() as rt:
        rt.at_close(lambda: log.info("at the very end"))
        written = await start_log(rt, tmp_path / "log", format="json", loggers=ONLY)
        rt.at_close(lambda: log.info("at the end"))
        log.info("before")
        await rt.shutdown()
        log.warning("too late")
    assert [one["message"] for one in records_in(tmp_path / "log")] == ["before", "at the end"]
    assert (written.written, written.lost) == (2, 0)


async def test_a_runtime_that_is_forced_to_end_loses_nothing_either() -> None:
    with a_pipe() as (reader, write):
        async with Runtime() as rt:
            written = await start_log(rt, write, format="json", loggers=ONLY)
            for number in range(30):
                log.info("number %d", number, extra={"long": LONG})
            while written.waiting == 30 and not written.written:
                await anyio.lowlevel.checkpoint()  # until the first of it is in the pipe
            reader.begin()
            await rt.shutdown(drain=False)
        os.close(write)
        assert messages(reader.lines()) == numbered(30)


# --------------------------------------------------------------------------------------------- back-pressure


async def test_nobody_waits_for_a_target_that_nobody_reads_and_all_arrives_when_somebody_does() -> None:
    with a_pipe() as (reader, write):
        async with Runtime() as rt:
            written = await start_log(rt, write, format="json", loggers=ONLY)
            for number in range(200):
                log.info("number %d", number, extra={"long": LONG})
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert written.waiting > 100
            reader.begin()
            await written.flush()
            assert (written.written, written.waiting) == (200, 0)
        os.close(write)
        assert messages(reader.lines()) == numbered(200)


async def test_what_is_too_much_is_turned_away_and_a_line_in_its_place_says_so() -> None:
    with a_pipe() as (reader, write):
        async with Runtime() as rt:
            written = await start_log(rt, write, format="json", loggers=ONLY, backlog="500 kB")
            for number in range(200):
                log.info("number %d", number, extra={"long": LONG})
            lost = written.lost
            assert 100 < lost < 200
            reader.begin()
            await written.flush()
            log.info("afterwards")
        os.close(write)
        came = messages(reader.lines())
        assert came[: 200 - lost] == numbered(200 - lost)
        assert came[200 - lost].startswith(f"{lost} records are missing here")
        assert came[200 - lost + 1 :] == ["afterwards"]


async def test_the_end_waits_for_a_target_only_so_long_and_says_what_is_lost(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with a_pipe() as (reader, write):
        async with Runtime() as rt:
            written = await start_log(rt, write, format="json", loggers=ONLY, close_timeout="10ms")
            for number in range(100):
                log.info("number %d", number, extra={"long": LONG})
        os.close(write)
        lines = reader.lines()
        whole = [line for line in lines if line.endswith("}")]
        assert messages(whole) == numbered(len(whole))
        assert written.lost == 100 - len(whole) > 0
        assert f"{written.lost} log records could not be written" in capfd.readouterr().err


async def test_a_full_disk_is_told_and_what_was_lost_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    async with Runtime() as rt:
        written = await start_log(rt, "/dev/full", loggers=ONLY)
        for number in range(3):
            log.info("number %d", number)
        with pytest.raises(OSError, match="No space left on device; 3 records wait"):
            await written.flush()
        assert written.failure == os.strerror(errno.ENOSPC)
    assert written.lost == 3
    told = capfd.readouterr().err.splitlines()
    assert told == [
        "actorsched: the log cannot be written to /dev/full: No space left on device",
        "actorsched: 3 log records could not be written to /dev/full: No space left on device",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_target_that_is_well_again_gets_what_waited(
    backend: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from actorsched.observe.target import Target

    full = True
    put = Target.write

    def write(self: Target, data: bytes, patience: Any) -> bytes:
        if full:
            from actorsched.observe.target import Unwritable

            raise Unwritable(data, OSError(errno.ENOSPC, "No space left on device"))
        return put(self, data, patience)

    monkeypatch.setattr(Target, "write", write)
    async with Runtime(clock=VirtualClock()) as rt:
        written = await start_log(rt, tmp_path / "log", format="json", loggers=ONLY)
        log.info("one")
        with pytest.raises(OSError, match="No space"):
            await written.flush()
        log.info("two")
        full = False
        while written.waiting:
            await rt.sleep(1)
        assert (written.written, written.failure) == (2, None)
    assert [one["message"] for one in records_in(tmp_path / "log")] == ["one", "two"]


async def test_a_reader_that_is_gone_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with a_pipe() as (reader, write):
        async with Runtime() as rt:
            written = await start_log(rt, write, loggers=ONLY)
            os.close(reader._descriptor)
            log.info("to nobody")
        assert written.lost == 1
        assert "1 log record could not be written" in capfd.readouterr().err


# ------------------------------------------------------------------------------- what others have configured


async def test_loggers_are_as_they_were_when_it_has_ended(tmp_path: pathlib.Path) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers), list(root.filters)
    async with Runtime() as rt:
        written = await start_log(rt, tmp_path / "log", level="DEBUG")
        assert root.level == logging.DEBUG
        assert written.handler in root.handlers
        assert list(root.handlers)[: len(before[1])] == before[1]
    assert (root.level, root.handlers, root.filters) == (before[0], before[1], before[2])


async def test_logs_may_end_in_any_order_and_a_level_that_somebody_else_sets_stays(
    tmp_path: pathlib.Path,
) -> None:
    other = logging.getLogger("tests.observe.levels")
    other.setLevel(logging.ERROR)
    async with Runtime() as rt:
        first = await start_log(rt, tmp_path / "1", level="INFO", loggers=[other.name])
        second = await start_log(rt, tmp_path / "2", level="DEBUG", loggers=[other.name])
        assert other.level == logging.DEBUG
        await second.close()
        assert other.level == logging.INFO
        third = await start_log(rt, tmp_path / "3", level="DEBUG", loggers=[other.name])
        await first.close()
        assert other.level == logging.DEBUG
        await third.close()
        assert other.level == logging.ERROR
        await start_log(rt, tmp_path / "4", level="DEBUG", loggers=[other.name])
        other.setLevel(logging.CRITICAL)
    assert other.level == logging.CRITICAL
    other.setLevel(logging.NOTSET)


async def test_a_record_is_written_once_also_where_loggers_stand_above_one_another(
    tmp_path: pathlib.Path,
) -> None:
    async with Runtime() as rt:
        await start_log(rt, tmp_path / "log", loggers=("", "tests", NAME))
        log.info("once")
    assert (tmp_path / "log").read_text().count("once") == 1


async def test_a_log_may_be_closed_early_and_twice(tmp_path: pathlib.Path) -> None:
    async with Runtime() as rt:
        written = await start_log(rt, tmp_path / "log", loggers=ONLY)
        log.info("one")
        await written.close()
        log.info("two")
        await written.close()
        await written.flush()
    assert (tmp_path / "log").read_text().count("\n") == 1


# ------------------------------------------------------------------------------------------------- formatting


async def test_what_cannot_be_formatted_is_said_to_be_so(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", False)  # the handler of pytest would raise
    async with Runtime() as rt:
        await start_log(rt, tmp_path / "log", format="json", loggers=ONLY)
        log.info("%d apples", "some")
        knot: list[object] = []
        knot.append(knot)
        log.info("half of a \ud83d character", extra={"knot": knot, "keys": {(3, 4): 5}})
    first, second = records_in(tmp_path / "log")
    assert first["message"].startswith("'%d apples' % ('some',) cannot be formatted: TypeError")
    assert second["message"] == "half of a \ud83d character"


async def test_a_formatter_of_ones_own_is_taken(tmp_path: pathlib.Path) -> None:
    async with Runtime() as rt:
        await start_log(
            rt, tmp_path / "log", format=logging.Formatter("%(levelname)s!%(message)s"), loggers=ONLY
        )
        log.info("hello")
    assert (tmp_path / "log").read_text() == "INFO!hello\n"


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"to": True}, TypeError, "to=True is of type bool; give a stream"),
        ({"to": 3.5}, TypeError, "to=3.5 is of type float; give a stream"),
        ({"to": 99_999}, ValueError, "to=99999 is no open descriptor"),
        (
            {"to": "/nowhere/log"},
            FileNotFoundError,
            "to='/nowhere/log' cannot be opened for writing: No such",
        ),
        ({"to": "/"}, IsADirectoryError, "to='/' cannot be opened for writing: Is a directory"),
        ({"format": "xml"}, ValueError, 'format=\'xml\' is unknown; give "text", "json"'),
        ({"format": 3}, TypeError, "format=3 is of type int"),
        ({"level": "LOUD"}, ValueError, "level='LOUD' is no level"),
        ({"level": True}, TypeError, "level=True is of type bool"),
        ({"loggers": "app"}, TypeError, "loggers='app' is of type str; give names"),
        ({"loggers": ()}, ValueError, r"loggers=\(\) names none"),
        ({"loggers": (3,)}, TypeError, "loggers=3 is of type int"),
        ({"backlog": 0}, ValueError, "backlog=0 is no memory at all"),
        ({"close_timeout": "soon"}, ValueError, "close_timeout='soon'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("backend", ["asyncio"])
async def test_bad_arguments_are_refused_at_the_call(
    backend: str, given: dict[str, Any], error: type[Exception], words: str
) -> None:
    async with Runtime() as rt:
        with pytest.raises(error, match=words):
            await start_log(rt, **given)


@pytest.mark.parametrize("backend", ["asyncio"])
async def test_closed_streams_and_those_for_reading_are_refused(backend: str, tmp_path: pathlib.Path) -> None:
    closed = io.StringIO()
    closed.close()
    async with Runtime() as rt:
        with pytest.raises(ValueError, match="is closed"):
            await start_log(rt, closed)
        source = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(ValueError, match="is open for reading only"):
            await start_log(rt, source)
        os.close(source)
        with pytest.raises(TypeError, match="rt=3"):
            await start_log(3)
    with pytest.raises(RuntimeClosed):
        await start_log(rt, tmp_path / "log")


@pytest.mark.process
async def test_hosts_that_run_already_get_the_levels_of_the_log(tmp_path: pathlib.Path) -> None:
    async with Runtime(hosts=Hosts(min=1, max=1)) as rt:
        box = await rt.spawn(Chatterbox, host="process")
        await box.ask.say("too quiet")
        await rt.run(log_work.one, "too quiet", host="process")
        written = await start_log(rt, tmp_path / "log", format="json", loggers=ONLY)
        await rt.run(log_work.one, "in a task", host="process")
        await box.ask.say("in an actor")
        await written.close()
        await rt.run(log_work.one, "too quiet again", host="process")
    assert [one["message"] for one in records_in(tmp_path / "log")] == ["in a task", "in an actor"]
