"""From the events of a runtime to a trace, as Chrome and Perfetto show it.

The law of this module: it translates, and does nothing else; events go in, in their order, and entries of the
trace come out. It keeps what is still going on, and nothing of what is over.

How it works: every worker is a lane. A task is a bar on the lane that runs it, from its start to its end or
to where it is preempted; then another bar begins where it is resumed. Lanes of the event loop have no names
of their own: a task that starts takes the first that is free. An arrow leads from each task to those that
depend on it. Resources have lanes that show who holds them; host processes, how long they live; and a graph
for each pool, how many tasks are ready and running. What happens in an instant is a mark.

The format: "Trace Event Format", by the authors of Chrome's about:tracing; Perfetto reads it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from actorsched.events import Event

Entry = dict[str, Any]

TASKS, RESOURCES, HOSTS, ACTORS, POOLS = 1, 2, 3, 4, 5
_GROUPS: Final = {
    TASKS: "workers",
    RESOURCES: "resources",
    HOSTS: "host processes",
    ACTORS: "actors",
    POOLS: "pools",
}
_MARKS: Final = {
    "blocked": "blocked on {resource}",
    "retrying": "tried again in {delay:g} s: {error}",
    "deadlock": "deadlock; {victim} gives way",
    "alert": "alert",
}
"""What happens to a task in an instant, and how that is put."""


class _Bar:
    """Something that has begun and is not over."""

    __slots__ = ("about", "began", "lane", "name")

    def __init__(self, name: str, lane: int, began: float, about: Entry) -> None:
        self.name = name
        self.lane = lane
        self.began = began
        self.about = about


class Lanes:
    """The lanes of one group. Who needs one that is taken gets another beside it."""

    def __init__(self, group: int) -> None:
        self.group = group
        self._numbers: dict[str, int] = {}
        self._taken: set[int] = set()

    def take(self, name: str, entries: list[Entry]) -> int:
        """A lane of this name that is free; a new one is announced."""
        beside = 1
        while True:
            label = name if beside == 1 else f"{name} ({beside})"
            number = self._numbers.get(label)
            if number is None:
                number = self._numbers[label] = len(self._numbers) + 1
                entries.append(_named("thread_name", self.group, number, label))
                entries.append(_sorted(self.group, number))
            if number not in self._taken:
                self._taken.add(number)
                return number
            beside += 1

    def leave(self, number: int) -> None:
        """It is free again."""
        self._taken.discard(number)


class Tracer:
    """Translates the events of one runtime.

    Args:
        name: The name of the runtime.
        began: The time that counts as the beginning, in seconds of the runtime's clock.
    """

    def __init__(self, name: str, began: float) -> None:
        self._began = began
        self._name = name
        self._lanes = {group: Lanes(group) for group in _GROUPS}
        self._about: dict[str, Entry] = {}
        """What is known of each task that has not ended."""
        self._running: dict[str, _Bar] = {}
        self._busy: dict[str, str] = {}
        """Whom each host runs."""
        self._lane_names: dict[str, str] = {}
        """The worker of each task that has begun."""
        self._ahead: dict[str, dict[str, Event]] = {}
        """Who was given to a host that still runs another, by the hosts."""
        self._held: dict[tuple[str, str], _Bar] = {}
        self._hosts: dict[str, _Bar] = {}
        self._upstream: dict[str, tuple[str, ...]] = {}
        self._ends: dict[str, tuple[int, float]] = {}
        """Where and when tasks ended on which others may depend."""
        self._wanted: dict[str, int] = {}
        """How many of those that have not started depend on each task."""
        self._counts: dict[str, dict[str, int]] = {}
        self._standing: dict[str, str] = {}
        """Whether each task is counted as ready or as running."""

    def opening(self) -> list[Entry]:
        """What stands at the beginning of the trace."""
        return [
            _named("process_name", group, 0, f"{self._name}: {title}") for group, title in _GROUPS.items()
        ]

    def hear(self, event: Event) -> list[Entry]:
        """The entries that follow from an event."""
        entries: list[Entry] = []
        reaction = _REACTIONS.get(event.kind)
        if reaction is not None:
            reaction(self, event, entries)
        return entries

    def closing(self, now: float) -> list[Entry]:
        """The entries for what is still going on."""
        entries: list[Entry] = []
        for task in list(self._running):
            self._end_bar(task, now, {"ended": "not yet"}, entries)
        for key in list(self._held):
            self._let_go(key, now, entries)
        for host in list(self._hosts):
            self._end_host(host, now, {"ended": "not yet"}, entries)
        return entries

    def _us(self, time: float) -> float:
        return round((time - self._began) * 1e6, 3)

    # ----------------------------------------------------------------------------------------------- tasks

    def _created(self, event: Event, entries: list[Entry]) -> None:
        details = event.details
        about: Entry = {"id": event.id, "priority": details["priority"], "pool": details["pool"]}
        if "tags" in details:
            about["tags"] = list(details["tags"])
        after = details.get("after")
        if after:
            about["after"] = list(after)
            self._upstream[event.id] = after
            for upstream in after:
                self._wanted[upstream] = self._wanted.get(upstream, 0) + 1
        self._about[event.id] = about

    def _ready(self, event: Event, entries: list[Entry]) -> None:
        if event.id not in self._running:
            self._leave_host(event, entries)  # which has given it back
        self._stand(event, event.time, "ready", entries)

    def _started(self, event: Event, entries: list[Entry]) -> None:
        details = event.details
        self._lane_names[event.id] = worker = details["worker"]
        if details["host"] == "process" and worker in self._busy:
            self._ahead.setdefault(worker, {})[event.id] = event
            return
        if details["host"] == "process":
            self._busy[worker] = event.id
        self._begin_bar(event, event.time, {"attempt": details["attempt"]}, entries)
        lane = self._running[event.id].lane
        for upstream in self._upstream.pop(event.id, ()):
            self._arrow(upstream, event, lane, entries)

    def _resumed(self, event: Event, entries: list[Entry]) -> None:
        if event.id in self._lane_names and event.id not in self._running:
            self._begin_bar(event, event.time, {"resumed": True}, entries)

    def _preempted(self, event: Event, entries: list[Entry]) -> None:
        self._end_bar(event.id, event.time, {"ended": "preempted"}, entries)
        self._stand(event, event.time, "ready", entries)

    def _retrying(self, event: Event, entries: list[Entry]) -> None:
        self._mark(event, entries)
        self._end_bar(event.id, event.time, {"ended": "failed", "error": event.details["error"]}, entries)
        self._stand(event, event.time, None, entries)
        self._leave_host(event, entries)

    def _ended(self, event: Event, entries: list[Entry]) -> None:
        if not event.details.get("final", True):
            return self._mark(event, entries)
        bar = self._running.get(event.id)
        if self._wanted.get(event.id) and bar is not None:
            self._ends[event.id] = bar.lane, event.time
        about: Entry = {"ended": event.kind}
        if "error" in event.details:
            about["error"] = event.details["error"]
        self._end_bar(event.id, event.time, about, entries)
        self._stand(event, event.time, None, entries)
        for upstream in self._upstream.pop(event.id, ()):  # it has never started
            self._wants_no_more(upstream)
        self._about.pop(event.id, None)
        self._leave_host(event, entries)
        return None

    def _leave_host(self, event: Event, entries: list[Entry]) -> None:
        """A task is not with its host any more. The one behind it begins."""
        worker = self._lane_names.pop(event.id, "")
        ahead = self._ahead.get(worker)
        if ahead is not None:
            ahead.pop(event.id, None)
        if self._busy.get(worker) != event.id:
            return
        del self._busy[worker]
        if ahead:
            following = ahead.pop(next(iter(ahead)))
            self._busy[worker] = following.id
            self._begin_bar(following, event.time, {"attempt": following.details["attempt"]}, entries)

    def _begin_bar(self, event: Event, time: float, about: Entry, entries: list[Entry]) -> None:
        lane = self._lanes[TASKS].take(self._lane_names[event.id], entries)
        known = self._about.get(event.id, {"id": event.id})
        self._running[event.id] = _Bar(event.name, lane, time, {**known, **about})
        self._stand(event, time, "running", entries)

    def _end_bar(self, task: str, time: float, about: Entry, entries: list[Entry]) -> None:
        bar = self._running.pop(task, None)
        if bar is not None:
            self._lanes[TASKS].leave(bar.lane)
            entries.append(self._slice(TASKS, bar, time, "task", about))

    def _arrow(self, upstream: str, event: Event, lane: int, entries: list[Entry]) -> None:
        """From the end of a task to the start of one that depends on it."""
        end = self._ends.get(upstream)
        self._wants_no_more(upstream)
        if end is None:  # it ended before anybody looked on
            return
        source, when = end
        common = {"name": "dependency", "cat": "dependency", "id": f"{upstream}>{event.id}", "pid": TASKS}
        entries.append({**common, "ph": "s", "tid": source, "ts": self._us(when) - 0.001})
        entries.append({**common, "ph": "f", "bp": "e", "tid": lane, "ts": self._us(event.time)})

    def _wants_no_more(self, upstream: str) -> None:
        self._wanted[upstream] -= 1
        if not self._wanted[upstream]:
            del self._wanted[upstream]
            self._ends.pop(upstream, None)

    def _stand(self, event: Event, time: float, state: str | None, entries: list[Entry]) -> None:
        """A task is counted as ready, as running, or not at all."""
        before = self._standing.pop(event.id, None)
        about = self._about.get(event.id)
        if about is None:
            return
        pool = about["pool"]
        counts = self._counts.setdefault(pool, {"ready": 0, "running": 0})
        if before is not None:
            counts[before] -= 1
        if state is not None:
            counts[state] += 1
            self._standing[event.id] = state
        if before != state:
            entries.append(
                {
                    "name": f"pool {pool}",
                    "ph": "C",
                    "pid": POOLS,
                    "tid": 0,
                    "ts": self._us(time),
                    "args": dict(counts),
                }
            )

    def _mark(self, event: Event, entries: list[Entry]) -> None:
        bar = self._running.get(event.id)
        name = _MARKS.get(event.kind, event.kind.replace("_", " "))
        try:
            name = name.format(**event.details)
        except (KeyError, ValueError):  # an alert of a kind that says less
            pass
        entries.append(
            {
                "name": f"{event.name}: {name}",
                "cat": event.kind,
                "ph": "i",
                "s": "p" if bar is None else "t",
                "pid": TASKS,
                "tid": 0 if bar is None else bar.lane,
                "ts": self._us(event.time),
                "args": {"id": event.id, **{key: _plain(value) for key, value in event.details.items()}},
            }
        )

    # ------------------------------------------------------------------------------- resources, hosts, actors

    def _acquired(self, event: Event, entries: list[Entry]) -> None:
        resource = event.details["resource"]
        lane = self._lanes[RESOURCES].take(resource, entries)
        self._held[event.id, resource] = _Bar(event.name, lane, event.time, {"id": event.id})

    def _released(self, event: Event, entries: list[Entry]) -> None:
        self._let_go((event.id, event.details["resource"]), event.time, entries)

    def _let_go(self, key: tuple[str, str], time: float, entries: list[Entry]) -> None:
        bar = self._held.pop(key, None)
        if bar is not None:
            self._lanes[RESOURCES].leave(bar.lane)
            entries.append(self._slice(RESOURCES, bar, time, "resource", {}))

    def _host_spawned(self, event: Event, entries: list[Entry]) -> None:
        lane = self._lanes[HOSTS].take(event.name, entries)
        about = {"pid": event.details["pid"], "pool": event.details["pool"], "why": event.details["why"]}
        self._hosts[event.id] = _Bar(event.name, lane, event.time, about)
        first = self._running.get(self._busy.get(event.name, ""))
        if first is not None:  # it was given to the host before that was ready
            first.began = max(first.began, event.time)

    def _host_ended(self, event: Event, entries: list[Entry]) -> None:
        self._end_host(event.id, event.time, {"ended": event.kind, "end": event.details["why"]}, entries)

    def _end_host(self, host: str, time: float, about: Entry, entries: list[Entry]) -> None:
        bar = self._hosts.pop(host, None)
        if bar is not None:
            self._lanes[HOSTS].leave(bar.lane)
            entries.append(self._slice(HOSTS, bar, time, "host", about))

    def _actor(self, event: Event, entries: list[Entry]) -> None:
        phase = {"actor_started": "b", "actor_stopped": "e"}.get(event.kind, "n")
        entries.append(
            {
                "name": event.name if phase != "n" else f"{event.name} restarted",
                "cat": "actor",
                "ph": phase,
                "id": event.id,
                "pid": ACTORS,
                "tid": 0,
                "ts": self._us(event.time),
                "args": {key: _plain(value) for key, value in event.details.items()},
            }
        )

    def _slice(self, group: int, bar: _Bar, end: float, category: str, about: Entry) -> Entry:
        return {
            "name": bar.name,
            "cat": category,
            "ph": "X",
            "pid": group,
            "tid": bar.lane,
            "ts": self._us(bar.began),
            "dur": round(max(0.0, end - bar.began) * 1e6, 3),
            "args": {**bar.about, **about},
        }


_REACTIONS: Final = {
    "created": Tracer._created,
    "ready": Tracer._ready,
    "started": Tracer._started,
    "resumed": Tracer._resumed,
    "preempted": Tracer._preempted,
    "retrying": Tracer._retrying,
    "completed": Tracer._ended,
    "failed": Tracer._ended,
    "cancelled": Tracer._ended,
    "deadline_missed": Tracer._ended,
    "blocked": Tracer._mark,
    "deadlock": Tracer._mark,
    "alert": Tracer._mark,
    "acquired": Tracer._acquired,
    "handed_over": Tracer._acquired,
    "released": Tracer._released,
    "host_spawned": Tracer._host_spawned,
    "host_reaped": Tracer._host_ended,
    "host_died": Tracer._host_ended,
    "actor_started": Tracer._actor,
    "actor_restarted": Tracer._actor,
    "actor_stopped": Tracer._actor,
}


def _named(kind: str, group: int, lane: int, name: str) -> Entry:
    return {"name": kind, "ph": "M", "pid": group, "tid": lane, "args": {"name": name}}


def _sorted(group: int, lane: int) -> Entry:
    return {"name": "thread_sort_index", "ph": "M", "pid": group, "tid": lane, "args": {"sort_index": lane}}


def _plain(value: object) -> object:
    """A detail in a form that JSON has."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    return str(value)
