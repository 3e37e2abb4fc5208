"""The words of the command line, its exit codes, and `actorsched run`."""

from __future__ import annotations

import importlib.metadata
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

from actorsched import cli
from actorsched.target import BadTarget, find_target
from tests.commands import ON_ITS_TERMINAL, run, running

SHOP = """
from __future__ import annotations
import asyncio, os, sys
import actorsched
from actorsched import Runtime, checkpoint, current

async def buy(what: str, how_many: str = "1") -> None:
    print("bought", how_many, what)

async def with_runtime(rt, a: str) -> None:
    print("first:", type(rt).__name__, "then:", a)

async def with_annotation(shop: Runtime) -> None:
    print("in another process:", await shop.run(os.getpid, host="process") != os.getpid())

async def with_written_annotation(shop: "actorsched.Runtime") -> None:
    print(await shop.run(len, "abc"))

async def without_runtime(realtime: str) -> None:
    print("no runtime for", realtime)

async def fail() -> None:
    deeper()

def deeper() -> None:
    raise LookupError("out of stock")

async def leave(code: str) -> None:
    raise SystemExit(int(code) if code.isdigit() else code)

async def wait(rt: Runtime) -> None:
    def work() -> None:
        print("working", flush=True)
        while True:
            checkpoint()

    try:
        await rt.run(work, host="process")
    finally:
        print("tidied up")

async def chatter() -> None:
    while True:
        print("bla")

async def log() -> None:
    import logging
    logging.getLogger("shop").info("open")
    logging.getLogger("shop").debug("in detail")

async def stream():
    yield 1

class Till:
    @staticmethod
    async def ring(text: str) -> None:
        print("ring", text)

    async def __call__(self) -> None:
        print("called")

till = Till()
def plain() -> None: ...
"""

NO_ADVICE = ["--log-level", "error"]
"""On a busy machine anything may seem to block the loop."""


@pytest.fixture
def shop(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with a module of a user's."""
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP), encoding="utf-8")
    return tmp_path


# -------------------------------------------------------------------------------------------------- the words


@pytest.mark.parametrize("words", [["--help"], ["demo", "--help"], ["run", "--help"]])
def test_help_is_given_on_standard_output(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: actorsched")
    assert "Exit codes: 0 done" in printed.out
    assert not printed.err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1.0")
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "actorsched 0.1.0\n"


def test_a_version_that_is_not_installed_is_no_accident(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", not_installed)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "actorsched, from its source, not installed\n"


def not_installed(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "arguments are required: COMMAND"),
        (["dmo"], "invalid choice: 'dmo'"),
        (["demo", "a", "b"], "unrecognized arguments: b"),
        (["demo", "--hosts", "0"], "'0' is no number of processes; give 1 or more"),
        (["demo", "--hosts", "some"], "'some' is no number of processes; give 1 or more"),
        (["demo", "--interval", "soon"], "TIME='soon'"),
        (["demo", "--interval", "0"], "TIME is zero"),
        (["demo", "--format", "zip"], "invalid choice: 'zip'"),
        (["demo", "--backend", "curio"], "invalid choice: 'curio'"),
        (["demo", "--ou", "x"], "unrecognized arguments: --ou"),
        (["demo", "/no/such/folder"], "/no/such/folder: it does not exist"),
        (["demo", "/dev/null"], "/dev/null: it is neither a folder nor a file"),
        (["demo", "no\0where"], "no\\x00where"),
        (["demo", "line\nfeed\x1b[31m"], "line\\nfeed\\x1b[31m: it does not exist"),
        (["run"], "arguments are required: MODULE:FUNCTION"),
        (["run", "shop"], "'shop' does not say what to run; give MODULE:FUNCTION"),
        (["run", "--log-level", "loud", "a:b"], "invalid choice: 'LOUD'"),
    ],
)
def test_bad_usage_is_one_line_that_names_the_fault(
    words: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("actorsched: ")
    assert fault in printed.err


def test_trio_is_asked_for_where_it_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["demo", "--backend", "trio"]) == 2
    assert "install actorsched[trio]" in capsys.readouterr().err


@pytest.mark.process
def test_help_is_given_without_loading_the_runtime() -> None:
    script = "import sys; from actorsched.cli import main; main(['--help']); print(*sys.modules, sep='\\n')"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(answer.stdout.splitlines())
    assert "actorsched.cli" in loaded
    assert not loaded & {"asyncio", "anyio", "msgspec", "logging", "actorsched.runtime"}


