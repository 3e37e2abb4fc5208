"""What the pages say is compared with the code: the names of tests and errors, lives, diagrams."""

from __future__ import annotations

import builtins
import inspect
import logging
import pathlib
import re
import sys
import xml.etree.ElementTree as ET
from typing import Any

import msgspec
import pytest

import actorsched
from actorsched import Actor, Runtime, exceptions, testing
from actorsched._core import lifecycle
from actorsched._core.mailbox import UserLane
from actorsched._system import system
from actorsched._system.actor_cell import ActorCell, Life
from actorsched.testing import leaks, wanted
from docs.diagrams import drawn

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def diagrams_of(page: str, kind: str) -> list[str]:
    return [source for source in DIAGRAM.findall(text_of(page)) if source.startswith(kind)]


def without_places(source: str) -> str:
    """A diagram without the comments that say where its states are drawn."""
    return re.sub(r"^%%.*\n", "", source, flags=re.MULTILINE)


# ------------------------------------------------------------------------------------------------- guarantees


def guarantees() -> list[str]:
    """The items of the page, each with the lines that belong to it."""
    promised = text_of("guarantees.md").partition("\n## What is not promised")[0]
    return re.findall(r"^- .*?(?=^- |^#|^[^\s-]|\Z)", promised, flags=re.MULTILINE | re.DOTALL)


def test_every_guarantee_names_a_test() -> None:
    assert len(guarantees()) > 40
    assert [item for item in guarantees() if "`test_" not in item] == []


def test_every_test_that_the_guarantees_name_exists() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    named = set(re.findall(r"`(test_\w+)`", text_of("guarantees.md")))
    assert named - there == set()


# ----------------------------------------------------------------------------------------------------- errors


def test_every_error_that_can_be_met_has_its_place_on_the_page_of_errors() -> None:
    errors = set(exceptions.__all__) & set(actorsched.__all__)
    # Not for people to name: the timeouts are caught as TimeoutError, and the last one is only ever a cause.
    errors |= {"AskTimeout", "RemoteTraceback", "TaskTimeout"}
    assert set(re.findall(r"^### (\w+)$", text_of("guides/errors.md"), flags=re.MULTILINE)) == errors


def described() -> set[str]:
    """The names on the pages of the reference."""
    pages = [text_of(f"reference/{page.name}") for page in PAGES if page.parent.name == "reference"]
    named = [re.findall(r"^\.\. (?:auto\w+|data):: ([\w.]+)", page, flags=re.MULTILINE) for page in pages]
    return {name for names in named for name in names}


def test_the_reference_describes_every_public_name() -> None:
    assert {name.removeprefix("actorsched.") for name in described()} >= set(actorsched.__all__)


def test_the_reference_describes_every_name_of_the_test_kit() -> None:
    assert {name.removeprefix("actorsched.testing.") for name in described()} >= set(testing.__all__)


def test_the_reference_names_all_fixtures_options_and_kinds_of_what_may_be_left() -> None:
    page = text_of("reference/testing.md")
    words = {*wanted.OURS, *leaks.KINDS.values(), "actorsched_seeds", "actorsched_leaks"}
    words |= {"--actorsched-seeds=N", "--actorsched-seed=SEED", "may_leave=", "seeds="}
    assert {word for word in words if f"`{word}`" not in page and f'`"{word}"`' not in page} == set()


def names_that_a_struct_hides(kind: type) -> set[str]:
    """The names in its fields' types that its module imports for type checkers only: Sphinx looks them up."""
    known = {*vars(sys.modules[kind.__module__]), *dir(builtins)}
    types = " ".join(str(annotation) for annotation in inspect.get_annotations(kind).values())
    return set(re.findall(r"[A-Za-z_]\w*", types)) - known


def test_sphinx_is_given_the_names_that_public_structs_hide() -> None:
    """Without them the build of the pages ends with warnings, which are errors there."""
    given = set(
        re.findall(r"\w+", re.sub(r"^from .*|^import .*", "", text_of("conf.py"), flags=re.MULTILINE))
    )
    public = [getattr(actorsched, name) for name in actorsched.__all__]
    structs = [kind for kind in public if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    assert structs
    assert {kind.__name__: names_that_a_struct_hides(kind) - given for kind in structs} == {
        kind.__name__: set() for kind in structs
    }


# ------------------------------------------------------------------------------------------------------ lives


def test_the_life_of_a_task_on_its_page_is_that_of_the_table() -> None:
    (diagram,) = diagrams_of("design/tasks.md", "stateDiagram")
    assert without_places(diagram) == lifecycle.mermaid()


def test_the_reference_names_every_status_that_the_table_has() -> None:
    assert set(lifecycle.ALLOWED) == set(actorsched.TaskStatus)


def the_life_on_the_page() -> set[tuple[str, str]]:
    (diagram,) = diagrams_of("design/actors.md", "stateDiagram")
    edges: list[tuple[str, str]] = re.findall(r"^(\S+) --> (\w+|\[\*\])", diagram, flags=re.MULTILINE)
    return {(old, new) for old, new in edges if "[*]" not in (old, new)}


def test_the_life_of_an_actor_on_its_page_has_every_state() -> None:
    assert {state for edge in the_life_on_the_page() for state in edge} == {life.name for life in Life}


class Fragile(Actor):
    async def on_start(self) -> None:
        if self.broken_from_the_start:
            raise OSError("it does not start")

    def __init__(self, *, broken: bool = False) -> None:
        self.broken_from_the_start = broken

    async def fail(self) -> None:
        raise OSError("it breaks")

    async def use(self) -> None:
        """It works."""


class Plain(Actor):
    """Has nothing to do."""


async def test_an_actor_lives_as_the_diagram_on_its_page_says(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: set[tuple[str, str]] = set()

    class Observed(ActorCell):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "life" and value != self.life:
                seen.add((self.life.name, value.name))
            super().__setattr__(name, value)

    monkeypatch.setattr(system, "_KINDS", (Observed, UserLane))
    caplog.set_level(logging.CRITICAL)  # failures are logged, and are meant
    async with Runtime() as rt:
        with pytest.raises(OSError, match="does not start"):
            await rt.spawn(Fragile, kwargs={"broken": True})
        idle = await rt.spawn(Plain)
        await idle.stop()
        restarts = await rt.spawn(Fragile)
        restarts.tell(Fragile.fail)
        await restarts.ask.use()
        restarts.tell(Fragile.use)
        await restarts.stop()
        ends = await rt.spawn(Fragile, restart="temporary")
        ends.tell(Fragile.fail)
        await rt.monitor(ends)
    assert seen == the_life_on_the_page()


# --------------------------------------------------------------------------------------------------- diagrams


@pytest.mark.parametrize(
    "source",
    [source for page in PAGES for source in DIAGRAM.findall(page.read_text(encoding="utf-8"))],
    ids=lambda source: source.splitlines()[1],
)
def test_every_diagram_is_drawn_with_all_its_words(source: str) -> None:
    words = " ".join("".join(text.itertext()) for text in ET.fromstring(drawn(source)).iter())
    for line in re.findall(r": (.+)$|as (.+)$", source, flags=re.MULTILINE):
        assert max(line) in words


@pytest.mark.parametrize(
    "source",
    [
        "flowchart TD\nA --> B",
        "sequenceDiagram\nA ->>>> B: what",
        "stateDiagram-v2\nA --> B",
        "stateDiagram-v2\nA => B",
    ],
)
def test_a_diagram_that_cannot_be_drawn_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="drawn"):
        drawn(source)
