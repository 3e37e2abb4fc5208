"""The types of refs and options: both checkers report exactly the wrong lines of `tests/typing/calls.py`."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = pathlib.Path(__file__).parent.parent
CALLS = ROOT / "tests" / "typing" / "calls.py"

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.deadline(240)]

Reports = dict[int, str]
"""Line number (from 1) to what the checker says there."""


def marked_wrong() -> set[int]:
    lines = CALLS.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def output_of(*command: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, check=False, text=True, cwd=ROOT
    )
    assert answer.returncode in (0, 1), answer.stdout + answer.stderr
    return answer.stdout


def mypy_reports() -> Reports:
    # As a user's project would: strict, and without what this project asks for beyond that.
    output = output_of("mypy", "--strict", "--config-file=", "--output=json", "--no-incremental", str(CALLS))
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {
        report["line"]: report["message"]
        for report in found
        if report["severity"] == "error" and (ROOT / report["file"]) == CALLS
    }


def pyright_reports() -> Reports:
    output = output_of("pyright", "--outputjson", "--pythonpath", sys.executable, str(CALLS))
    found = json.loads(output)["generalDiagnostics"]
    return {
        report["range"]["start"]["line"] + 1: report["message"]
        for report in found
        if report["severity"] == "error"
    }


@pytest.mark.parametrize("reports", [mypy_reports, pyright_reports])
def test_exactly_the_wrong_calls_are_reported(reports: Callable[[], Reports]) -> None:
    found = reports()
    wrong = marked_wrong()
    complaints = {line: text for line, text in found.items() if line not in wrong}
    assert not complaints, "right calls are reported"
    assert wrong <= set(found), f"wrong calls are accepted, at lines {sorted(wrong - set(found))}"


def test_there_are_enough_calls_of_either_kind() -> None:
    lines = CALLS.read_text(encoding="utf-8").splitlines()
    calls = [line for line in lines if re.search(r"\bawait |\.tell\(|\.ask\.", line)]
    assert len([line for line in calls if not line.endswith("# wrong")]) >= 20
    assert len(marked_wrong()) >= 10
