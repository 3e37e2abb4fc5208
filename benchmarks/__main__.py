"""`python -m benchmarks`: measures the figures and prints a table. The arguments are explained by `--help`.

Every figure on every loop is measured in a fresh process, so that neither the heap nor the hosts of one
burden another; `--here` keeps to this process, for a debugger or a test.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import _report
from benchmarks._catalogue import FIGURES, chosen
from benchmarks._figure import JUDGED_LOOPS, LOOPS, Figure, LoopName
from benchmarks._measure import compare, run_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDS = 7


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Our figures, as ratios to floors."
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help=f"of {', '.join(FIGURES)}"
    )
    parser.add_argument("--loop", action="append", choices=LOOPS, help="default: uvloop and asyncio")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="pairs of rounds, at least 1 (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="smaller rounds: a glance, not a judgement")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the results here; - for the standard output only"
    )
    parser.add_argument("--here", action="store_true", help="measure in this process")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1 pair of rounds is needed")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the arguments say; returns 0, 1 if a figure could not be measured, 2 for a bad name."""
    options = parsed(arguments)
    try:
        figures = chosen(options.only)
    except ValueError as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 2
    rows: list[_report.Row] = []
    quiet = options.json == "-"
    if not quiet:
        print(_report.heading(), flush=True)
    for row in measured(figures, options):
        rows.append(row)
        if not quiet:
            print(_report.line(row), flush=True)
    if options.json:
        _report.write(options.json, rows)
    return 1 if any("error" in row for row in rows) else 0


def measured(figures: list[Figure], options: argparse.Namespace) -> Iterator[_report.Row]:
    """One row per figure and loop, as each is ready."""
    measure = in_this_process if options.here else in_a_fresh_process
    for figure in figures:
        for loop in options.loop or JUDGED_LOOPS:
            if figure.floor_on(loop) is not None:
                yield measure(figure, loop, options)


def in_this_process(figure: Figure, loop: LoopName, options: argparse.Namespace) -> _report.Row:
    """Measures one figure here."""
    size = figure.quick_size if options.quick else figure.size
    return run_on(loop, partial(compare, figure, loop, size=size, rounds=options.rounds)).as_row()


def in_a_fresh_process(figure: Figure, loop: LoopName, options: argparse.Namespace) -> _report.Row:
    """Measures one figure in a process of its own; a failure becomes a row that names it."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "row.json")
        command = [sys.executable, "-m", "benchmarks", "--here", "--only", figure.name, "--loop", loop]
        command += [
            "--rounds",
            str(options.rounds),
            "--json",
            str(path),
            *(["--quick"] if options.quick else []),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            row: _report.Row = json.loads(path.read_text(encoding="utf-8"))["rows"][0]
            return row
    last = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
    return {"name": figure.name, "loop": loop, "error": last}


if __name__ == "__main__":
    sys.exit(main())