@pytest.mark.process
def test_output_that_cannot_be_written_is_a_failure() -> None:
    with pathlib.Path("/dev/full").open("w") as full:
        answer = run("--help", stdout=full.fileno())
    assert answer.code == 1
    assert answer.complaints == "actorsched: standard output cannot be written to: No space left on device\n"


# ------------------------------------------------------------------------------------------ what can be run


@pytest.fixture
def shopping(shop: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module can be imported in this process."""
    monkeypatch.chdir(shop)
    monkeypatch.setattr(sys, "path", [str(shop), *sys.path])
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    monkeypatch.setattr(sys, "modules", {**sys.modules})


@pytest.mark.usefixtures("shopping")
@pytest.mark.parametrize(
    ("words", "args", "fault"),
    [
        ("shop:", [], "'shop:' does not say what to run"),
        (":buy", [], "':buy' does not say what to run"),
        ("shopp:buy", [], "shopp cannot be imported: ModuleNotFoundError: No module named 'shopp'"),
        ("shop:by", [], "shop has no 'by'; did you mean 'buy'?"),
        ("shop:Till.zzz", [], "shop.Till has no 'zzz'"),
        ("shop:plain", [], "shop:plain is a plain function, no async function"),
        ("shop:Till", [], "shop:Till is a class, no async function"),
        ("shop:stream", [], "shop:stream is an async generator function, no async function"),
        ("shop:SHOP", [], "shop has no 'SHOP'"),
        ("shop:__name__", [], "shop:__name__ is of type str, no async function"),
        ("shop:buy", [], "shop:buy: missing a required argument: 'what'; it takes what: 'str', how_many"),
        ("shop:buy", ["a", "b", "c"], "shop:buy: too many positional arguments; it takes what: 'str'"),
        ("shop:fail", ["a"], "shop:fail: too many positional arguments; it takes no arguments"),
    ],
)
def test_what_cannot_be_run_is_told_in_one_line(words: str, args: list[str], fault: str) -> None:
    with pytest.raises(BadTarget) as refusal:
        find_target(words, args)
    assert fault in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("shopping")
@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import missing_part", "ModuleNotFoundError: No module named 'missing_part' ({file}, line 1)"),
        ("x = 1\nx = = 2", "SyntaxError: invalid syntax"),
        ("\n\nraise RuntimeError('two\\nlines')", "RuntimeError: two ({file}, line 3)"),
        ("raise SystemExit(3)", "SystemExit: 3 ({file}, line 1)"),
    ],
)
def test_a_module_that_fails_to_import_is_told_with_the_place(
    source: str, fault: str, shop: pathlib.Path
) -> None:
    (shop / "broken.py").write_text(source, encoding="utf-8")
    with pytest.raises(BadTarget) as refusal:
        find_target("broken:main", [])
    said = str(refusal.value)
    assert said.startswith("broken cannot be imported: ")
    assert fault.format(file=shop / "broken.py") in said
    assert "\n" not in said


@pytest.mark.usefixtures("shopping")
@pytest.mark.parametrize(
    ("words", "args", "takes_runtime"),
    [
        ("shop:buy", ["bread"], False),
        ("shop:with_runtime", ["a"], True),
        ("shop:with_annotation", [], True),
        ("shop:with_written_annotation", [], True),
        ("shop:without_runtime", ["a"], False),
        ("shop:Till.ring", ["a"], False),
        ("shop:till", [], False),
    ],
)
def test_the_runtime_is_passed_to_whoever_asks_for_it(
    words: str, args: list[str], takes_runtime: bool
) -> None:
    target = find_target(words, args)
    assert target.takes_runtime is takes_runtime
    assert target.args == tuple(args)


# ------------------------------------------------------------------------------------------------ running it


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["shop:buy", "bread"], ["bought 1 bread"]),
        (["shop:buy", "bread", "--hosts"], ["bought --hosts bread"]),
        (["--backend", "trio", "shop:buy", "bread", "2"], ["bought 2 bread"]),
        (["shop:with_runtime", "x"], ["first: Runtime then: x"]),
        (["--hosts", "1", "shop:with_annotation"], ["in another process: True"]),
        (["shop:with_written_annotation"], ["3"]),
        (["shop:Till.ring", "ding"], ["ring ding"]),
        (["shop:till"], ["called"]),
    ],
)
def test_a_function_is_run(words: list[str], lines: list[str], shop: pathlib.Path) -> None:
    answer = run("run", *NO_ADVICE, *words, cwd=shop)
    assert answer == (0, lines, "")


@pytest.mark.process
def test_a_failure_prints_the_traceback_from_the_users_function_on(shop: pathlib.Path) -> None:
    answer = run("run", *NO_ADVICE, "shop:fail", cwd=shop)
    assert answer.code == 1
    assert answer.complaints.startswith("Traceback")
    assert answer.complaints.endswith("LookupError: out of stock\n")
    assert answer.complaints.count("  File ") == 2


@pytest.mark.process
@pytest.mark.parametrize(
    ("wish", "code", "complaint"), [("0", 0, ""), ("7", 7, ""), ("no", 1, "actorsched: no\n")]
)
def test_a_function_may_choose_the_exit_code(
    wish: str, code: int, complaint: str, shop: pathlib.Path
) -> None:
    assert run("run", *NO_ADVICE, "shop:leave", wish, cwd=shop) == (code, [], complaint)


@pytest.mark.process
def test_log_records_go_to_standard_error(shop: pathlib.Path) -> None:
    assert run("run", "shop:log", cwd=shop).complaints.endswith(" INFO    shop: open\n")
    assert "in detail" in run("run", "--log-level", "debug", "shop:log", cwd=shop).complaints
    assert not run("run", *NO_ADVICE, "shop:log", cwd=shop).complaints


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_function_in_order(
    number: signal.Signals, code: int, backend: str, shop: pathlib.Path
) -> None:
    with running("run", *NO_ADVICE, "--backend", backend, "shop:wait", cwd=shop) as command:
        lines = command.lines()
        assert next(lines) == "working"
        command.process.send_signal(number)
        assert list(lines) == ["tidied up"]
        answer = command.answer()
        assert answer.code == code
        assert answer.complaints == ("actorsched: interrupted\n" if code == 130 else "")
        assert not command.left()


@pytest.mark.process
def test_ctrl_c_on_a_terminal_reaches_the_runtime_and_no_host(shop: pathlib.Path) -> None:
    with running("run", "shop:wait", cwd=shop, terminal=True, before=ON_ITS_TERMINAL) as command:
        shown = ""
        for piece in command.screen():
            if "working" not in shown and "working" in shown + piece:
                command.type("\x03")
            shown += piece
        assert command.answer().code == 130
        assert "tidied up" in shown
        assert "Traceback" not in shown
        assert not command.left()


@pytest.mark.process
def test_nobody_reading_the_output_is_no_reason_to_complain(shop: pathlib.Path) -> None:
    with running("run", *NO_ADVICE, "shop:chatter", cwd=shop) as command:
        assert next(command.lines()) == "bla"
        assert command.process.stdout is not None
        command.process.stdout.close()
        assert command.process.wait(60) == 141
        assert command.process.stderr is not None
        assert not command.process.stderr.read()


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sigusr1_shows_what_runs_and_disturbs_nothing(backend: str, shop: pathlib.Path) -> None:
    with running("run", *NO_ADVICE, "--backend", backend, "shop:wait", cwd=shop) as command:
        lines = command.lines()
        assert next(lines) == "working"
        assert command.process.stderr is not None
        for _ in range(2):
            command.process.send_signal(signal.SIGUSR1)
            said = ""
            while "└─ spawner " not in said:
                said += command.process.stderr.readline()
            assert said.startswith(f"runtime  on {backend} for ")
            assert "  busy · wait.<locals>.work for " in said
        command.process.send_signal(signal.SIGTERM)
        assert list(lines) == ["tidied up"]
        assert command.answer().code == 143


@pytest.mark.process
def test_the_demo_can_be_looked_at_too(tmp_path: pathlib.Path) -> None:
    for number in range(400):
        (tmp_path / f"{number}.txt").write_text("words " * 5000, encoding="utf-8")
    with running("demo", tmp_path, "--format", "xz", "--interval", "10s") as command:
        lines = command.lines()
        while not next(lines).startswith("found"):
            pass
        command.process.send_signal(signal.SIGUSR1)
        assert list(lines)
        answer = command.answer()
        assert answer.code == 0
        assert answer.complaints.startswith("demo  on asyncio for ")


@pytest.mark.parametrize("command", ["demo", "run"])
def test_the_help_says_how_to_look(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert "`kill -USR1 PID` has what runs shown on stderr" in capsys.readouterr().out
