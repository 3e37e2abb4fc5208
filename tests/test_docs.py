"""What the README and the documentation show runs, and prints what they say.

Every fenced block marked `python` in README.md and docs/ is part of a program, which runs in a process of its
own:

* A block is a whole program, unless `<!-- continued -->` stands above it: then it goes on with the one
  before.
* A program that awaits at its top level runs within `async with Runtime() as rt:`, from the first such
  statement on.
* A `text` block right after it (only blank lines between) is its whole output; `...` stands for anything.
* A block under `<!-- pytest -->` is a file of tests, which pass; under `<!-- pytest fails -->` one does not.
  What else stands there is given to pytest. A `text` block right after it is a part of what that prints.
* So is one right after a `sh` block that begins with `pytest examples/`.
* There is no way to exempt a block. What cannot run is not Python, and is marked `sh`, `toml`, `json` or
  `text`.
"""

from __future__ import annotations

import ast
import os
import pathlib
import re
import shlex
import subprocess
import sys
import textwrap
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
OTHER_LANGUAGES = {"sh", "text", "toml", "json", "mermaid"}

FENCE = re.compile(
    r"(?P<continued><!-- continued -->\s*)?(<!-- pytest(?P<pytest>[^>]*) -->\s*)?"
    r"^```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
IN_CLONE = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
WITHIN_A_RUNTIME = """{top}
import actorsched

async def page():
    async with actorsched.Runtime() as rt:
{body}

actorsched.run(page)
"""

pytestmark = [pytest.mark.process, pytest.mark.deadline(90)]


class Program(NamedTuple):
    """One program of a page."""

    page: pathlib.Path
    line: int
    source: str
    output: str | None
    pytest: str | None


# --------------------------------------------------------------------------------------------- reading a page


def programs_of(page: pathlib.Path) -> list[Program]:
    text = page.read_text(encoding="utf-8")
    found: list[Program] = []
    end, is_program = 0, False
    for fence in FENCE.finditer(text):
        is_next = is_program and not text[end : fence.start()].strip()
        end = fence.end()
        body = fence["body"]
        if fence["language"] == "python" and fence["continued"]:
            found[-1] = joined(found[-1], body)
        elif fence["language"] == "python":
            line = text.count("\n", 0, fence.start("body")) + 1
            found.append(Program(page, line, body, None, fence["pytest"]))
        elif fence["language"] == "text" and is_next:
            found[-1] = found[-1]._replace(output=(found[-1].output or "") + body)
        is_program = fence["language"] == "python" or (fence["language"] == "text" and is_next)
    return found


def commands_of(page: pathlib.Path) -> list[tuple[str, str]]:
    """What a page has pytest do with the examples, and what that prints."""
    text = page.read_text(encoding="utf-8")
    pattern = r"^```sh\npytest (examples/[^\n]+)\n```\s*^```text\n(.*?)^```$"
    return re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL)


def joined(program: Program, body: str) -> Program:
    """A program that goes on with another block. Its first lines keep their numbers."""
    return program._replace(source=f"{program.source}\n{body}")


def runnable(source: str) -> str:
    """The program itself, or, if it awaits at its top level, the program within a runtime."""
    for statement in ast.parse(source).body:
        if awaits(statement):
            lines = source.splitlines()
            top, body = lines[: statement.lineno - 1], lines[statement.lineno - 1 :]
            return WITHIN_A_RUNTIME.format(top="\n".join(top), body=textwrap.indent("\n".join(body), " " * 8))
    return source


def awaits(statement: ast.stmt) -> bool:
    """Whether a statement is right only where `await` is allowed."""
    module = ast.Module([statement], [])
    try:
        compile(module, "page", "exec")
    except SyntaxError:
        compile(module, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return True
    return False


def named(program: Program) -> str:
    return f"{program.page.relative_to(ROOT)}:{program.line}"


def as_pattern(output: str) -> str:
    return ".*?".join(map(re.escape, output.strip().split("...")))


# -------------------------------------------------------------------------------------------------- the tests


@pytest.mark.parametrize("program", [one for page in PAGES for one in programs_of(page)], ids=named)
def test_a_program_on_a_page_runs_and_prints_what_the_page_says(
    program: Program, tmp_path: pathlib.Path
) -> None:
    if program.pytest is not None:
        is_tested(program, tmp_path)
        return
    script = tmp_path / "program.py"
    script.write_text(runnable(program.source), encoding="utf-8")
    answer = run(["-W", "error", str(script)], tmp_path, dict(os.environ))
    assert answer.returncode == 0, answer.stderr
    assert "Exception ignored" not in answer.stderr
    if program.output is not None:
        assert re.fullmatch(as_pattern(program.output), answer.stdout.strip(), flags=re.DOTALL), answer.stdout


def is_tested(program: Program, folder: pathlib.Path) -> None:
    """Runs the tests of a page, which may use the examples."""
    assert program.pytest is not None
    (folder / "test_it.py").write_text(program.source, encoding="utf-8")
    options = program.pytest.split()
    fails = "fails" in options
    wanted = [option for option in options if option != "fails"]
    answer = run(
        ["-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", *wanted, "test_it.py"], folder, IN_CLONE
    )
    assert answer.returncode == int(fails), answer.stdout
    if program.output is not None:
        assert re.search(as_pattern(program.output), answer.stdout, flags=re.DOTALL), answer.stdout


def run(
    arguments: list[str], folder: pathlib.Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs Python in a folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=80,
        cwd=folder,
        env=environment,
    )


@pytest.mark.parametrize(
    "command", [one for page in PAGES for one in commands_of(page)], ids=lambda one: one[0]
)
def test_tests_of_the_examples_print_what_a_page_says(command: tuple[str, str]) -> None:
    arguments, output = command
    answer = run(["-m", "pytest", *shlex.split(arguments)], ROOT, IN_CLONE)
    assert re.search(as_pattern(output), answer.stdout, flags=re.DOTALL), answer.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_names_a_language_that_is_dealt_with(page: pathlib.Path) -> None:
    languages = {fence["language"] for fence in FENCE.finditer(page.read_text(encoding="utf-8"))}
    strange = {name for name in languages if not name.startswith("{")} - OTHER_LANGUAGES - {"python"}
    assert not strange, "a block without a language, or in one that nobody checks"


def test_the_readme_sets_everything_up_in_one_line_each() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m venv")]
    assert any(line.endswith("actorsched demo") for line in commands)
    assert any(line.endswith("-m pytest") for line in commands)
