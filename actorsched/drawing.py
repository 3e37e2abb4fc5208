"""How a `Tree` is drawn, for a person at a terminal.

The law of this module: text, made from what the nodes say; it looks at nothing else.

How it works: each kind of node says its facts (`_FACTS`), the most important first. They stand behind the
name, in columns among siblings, and go on in the next line where there is no room.
"""

from __future__ import annotations

import textwrap
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

from actorsched.durations import describe
from actorsched.sizes import shown_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from actorsched.tree import NodeKind, Tree

__all__ = ["draw", "load_line"]

_NAME: Final = 28
"""What stands one below the other is aligned up to so many characters."""
_ALIGNED: Final[Mapping[NodeKind, int]] = {"actor": 3, "pool": 5, "host": 2}
"""Of these kinds not only the names are aligned, but so many texts: the name, and what all of them say."""
_LONG: Final = 40
"""Of a longer name only the beginning is drawn."""
_ROOM: Final = 36
"""With less room than that behind the name, lines go on further left."""
_DOT: Final = " · "
_STALE: Final = 2.5
"""A look at the machine that is older than so many seconds says so."""


def draw(tree: Tree, width: int) -> str:
    """Draw a tree with so many columns."""
    return "\n".join(line.rstrip() for line in _lines(tree, "", "", width, ()))


def _lines(node: Tree, first: str, rest: str, width: int, columns: Sequence[int]) -> Iterator[str]:
    """The lines of a node and of all under it.

    Args:
        node: The node.
        first: What stands before its first line.
        rest: What stands before the others.
        width: How many characters a line has.
        columns: How many of them its name has at least, and its first facts.
    """
    yield from _own_lines(node, first, rest, width, columns)
    aligned = _columns(node.children)
    for number, child in enumerate(node.children, 1):
        last = number == len(node.children) and not node.cut
        branch, on = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _lines(child, rest + branch, rest + on, width, aligned[child.kind])
    if node.cut:
        yield f"{rest}└─ and {node.cut:,} more"


def _own_lines(node: Tree, first: str, rest: str, width: int, columns: Iterable[int]) -> Iterator[str]:
    """A name, and behind it what there is to say."""
    columns = chain(columns, repeat(0))
    texts = [text.ljust(least) for text, least in zip(_texts(node), columns, strict=False)]
    head = f"{first}{texts[0]}  "
    facts = texts[1:]
    below = rest + ("│  " if node.children or node.cut else "   ")
    column = len(head) if width - len(head) >= _ROOM else len(below) + 2
    for number, line in enumerate(_filled(facts, len(head), column, width)):
        yield f"{below:<{column}}{line}" if number else f"{head}{line}"


def _filled(facts: list[str], begin: int, column: int, width: int) -> list[str]:
    """Facts in lines, broken between two of them where that is possible.

    Args:
        facts: What there is to say.
        begin: Where the first line begins.
        column: Where the others begin.
        width: Where all end.
    """
    lines: list[str] = []
    line, room = "", max(width - begin, _ROOM)
    for fact in facts:
        joined = f"{line}{_DOT}{fact}" if line else fact
        if len(joined) <= room:
            line = joined
            continue
        if line:
            lines.append(line)
            room = max(width - column, _ROOM)
        *full, line = textwrap.wrap(fact, room, break_long_words=False) or [""]
        lines += full
    return [*lines, line]


def _columns(nodes: Iterable[Tree]) -> dict[NodeKind, list[int]]:
    """How wide the names of siblings of one kind are, and the facts that all of that kind have."""
    columns: dict[NodeKind, list[int]] = {}
    for node in nodes:
        widths = [min(len(text), _NAME) for text in _texts(node)[: _ALIGNED.get(node.kind, 1)]]
        before = columns.get(node.kind, widths)
        columns[node.kind] = [max(pair) for pair in zip(widths, before, strict=True)]
    return columns


def _texts(node: Tree) -> list[str]:
    """The name of a node, and its facts."""
    return [_short(node.name), *filter(None, _FACTS[node.kind](node.details))]


def _short(name: str) -> str:
    """A name for one line."""
    if not name.isprintable():
        name = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in name)
    return name if len(name) <= _LONG else f"{name[: _LONG - 1]}…"


# ------------------------------------------------------------------------------------------------ the words


