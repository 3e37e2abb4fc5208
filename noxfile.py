"""What developers run: `nox` for everything that must pass, `nox -s tests-3.12 -- -k mailbox` for a part.

Each session installs what pyproject.toml says and nothing else: one that passes here passes anywhere.
"""

from __future__ import annotations

import os
import pathlib
import shutil

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "tests", "docs"]

# pyenv's shims hide every version that is not switched on; behind them on the path, nox finds the real ones.
PYENV = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *map(str, sorted(PYENV.glob("versions/3.*/bin")))])

PROJECT = nox.project.load_toml("pyproject.toml")
SUPPORTED = nox.project.python_versions(PROJECT)
"""From the classifiers. Interpreters that are not on this machine are left out, and nox says so."""


@nox.session
def lint(session: nox.Session) -> None:
    """Style, likely bugs, and formatting; `nox -s lint -- --fix` repairs what can be repaired."""
    session.install("ruff>=0.12")
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("ruff", "format", *([] if fix else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, strictly. How complete the public types are is a test."""
    session.install("-e", ".[test]", "nox")
    session.run("mypy")
    session.run("pyright")


@nox.session(python=SUPPORTED)
def tests(session: nox.Session) -> None:
    """The test suite on every supported interpreter that is found; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=SUPPORTED[0])
def oldest(session: nox.Session) -> None:
    """The suite with the oldest dependencies that pyproject.toml admits."""
    session.install("-e", ".[test]", *oldest_pins())
    session.run("python", "-m", "pytest", *session.posargs)


def oldest_pins() -> list[str]:
    """Turns every lower bound of what users install into a pin: `anyio>=4.4` into `anyio==4.4`."""
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["trio"], *extras["cli"]]
    return [requirement.replace(">=", "==") for requirement in wanted]


@nox.session
def coverage(session: nox.Session) -> None:
    """The suite under coverage, its host processes too."""
    session.install("-e", ".[test]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, strictly: a warning is an error, and so is a reference that leads nowhere."""
    session.install("-e", ".[docs]")
    shutil.rmtree(pathlib.Path("docs", "_build"), ignore_errors=True)
    strict = ["--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env"]
    session.run("sphinx-build", *strict, "--builder", "html", "docs", "docs/_build/html")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The promises about speed, each as a ratio to a floor measured in the same run."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "benchmarks", *session.posargs)
