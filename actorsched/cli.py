"""The command line: `actorsched demo`, `actorsched run` and `actorsched simulate`.

The law of this module: it turns words into a call, and the way that call ends into an exit code. Bad usage is
one line on stderr, and code 2. The runtime is imported once the words are understood, so `--help` and
mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from actorsched.demo import BadUsage, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

    from actorsched.runtime import Runtime

DONE, FAILED, BAD_USAGE = 0, 1, 2
NOBODY_READS, INTERRUPTED = 141, 130
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_DESCRIPTION = "Actors, tasks and a scheduler for async Python."

_CODES = """\
Exit codes: 0 done; 1 the work failed; 2 bad usage; 130 or 143 stopped by SIGINT (Ctrl-C) or SIGTERM;
141 nobody reads the output any more.
"""

_TREE = """\
`kill -USR1 PID` has what runs shown on stderr, as a tree of actors, pools and host processes, and disturbs
nothing; it comes as soon as the event loop has its next turn.
"""

_DEMO = """\
Reads every file under PATH, fingerprints it (SHA-256) and compresses it in host processes, reads every result
back to check it, and sums up. Files that cannot be done are listed with their reasons and stop nothing; the
exit code is 1 then.

Files of up to 1 MiB are read by this process; bigger ones are read piece by piece in the hosts, so memory
stays bounded. Links to files count as the files; links to folders are not followed. FIFOs, sockets and
devices are passed over. Results stand under their final names only when they are whole and have been
checked. Ctrl-C stops it at any moment; what is done by then is kept, and the last line says how far it got.
"""

_RUN = """\
Imports MODULE, looking in the working directory first, and runs its async function FUNCTION (an attribute of
one of its names will do too: Class.method) within a Runtime. Each ARG is passed to it as text. If its first
parameter is named `rt` or `runtime`, or is annotated with Runtime, it gets the Runtime before them. What it
returns is ignored; `raise SystemExit(3)` in it sets the exit code.

SIGINT and SIGTERM cancel the function, and the Runtime closes in order. A second Ctrl-C ends by force what
does not stop, and a third one the process. Log records go to stderr, unless the module has set up logging
by itself. On a terminal it is shown there how far the tasks are.
"""

_SIMULATE = """\
Plays a task set through the real scheduler in virtual time, and prints what came of it as JSON: who had which
processor when, finish times, missed deadlines, and what happened to resources.

FILE holds one schedule object, or several under "schedules", and graphs for the deadlock detector under
"graphs"; the answer has the same shape, and is such a file itself. "-" is standard input. A schedule:

  {"policy": "EDF", "processors": 1,
   "tasks": [{"name": "A", "arrival": 0, "exec": 3, "deadline": 9},
             {"name": "B", "period": 5, "exec": 1},
             {"name": "C", "program": [["acquire", "R"], ["run", 2], ["release", "R"]], "priority": 1}],
   "resources": ["R"], "params": {"until": 20}}

Policies are PRIORITY, PRIORITY+PI and DEADLOCK (both with priority inheritance), EDF, FAIR and REALTIME,
however their letters are written. Missed deadlines and deadlocks are part of the answer, and no failure.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after the name of the program; None for those of this process.

    Returns:
        The exit code.
    """
    _open_standard_files()
    try:
        code = _flushed(_run_command(arguments))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _complain("interrupted")  # before the work had begun, or once more while it was being summed up
        code = INTERRUPTED
    if arguments is None:  # the process ends here: a late Ctrl-C has nothing left to stop
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _run_command(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    try:
        chosen = parser.parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = chosen.carry_out
        return command(chosen)
    except BadUsage as error:
        _complain(str(error))
        return BAD_USAGE
    except SystemExit as ended:  # how argparse ends after --help and the like, or a function by its own wish
        return _code_of(ended)


def _open_standard_files() -> None:
    """Where the shell has closed one (`>&-`), nothing goes; or the next file opened would take its place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _code_of(ended: SystemExit) -> int:
    """The exit code that the interpreter would make of it."""
    if ended.code is None:
        return DONE
    if isinstance(ended.code, int):
        return ended.code
    _complain(str(ended.code))
    return FAILED


def _complain(message: str) -> None:
    """One line on stderr."""
    print(f"actorsched: {words.name(message)}", file=sys.stderr)


def _flushed(code: int) -> int:
    """Make sure that what was printed has arrived; if it cannot, the exit code says so."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return _output_lost(error)
    return code


def _output_lost(error: BaseException | None) -> int:
    """Nobody takes what is printed: drop what is still in the buffer, or the interpreter would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return NOBODY_READS
    _complain(f"standard output cannot be written to: {getattr(error, 'strerror', None) or error}")
    return FAILED


# ------------------------------------------------------------------------------------------------- the words