def counted(number: int, noun: str) -> str:
    """So many of something."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _some(number: int, noun: str) -> str:
    """The number of something, if there is any."""
    return counted(number, noun) if number else ""


def elapsed(seconds: float) -> str:
    """A time for people, as exact as they can read it while it passes."""
    if seconds >= 60:
        return describe(float(round(seconds)))
    return describe(round(seconds, 1 if seconds >= 1 else 3))


def _cores(cores: float) -> str:
    return f"{cores:.1f}".removesuffix(".0")


def load_line(load: Mapping[str, Any]) -> str:
    """The load of the machine in one line: "2 processors: 0.8 ours, 0.1 others; 12.3 GB free; ..."."""
    processors = f"{_cores(load['cores'])} processor{'' if load['cores'] == 1 else 's'}"
    if "ours" in load:
        processors += f": {load['ours']:.1f} ours, {load['others']:.1f} others"
    parts = [processors]
    if "memory_free" in load:
        parts.append(f"{shown_size(load['memory_free'])} free")
    parts.append(f"loop lag {round(load['loop_lag'] * 1000)} ms")
    if load["age"] > _STALE:
        parts.append(f"seen {elapsed(load['age'])} ago")
    return "; ".join(parts)


# ------------------------------------------------------------------------------------ what is said, by kind


def _runtime(details: Mapping[str, Any]) -> Iterator[str]:
    yield f"on {details['backend']} for {elapsed(details['uptime'])}"
    yield f"{details['live']:,} of {counted(details['live'] + details['ended'], 'task')} to do"
    yield "closing" if details["closing"] else ""


def _supervisor(details: Mapping[str, Any]) -> Iterator[str]:
    yield details["strategy"].replace("_", " ")
    yield counted(details["actors"], "actor")


def _scope(details: Mapping[str, Any]) -> Iterator[str]:
    yield _some(details["live"], "task")
    if "strategy" in details:
        yield from _supervisor(details)
    elif not details["live"]:
        yield "nothing to do"


def _actor(details: Mapping[str, Any]) -> Iterator[str]:
    yield _short(details["class"])
    yield details["life"]
    yield f"{details['mailbox']:,} in its mailbox" if details["mailbox"] else ""
    yield _some(details["restarts"], "restart")
    yield details.get("doing", "")
    yield f"in host {details['pid']}" if "pid" in details else ""


def _nothing(details: Mapping[str, Any]) -> Iterator[str]:
    yield ""


def _pool(details: Mapping[str, Any]) -> Iterator[str]:
    most = f" of {details['limit']:,}" if "limit" in details else ""
    yield f"{details['running']:,}{most} running"
    yield f"{details['queued']:,} queued"
    yield f"{details['ended']:,} ended"
    yield details["policy"]


def _hosts(details: Mapping[str, Any]) -> Iterator[str]:
    if "load" in details:
        yield load_line(details["load"])
    else:
        yield "the load is not known yet" if details["hosts"] else "none"


def _host_pool(details: Mapping[str, Any]) -> Iterator[str]:
    yield f"{counted(details['hosts'], 'host')} of at most {details['limit']}"
    yield f"{details['queued']:,} queued"
    yield details["why"]


def _actor_hosts(details: Mapping[str, Any]) -> Iterator[str]:
    yield f"{counted(details['hosts'], 'host')} of at most {details['limit']}"


def _host(details: Mapping[str, Any]) -> Iterator[str]:
    yield details["state"]
    if "task" in details:
        again = f", attempt {details['attempt']}" if details["attempt"] > 1 else ""
        yield f"{_short(details['task'])} for {elapsed(details['seconds'])}{again}"
        yield "waits for others" if details["waits"] else ""
    if "ahead" in details:
        yield f"{details['ahead']} ahead" if details["ahead"] else ""
    if "calls" in details:
        yield _some(details["calls"], "call")
    if "cpu" in details:
        yield f"{details['cpu']:.1f} cores"
    if "rss" in details:
        yield shown_size(details["rss"])


def _resident(details: Mapping[str, Any]) -> Iterator[str]:
    yield details.get("doing", "idle")


def _spawner(details: Mapping[str, Any]) -> Iterator[str]:
    yield "forks the hosts"


_FACTS: Final[Mapping[NodeKind, Callable[[Mapping[str, Any]], Iterator[str]]]] = {
    "runtime": _runtime,
    "supervisor": _supervisor,
    "scope": _scope,
    "actor": _actor,
    "pools": _nothing,
    "pool": _pool,
    "hosts": _hosts,
    "host pool": _host_pool,
    "actor hosts": _actor_hosts,
    "host": _host,
    "resident": _resident,
    "spawner": _spawner,
}
