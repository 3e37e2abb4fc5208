"""From the start of a script to the first result that a host process has sent.

Floor: `python -c "import asyncio"`, from its start to its end. Ours: a script that runs one function of its
own in a host and prints what it returned, from its start to the printed line. In `first_result_imported` the
function comes from the standard library, so that nothing need travel by value.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks._figure import Figure, LoopName, Round, Side
from benchmarks._measure import running_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

OWN_FUNCTION = """\
from actorsched import Runtime

def answer():
    return 42
"""

IMPORTED_FUNCTION = """\
from fractions import Fraction as answer
from actorsched import Runtime
"""

MAIN = """
async def main():
    async with Runtime() as rt:
        print(await rt.run(answer, host="process"), flush=True)
"""

START: dict[LoopName, str] = {
    "uvloop": "\nimport actorsched\nactorsched.run(main)\n",
    "asyncio": "\nimport asyncio\nasyncio.run(main())\n",
    "trio": "\nimport trio\ntrio.run(main)\n",
}


@asynccontextmanager
async def floor(size: int) -> AsyncIterator[Round]:
    async def play() -> float:
        start = perf_counter()
        for _ in range(size):
            import_asyncio()
        return (perf_counter() - start) / size

    yield play


def import_asyncio() -> None:
    """Starts Python, and waits for its end."""
    subprocess.run([sys.executable, "-c", "import asyncio"], check=True)


def ours_with(function: str) -> Side:
    """The side whose script has this function."""

    @asynccontextmanager
    async def side(size: int) -> AsyncIterator[Round]:
        with script_of(function, running_loop()) as script:

            async def play() -> float:
                return sum(until_first_line(script) for _ in range(size)) / size

            yield play

    return side


@contextmanager
def script_of(function: str, loop: LoopName) -> Iterator[Path]:
    """A script that runs this function in a host and prints its result."""
    with TemporaryDirectory() as folder:
        script = Path(folder, "script.py")
        script.write_text(function + MAIN + START[loop])
        yield script


def until_first_line(script: Path) -> float:
    """Seconds from the start of the script to its first line; then waits for its end."""
    start = perf_counter()
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        elapsed = perf_counter() - start
    if process.returncode or not line:
        raise RuntimeError(f"{script} printed {line!r} and ended with {process.returncode}")
    return elapsed


def environment() -> dict[str, str]:
    """Lets the script import the actorsched that is measured, and find it compiled as its users do."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _figure(name: str, what: str, function: str, must: float | None, aim: float | None) -> Figure:
    return Figure(
        name=name,
        what=what,
        judged="time",
        unit="ms",
        must=must,
        aim=aim,
        floor=floor,
        ours=ours_with(function),
        trio_floor=floor,
        size=3,
        quick_size=1,
    )


FIGURES = (
    _figure("first_result", "from python script.py to the first result from a host", OWN_FUNCTION, 2.5, 1.7),
    _figure("first_result_imported", "the same with an importable function", IMPORTED_FUNCTION, None, None),
)
