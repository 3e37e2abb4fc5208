"""What hosts take over, and how records look when they have crossed."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any

import pytest

from actorsched._hosting import handover, logs
from actorsched._hosting.packets import Splitter
from actorsched._hosting.port import Port
from actorsched._hosting.wire import FromHost


def handed_over() -> dict[str, Any]:
    """What arrives on the other side."""
    read, write = os.pipe()
    try:
        os.write(write, handover.handover("tasks", "asyncio"))
        return handover.receive(read)
    finally:
        os.close(read)
        os.close(write)


def test_the_search_path_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "relative", "/absolute"])
    assert handed_over()["path"] == [f"{tmp_path}/", f"{tmp_path}/relative", "/absolute"]


def test_where_the_working_directory_has_gone_the_search_path_keeps_what_is_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "path", ["relative", "/absolute"])
    assert handed_over()["path"] == ["relative", "/absolute"]


def test_filters_of_warnings_are_put_in_force_in_the_same_order() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("error", "some .* text", UserWarning)
        warnings.filterwarnings("once", module="a_module")
        handed = handed_over()["warnings"]
        before = [(f[0], getattr(f[1], "pattern", f[1]), f[2], f[4]) for f in warnings.filters]
        handover._take_warning_filters(handed)
        after = [(f[0], getattr(f[1], "pattern", f[1]), f[2], f[4]) for f in warnings.filters]
        assert after == before
        with pytest.raises(UserWarning, match="text"):
            warnings.warn("some odd text", UserWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_a_filter_of_a_warning_that_the_host_does_not_know_is_left_out() -> None:
    with warnings.catch_warnings():
        handover._take_warning_filters([("error", None, "no_such_module:Odd", None, 0)])
        assert warnings.filters == []


def test_levels_of_loggers_go_over(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("tests.hosting.levels")
    monkeypatch.setattr(logger, "level", logging.ERROR)
    levels = handed_over()["log_levels"]
    assert levels["tests.hosting.levels"] == logging.ERROR
    assert levels[""] == logging.root.level


def test_the_command_repeats_the_flags_of_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_xoptions", {"dev": True, "pycache_prefix": "/x"})
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    command = handover.command(5, 6)
    assert command[0] == sys.executable
    assert {"-P", "-Xdev", "-Xpycache_prefix=/x", "-Werror"} <= set(command)
    assert command[-2:] == ["5", "6"]


def test_site_is_left_out_unless_something_on_the_path_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        """Such as an editable installation brings along."""

    for name in handover._MEASURED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if isinstance(finder, type)])
    assert "-S" in handover.command(5, 6)
    with monkeypatch.context() as measured:
        measured.setenv("COV_CORE_SOURCE", "of pytest-cov 6")
        assert "-S" not in handover.command(5, 6)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    assert "-S" not in handover.command(5, 6)


class Wire:
    """A port whose writing is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written = b""
        self.port = Port(-1, None, None)
        monkeypatch.setattr(self.port, "_write", self._keep)

    def _keep(self, packet: bytearray) -> None:
        self.written += packet

    def frames(self) -> list[Any]:
        """What has been written."""
        return Splitter(FromHost, self.port.borrower.resolve).feed(self.written)


def test_a_record_is_the_same_when_it_has_crossed(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(logging.root, "handlers", [])
        patch.setattr(logging.root, "level", logging.WARNING)
        logs.catch_logs(wire.port, {"": logging.DEBUG, "disabled": logging.NOTSET})
        try:
            raise LookupError("lost")
        except LookupError:
            logging.getLogger("a.b").exception("what %s", "happened", extra={"number": 5, "lock": object})
    (frame,) = wire.frames()
    record = logs.record_of(frame, 77, "host 1")
    assert (record.name, record.levelname, record.getMessage()) == ("a.b", "ERROR", "what happened")
    assert (record.process, record.processName, record.threadName) == (77, "host 1", "MainThread")
    assert record.exc_text is not None
    assert "LookupError: lost" in record.exc_text
    assert "LookupError: lost" in logging.Formatter().format(record)
    assert record.__dict__["number"] == 5
    assert record.funcName == "test_a_record_is_the_same_when_it_has_crossed"
    assert record.filename == "test_handover.py"


def test_extras_that_cannot_cross_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    wire = Wire(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(logging.root, "handlers", [])
        patch.setattr(logging.root, "level", logging.WARNING)
        logs.catch_logs(wire.port, {"": logging.DEBUG})
        logging.getLogger("a").warning("x", extra={"lock": threading.Lock()})
    record = logs.record_of(wire.frames()[0], 1, "h")
    assert "lock" in record.__dict__["lock"]
