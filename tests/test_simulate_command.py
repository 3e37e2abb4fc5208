"""`actorsched simulate`, as its users run it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import signal
import stat
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from actorsched import cli
from actorsched.simulate.reading import read
from tests.commands import run, running

pytestmark = pytest.mark.usefixtures("warm_backends")

ONE = {
    "policy": "edf",
    "tasks": [{"name": "A", "exec": 3, "deadline": 9}, {"name": "B", "exec": 2, "deadline": 4}],
}
TWO = {"schedules": [ONE, {**ONE, "name": "second", "policy": "PRIORITY"}]}
GRAPH = {
    "name": "ring",
    "tasks": [{"name": "A"}, {"name": "B"}, {"name": "C"}, {"name": "D"}],
    "resources": ["R", {"name": "S", "capacity": 1}, "T"],
    "holds": {"A": ["R"], "B": ["S"]},
    "waits": {"A": ["S"], "B": ["R"], "C": ["S"], "D": ["T"]},
}
FOUND = {"cycles": [["A", "B"]], "deadlocked": ["A", "B"], "stuck_behind": ["C"], "not_deadlocked": ["D"]}
LONG = {
    "tasks": [{"name": f"t{k}", "exec": 1000, "arrival": k % 7} for k in range(40)],
    "params": {"quantum": 0.001},
}


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file_of(folder: pathlib.Path, content: Any, name: str = "set.json") -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")
    return name


def names_in(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --------------------------------------------------------------------------------------------- the answer


def test_one_schedule_is_answered_by_one(here: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", file_of(here, ONE)]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    answer = json.loads(printed.out)
    assert answer == {
        "name": "unnamed",
        "policy": "EDF",
        "processors": 1,
        "tasks": ONE["tasks"],
        "resources": [],
        "params": {},
        "expected": [[0, 2, "B"], [2, 5, "A"]],
        "finish": {"A": 5, "B": 2},
        "misses": [],
        "events": [],
    }


def test_several_are_answered_by_several(here: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", file_of(here, TWO)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in answer["schedules"]] == ["unnamed", "second"]
    assert [each["expected"][0] for each in answer["schedules"]] == [[0, 2, "B"], [0, 3, "A"]]
    assert set(answer) == {"schedules"}


def test_the_answer_is_a_file_that_comes_out_the_same_again(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["simulate", file_of(here, {**TWO, "graphs": [GRAPH]})]) == 0
    first = capsys.readouterr().out
    assert cli.main(["simulate", file_of(here, first)]) == 0
    assert capsys.readouterr().out == first


def test_the_shipped_schedules_come_out_as_the_file_says(capsys: pytest.CaptureFixture[str]) -> None:
    path = pathlib.Path(cli.__file__).parent / "simulate" / "schedules.json"
    assert cli.main(["simulate", str(path)]) == 0
    answer, file = json.loads(capsys.readouterr().out), json.loads(path.read_text(encoding="utf-8"))
    for kind in ("schedules", "graphs"):
        for got, wanted in zip(answer[kind], file[kind], strict=True):
            for key in ("expected", "finish", "misses", "events"):
                if kind == "schedules" and key in wanted:
                    assert got[key] == wanted[key], (wanted["name"], key)
            if "deadlock" in wanted:
                assert got["deadlock"] == {key: wanted["deadlock"][key] for key in got["deadlock"]}


def test_graphs_are_answered_with_what_the_detector_finds(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["simulate", file_of(here, {"graphs": [GRAPH]})]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"graphs"}
    (found,) = answer["graphs"]
    assert found["deadlock"] == FOUND
    assert found["name"] == "ring"
    assert found["holds"] == GRAPH["holds"]
    assert read(json.dumps(answer)).graphs[0].deadlock is not None


def test_another_policy_may_be_asked_for(here: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word, first in (("priority", "A"), ("Edf", "B"), ("PRIORITY+pi", "A"), ("deadlock", "A")):
        assert cli.main(["simulate", file_of(here, ONE), "--policy", word]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["policy"], answer["expected"][0][2]) == (word.upper(), first)


def test_the_file_may_come_by_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(ONE).encode())))
    assert cli.main(["simulate", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["finish"] == {"A": 5, "B": 2}


def test_missed_deadlines_and_deadlocks_are_no_failure(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = [["acquire", "R"], ["run", 2], ["acquire", "S"], ["run", 1], ["release", "S"], ["release", "R"]]
    other = [["acquire", "S"], ["run", 1], ["acquire", "R"], ["run", 1], ["release", "R"], ["release", "S"]]
    tasks = [
        {"name": "late", "exec": 2, "deadline": 1, "priority": 9},
        {"name": "A", "program": program},
        {"name": "B", "program": other, "arrival": 3, "priority": 1},
    ]
    assert cli.main(["simulate", file_of(here, {"tasks": tasks, "resources": ["R", "S"]})]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    answer = json.loads(printed.out)
    assert answer["misses"] == [["late", 1, 2]]
    assert answer["deadlock"]["victim"] == "A"


def test_queues_without_quanta_have_ten_ticks_at_the_top(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [{"name": "A", "exec": 40}, {"name": "B", "exec": 11}]
    for params, first in (({}, 10), ({"quantum": 4}, 4), ({"quanta": [7, 9]}, 7), ({"levels": 2}, 10)):
        assert (
            cli.main(["simulate", file_of(here, {"policy": "fair", "tasks": tasks, "params": params})]) == 0
        )
        assert json.loads(capsys.readouterr().out)["expected"][0] == [0, first, "A"]


def test_a_parameter_without_meaning_is_ignored(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for params in ({"aging_step": 2}, {"aging_preempts": True}, {"boost": 3}, {"levels": 5}):
        assert cli.main(["simulate", file_of(here, {"tasks": ONE["tasks"], "params": params})]) == 0
        assert json.loads(capsys.readouterr().out)["finish"] == {"A": 3, "B": 5}


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "set.json: $: not JSON at line 1, column 1"),
        ('{"tasks": [}', "set.json: $: not JSON at line 1, column 12"),
        ("[]", "set.json: $: [] is no object"),
        ({"tasks": []}, "set.json: $.tasks: [] has no task"),
        ({"tasks": [{"name": "A", "exec": -1}]}, "set.json: $.tasks[0].exec: -1 is negative"),
        ({"schedules": [ONE, {"tasks": [{}]}]}, 'set.json: $.schedules[1].tasks[0]: {} has no "name"'),
        ({**ONE, "policy": "lottery"}, "set.json: $.policy: 'lottery' is no policy; give PRIORITY"),
        (
            {**ONE, "policy": "fair", "params": {"quanta": [5], "boost": 1}},
            "set.json: $.params: under FAIR: boost=1 is shorter than the first quantum",
        ),
        (
            {**ONE, "policy": "fair", "params": {"levels": 99}},
            "set.json: $.params: under FAIR: levels=99 is",
        ),
        (
            {"schedules": [ONE, {**ONE, "processors": 2, "params": {"migration": False}}]},
            "set.json: $.schedules[1].params.migration: false cannot be played on several processors",
        ),
        (
            {"graphs": [GRAPH, {**GRAPH, "waits": {"A": ["T", "T"]}}]},
            "set.json: $.graphs[1].waits: 'A' cannot wait for 2 units of 'T'",
        ),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_file_and_the_fault(
    content: Any, fault: str, here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["simulate", file_of(here, content), "--gantt", "out.svg"]) == 2
    refused(fault, capsys)
    assert names_in(here) == {"set.json"}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "the following arguments are required: FILE"),
        (["nothing.json"], "nothing.json: it does not exist"),
        (["."], ".: it cannot be read: Is a directory"),
        ([""], "FILE: it cannot be read: it has no name; give a file, or - for standard input"),
        (["a\0b"], "a\\x00b: it cannot be read: embedded null byte"),
        (["two\nlines"], "two\\nlines: it does not exist"),
        (["set.json", "--policy", "lottery"], "--policy: 'lottery' is no policy; give PRIORITY, PRIORITY+PI"),
        (["set.json", "--gantt", "no/where.svg"], "--gantt no/where.svg: there is no folder"),
        (["set.json", "--gantt", "set.json/x.svg"], "--gantt set.json/x.svg: Not a directory"),
        (["set.json", "--gantt", "."], "--gantt .: it is a folder; give the name of a file"),
        (["set.json", "--gantt", ""], "--gantt : it has no name; give for example out.svg"),
        (
            ["set.json", "--gantt", "./set.json"],
            "--gantt ./set.json: it is the file that is read; give another",
        ),
        (["set.json", "--gantt", "a\0b"], "--gantt a\\x00b: "),
        (["set.json", "--gantt", "x" * 300], "File name too long"),
        (["set.json", "more.json"], "unrecognized arguments: more.json"),
        (
            ["graphs.json", "--gantt", "out.svg"],
            "--gantt out.svg: the file has graphs only, and nothing to draw",
        ),
    ],
)
def test_bad_usage_is_one_line_and_nothing_is_played(
    words: list[str],
    fault: str,
    here: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actorsched.simulate.play.play", None)
    file_of(here, ONE)
    file_of(here, {"graphs": [GRAPH]}, "graphs.json")
    assert cli.main(["simulate", *words]) == 2
    refused(fault, capsys)
    assert names_in(here) == {"set.json", "graphs.json"}


def refused(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("actorsched: ")
    assert fault in printed.err


def test_a_file_that_never_ends_is_refused(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actorsched.simulate.command._MOST_BYTES", 2**20)
    assert cli.main(["simulate", "/dev/zero"]) == 2
    refused("/dev/zero: $: has more than 1 MiB", capsys)


def test_closed_standard_input_is_an_empty_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["simulate", "-"]) == 2
    refused("standard input: $: not JSON at line 1, column 1", capsys)


# --------------------------------------------------------------------------------------------- the picture


def test_the_picture_shows_all_schedules(here: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = os.umask(0o027)
    try:
        assert cli.main(["simulate", file_of(here, TWO), "--gantt", "out.svg"]) == 0
    finally:
        os.umask(before)
    title = ET.parse(here / "out.svg").find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == "unnamed, second"
    assert stat.S_IMODE((here / "out.svg").stat().st_mode) == 0o640
    assert names_in(here) == {"set.json", "out.svg"}
    assert not capsys.readouterr().err


def test_an_older_picture_is_replaced_and_keeps_its_rights(here: pathlib.Path) -> None:
    old = here / "out.svg"
    old.write_text("old")
    old.chmod(0o604)
    (here / "link.svg").symlink_to("out.svg")
    assert cli.main(["simulate", file_of(here, ONE), "--gantt", "link.svg"]) == 0
    assert (here / "link.svg").is_symlink()
    assert old.read_text().startswith("<svg ")
    assert stat.S_IMODE(old.stat().st_mode) == 0o604


def test_a_link_to_nowhere_is_followed(here: pathlib.Path) -> None:
    (here / "link.svg").symlink_to("new.svg")
    assert cli.main(["simulate", file_of(here, ONE), "--gantt", "link.svg"]) == 0
    assert (here / "new.svg").read_text().startswith("<svg ")


def test_what_is_no_ordinary_file_is_written_to_as_it_is(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["simulate", file_of(here, ONE), "--gantt", "/dev/null"]) == 0
    assert stat.S_ISCHR(pathlib.Path("/dev/null").stat().st_mode)
    assert json.loads(capsys.readouterr().out)["finish"]


def test_a_picture_that_cannot_be_written_after_all_leaves_the_answer(
    here: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["simulate", file_of(here, ONE), "--gantt", "/dev/full"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["finish"] == {"A": 5, "B": 2}
    assert printed.err == "actorsched: --gantt /dev/full: it cannot be written: No space left on device\n"


def test_a_picture_that_was_begun_is_not_left(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    (here / "out.svg").write_text("old")
    monkeypatch.setattr("os.fchmod", refuse)
    assert cli.main(["simulate", file_of(here, ONE), "--gantt", "out.svg"]) == 1
    assert names_in(here) == {"set.json", "out.svg"}
    assert (here / "out.svg").read_text() == "old"


@pytest.mark.process
def test_a_folder_that_takes_no_files_is_refused(here: pathlib.Path) -> None:
    from tests.commands import WITHOUT_THE_RIGHTS_OF_ROOT

    (here / "shut").mkdir()
    (here / "shut").chmod(0o500)
    answer = run(
        "simulate", file_of(here, ONE), "--gantt", "shut/x.svg", cwd=here, before=WITHOUT_THE_RIGHTS_OF_ROOT
    )
    assert answer.code == 2
    assert answer.complaints.startswith(
        "actorsched: --gantt shut/x.svg: nothing may be written to the folder"
    )
    assert answer.complaints.count("\n") == 1


# ---------------------------------------------------------------------------------------------- as a program


@pytest.mark.process
def test_it_answers_as_a_program(here: pathlib.Path) -> None:
    answer = run("simulate", file_of(here, ONE), "--gantt", "out.svg", cwd=here)
    assert (answer.code, answer.complaints) == (0, "")
    assert json.loads("\n".join(answer.lines))["expected"] == [[0, 2, "B"], [2, 5, "A"]]


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_long_play_and_leaves_nothing(
    number: signal.Signals, code: int, here: pathlib.Path
) -> None:
    begun = here / "begun"
    program = (
        "import sys, pathlib, actorsched.simulate.play as p\n"
        "from actorsched.cli import main; sub = p._submitted\n"
        f"async def begun(*args):\n    pathlib.Path({str(begun)!r}).touch()\n    return await sub(*args)\n"
        "p._submitted = begun; sys.exit(main())"
    )
    path = file_of(here, LONG)
    with running("simulate", path, "--gantt", "out.svg", cwd=here, code=program) as command:
        while not begun.exists():
            assert command.process.poll() is None
        command.process.send_signal(number)
        answer = command.answer()
    assert answer.code == code
    assert answer.complaints == ("actorsched: interrupted\n" if code == 130 else "")
    assert not answer.lines
    assert names_in(here) == {"set.json", "begun"}


@pytest.mark.process
def test_ctrl_c_while_the_picture_is_written_leaves_none(here: pathlib.Path) -> None:
    program = (
        "import sys, os, signal, tempfile; from actorsched.cli import main; make = tempfile.mkstemp\n"
        "def interrupted(*args, **options):\n    os.fchmod = lambda *a: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return make(*args, **options)\n"
        "tempfile.mkstemp = interrupted; sys.exit(main())"
    )
    answer = run("simulate", file_of(here, ONE), "--gantt", "out.svg", cwd=here, code=program)
    assert (answer.code, answer.complaints) == (130, "actorsched: interrupted\n")
    assert names_in(here) == {"set.json"}


@pytest.mark.process
def test_nobody_reading_the_answer_is_no_reason_to_complain(here: pathlib.Path) -> None:
    tasks = [{"name": f"{'long' * 40}{k}", "exec": 1} for k in range(3000)]
    with running("simulate", file_of(here, {"tasks": tasks}), cwd=here) as command:
        assert next(command.lines()) == "{"
        assert command.process.stdout is not None
        command.process.stdout.close()
        assert command.process.wait(60) == 141
        assert command.process.stderr is not None
        assert not command.process.stderr.read()


@pytest.mark.process
def test_an_answer_that_cannot_be_written_is_a_failure(here: pathlib.Path) -> None:
    with contextlib.closing(pathlib.Path("/dev/full").open("w")) as full:
        answer = run("simulate", file_of(here, ONE), cwd=here, stdout=full.fileno())
    assert answer.code == 1
    assert answer.complaints == "actorsched: standard output cannot be written to: No space left on device\n"


@pytest.mark.process
def test_ten_thousand_jobs_take_seconds(here: pathlib.Path) -> None:
    tasks = [{"name": f"t{k}", "arrival": k, "exec": 1 + k % 2, "priority": k % 5} for k in range(10_000)]
    answer = run("simulate", file_of(here, {"tasks": tasks}), "--gantt", "out.svg", cwd=here)
    assert (answer.code, answer.complaints) == (0, "")
    assert len(json.loads("\n".join(answer.lines))["finish"]) == 10_000