class _Parser(argparse.ArgumentParser):
    """Complains in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise BadUsage(f"{message} (see {self.prog} --help)")


class _Version(argparse.Action):
    """Prints the version; what finds it out is only imported then."""

    def __call__(self, parser: argparse.ArgumentParser, *details: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"actorsched {version('actorsched')}")
        except PackageNotFoundError:
            print("actorsched, from its source, not installed")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="actorsched", description=_DESCRIPTION, epilog=_CODES)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_run(commands)
    _add_simulate(commands)
    return parser


def _add_demo(commands: Any) -> None:
    line = "fingerprint and compress a tree of files in host processes"
    parser = commands.add_parser("demo", help=line, description=_DEMO, epilog=f"{_TREE}\n{_CODES}")
    parser.add_argument("path", metavar="PATH", nargs="?", help="a folder or file (default: this package)")
    parser.add_argument("--out", metavar="DIR", help="where results go (default: a temporary folder)")
    parser.add_argument("--format", choices=("gz", "xz"), default="gz", help="of the results (default: gz)")
    parser.add_argument(
        "--interval",
        metavar="TIME",
        type=_interval,
        help="how often to say how far it is (default: 1s, and 100ms on a terminal)",
    )
    parser.add_argument(
        "--timeline", metavar="JSON", help="write a trace of it, for Perfetto or about:tracing"
    )
    _add_common(parser)
    parser.set_defaults(carry_out=_demo)


def _add_run(commands: Any) -> None:
    line = "run an async function of yours within a runtime"
    parser = commands.add_parser("run", help=line, description=_RUN, epilog=f"{_TREE}\n{_CODES}")
    parser.add_argument("target", metavar="MODULE:FUNCTION", help="what to run")
    parser.add_argument("args", metavar="ARG", nargs=argparse.REMAINDER, help="what to pass to it")
    parser.add_argument(
        "--log-level", metavar="LEVEL", type=str.upper, choices=_LEVELS, default="INFO", help="default: INFO"
    )
    parser.add_argument(
        "--no-progress",
        action="store_false",
        dest="progress",
        help="do not show on the terminal how far the tasks are",
    )
    _add_common(parser)
    parser.set_defaults(carry_out=_run)


def _add_simulate(commands: Any) -> None:
    line = "play a task set through the scheduler in virtual time"
    parser = commands.add_parser("simulate", help=line, description=_SIMULATE, epilog=_CODES)
    parser.add_argument("path", metavar="FILE", help="the task set, as JSON; - for standard input")
    parser.add_argument("--policy", metavar="POLICY", help="play all schedules with this policy")
    parser.add_argument("--gantt", metavar="SVG", help="draw what was played; where the picture goes")
    parser.set_defaults(carry_out=_simulate)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hosts",
        metavar="N",
        type=_hosts,
        help="at most so many host processes (default: one per processor)",
    )
    parser.add_argument(
        "--backend", choices=("asyncio", "trio"), type=_backend, default="asyncio", help="default: asyncio"
    )


def _hosts(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; give 1 or more")
    return number


def _interval(text: str) -> float:
    from actorsched.durations import seconds

    try:
        interval = seconds(float(text) if text.replace(".", "", 1).isdigit() else text, field="TIME")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not interval:
        raise argparse.ArgumentTypeError("TIME is zero; give for example 1s")
    return interval


def _backend(text: str) -> str:
    from importlib.util import find_spec

    if text == "trio" and find_spec("trio") is None:
        raise argparse.ArgumentTypeError("trio is not installed; install actorsched[trio]")
    return text


# ---------------------------------------------------------------------------------------------- the commands


def _demo(chosen: argparse.Namespace) -> int:
    from actorsched.demo.display import OutputLost
    from actorsched.demo.job import Order, demo

    order = Order(
        chosen.path,
        chosen.out,
        chosen.format,
        chosen.hosts,
        chosen.interval,
        chosen.backend,
        chosen.timeline,
    )
    try:
        return demo(order)
    except OutputLost as lost:
        return _output_lost(lost.__cause__)


def _run(chosen: argparse.Namespace) -> int:
    from actorsched.target import BadTarget, find_target

    try:
        target = find_target(chosen.target, chosen.args)
    except BadTarget as error:
        raise BadUsage(str(error)) from None
    _set_up_logging(chosen.log_level)

    from actorsched.options import Hosts
    from actorsched.running import run
    from actorsched.runtime import Runtime

    async def within() -> SystemExit | None:
        try:
            async with Runtime(hosts=Hosts(max=chosen.hosts)) as rt:
                if chosen.progress:
                    _show_progress(rt)
                await target(rt)
        except SystemExit as ended:  # leaves the event loop as a value, so that no group is wrapped around it
            return ended
        return None

    try:
        ended = run(within, backend=chosen.backend, tree_on=getattr(signal, "SIGUSR1", None))
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return _output_lost(error)
        _print_failure(error, getattr(target.function, "__code__", None))
        return FAILED
    return DONE if ended is None else _code_of(ended)


def _show_progress(rt: Runtime) -> None:
    """Show on a terminal how far the tasks are, until the runtime has been left."""
    if sys.stderr is not None and sys.stderr.isatty():
        try:
            rt.progress().start()
        except ImportError:
            pass  # rich is an extra, and nobody asked for it


def _simulate(chosen: argparse.Namespace) -> int:
    from actorsched.simulate.command import BadFile, Order, simulate

    _log_nothing()
    try:
        answer = simulate(Order(chosen.path, chosen.policy, chosen.gantt))
    except BadFile as error:
        raise BadUsage(str(error)) from None
    try:
        sys.stdout.write(answer.text)
        sys.stdout.flush()
    except OSError as error:
        return _output_lost(error)
    if answer.complaint is not None:
        _complain(answer.complaint)
        return FAILED
    return DONE


def _log_nothing() -> None:
    """What the runtime would tell its users of deadlocks and the like stands in the answer."""
    import logging

    logging.getLogger("actorsched").addHandler(logging.NullHandler())


def _set_up_logging(level: str) -> None:
    """Log records go to stderr; where somebody has set up logging already, this does nothing."""
    import logging

    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")


def _print_failure(error: Exception, code: CodeType | None) -> None:
    """Print the traceback, from where it comes to the user's function."""
    import traceback

    start = error.__traceback__
    while start is not None and start.tb_frame.f_code is not code:
        start = start.tb_next
    traceback.print_exception(error.with_traceback(start or error.__traceback__))


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose other end is closed."""
    import select

    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False
