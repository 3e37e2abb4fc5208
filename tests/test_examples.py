"""Every file of `examples/` runs as a user would run it, and does what its head promises.

The head of an example may contain, as comments:

* `# expect: text`: a line of the output, in this order; `...` in it stands for anything. At least one is
  needed.
* `# arguments: ...`: what to call it with.
* `# exit code: 3`: if not 0.

A file of tests needs no such head: it is run by pytest, and passes.

Warnings are errors, in its host processes too. It may log to stderr: a supervised failure, for one, is
logged.
"""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
TESTS = sorted((ROOT / "examples").glob("test_*.py"))
EXAMPLES = sorted(set((ROOT / "examples").glob("*.py")) - set(TESTS))

pytestmark = [pytest.mark.process, pytest.mark.deadline(90)]


def heads(source: str, key: str) -> list[str]:
    """The values of `# key: value` comments."""
    return re.findall(rf"^# {key}: (.*)$", source, flags=re.MULTILINE)


def is_there(expected: str, line: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, expected.split("..."))), line) is not None


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_does_what_its_head_promises(example: pathlib.Path, tmp_path: pathlib.Path) -> None:
    source = example.read_text(encoding="utf-8")
    arguments = [word for line in heads(source, "arguments") for word in shlex.split(line)]
    command = [sys.executable, "-W", "error", str(example), *arguments]
    answer = subprocess.run(command, capture_output=True, check=False, text=True, timeout=80, cwd=tmp_path)

    assert "Exception ignored" not in answer.stderr
    assert answer.returncode == int((heads(source, "exit code") or ["0"])[0])
    expected = heads(source, "expect")
    assert expected, f"{example.name} promises nothing; add `# expect:` lines to its head"
    lines = iter(answer.stdout.splitlines())
    for wanted in expected:
        assert any(is_there(wanted, line) for line in lines), f"no line {wanted!r} in:\n{answer.stdout}"


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_the_tests_among_the_examples_pass(tests: pathlib.Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    answer = subprocess.run(command, capture_output=True, check=False, text=True, timeout=80, cwd=ROOT)
    assert answer.returncode == 0, answer.stdout
