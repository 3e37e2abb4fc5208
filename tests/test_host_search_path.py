"""Where hosts look for modules: where their runtime does, also when that has changed since they began."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from actorsched import Actor, Hosts, Runtime

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.deadline(30)]
MODULE = """\
import actorsched

def succeed(number):
    return number + 1

class Counter(actorsched.Actor):
    async def add(self, number):
        return number + 2
"""


async def test_a_module_is_found_where_the_program_looks_only_since_the_host_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    name = f"found_late_on_{backend}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    async with Runtime(hosts=Hosts(max=1)) as rt:
        assert await rt.run(abs, -1, host="process") == 1
        first = await rt.spawn(_Early, host="process")
        monkeypatch.syspath_prepend(str(tmp_path))
        late = importlib.import_module(name)
        monkeypatch.delitem(sys.modules, name)
        assert await rt.run(late.succeed, 1, host="process") == 2
        counter: Any = await rt.spawn(late.Counter, host="process")
        assert await counter.ask.add(1) == 3
        await first.stop()


@pytest.mark.parametrize("backend", ["asyncio"], indirect=True)
async def test_what_a_task_has_added_itself_stays_behind_what_the_program_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime(hosts=Hosts(max=1)) as rt:
        await rt.run(_add, "/of/the/host", host="process")
        monkeypatch.syspath_prepend(str(tmp_path))
        entries = await rt.run(_entries, host="process")
        assert entries[0] == str(tmp_path)
        assert entries[-1] == "/of/the/host"
        monkeypatch.setattr(sys, "path", sys.path[1:])
        entries = await rt.run(_entries, host="process")
        assert str(tmp_path) not in entries
        assert entries[-1] == "/of/the/host"


class _Early(Actor):
    """Has its host begin."""


def _add(entry: str) -> None:
    sys.path.append(entry)


def _entries() -> list[str]:
    return sys.path
