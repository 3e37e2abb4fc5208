"""What the control groups of Linux leave this process: processor time and memory.

The law of this module: it reads small files and says what they say. What is not there, not readable, or not
understood is no limit; so on other systems there are none. It changes nothing and remembers no figures, for
limits may be changed while a program runs; only where they are found is looked up once.

How it works: /proc/self/cgroup names the group of the process in each hierarchy, and /proc/self/mountinfo
where the hierarchies are mounted, and from which group on. In a container both may be seen from outside: a
group that does not lie below the mounted one is not visible, and then the mounted one is what counts. A limit
holds for everything below it, so all groups are asked from that of the process up to the mounted one. A
controller is in one hierarchy only: in its own of version 1, or else in that of version 2.
"""

from __future__ import annotations

import os
from functools import cache
from math import ceil
from typing import Final

__all__ = ["ControlGroups", "MemoryLimit", "Quota", "own"]

_UNIFIED: Final = ""  # how the hierarchy of version 2 is called in these tables
_CONTROLLERS: Final = frozenset({"cpu", "memory"})
_ENDLESS: Final = 1 << 60  # bytes; version 1 says "no limit" with a number near 2**63


class Quota:
    """How much processor time a group may use."""

    __slots__ = ("_folder", "cores")

    def __init__(self, cores: float, folder: str) -> None:
        self.cores = cores
        self._folder = folder

    def __repr__(self) -> str:
        return f"<Quota {self.cores:g} cores in {self._folder}>"

    @property
    def cpus(self) -> int:
        """How many processors it is worth to have threads or processes for: at least 1."""
        return max(1, ceil(self.cores))

    def used(self) -> float | None:
        """Return the seconds of CPU that the group has used in its life; None if it is not told."""
        micros = _entry(f"{self._folder}/cpu.stat", b"usage_usec")
        if micros is not None:
            return micros / 1e6
        nanos = _number(f"{self._folder}/cpuacct.usage")
        return None if nanos is None else nanos / 1e9


class MemoryLimit:
    """How much memory a group may use."""

    __slots__ = ("_folder", "_names", "size")

    def __init__(self, size: int, folder: str, names: tuple[str, bytes]) -> None:
        self.size = size
        self._folder = folder
        self._names = names

    def __repr__(self) -> str:
        return f"<MemoryLimit {self.size} bytes in {self._folder}>"

    def free(self) -> int | None:
        """Return the bytes that are left, counting files in memory that nobody uses; None if not told."""
        name, entry = self._names
        used = _number(f"{self._folder}/{name}")
        if used is None:
            return None
        cached = _entry(f"{self._folder}/memory.stat", entry) or 0
        return min(self.size, max(0, self.size - used + cached))


class ControlGroups:
    """The groups of this process, by controller.

    Args:
        root: What is put before every path; for tests.
    """

    __slots__ = ("_cpu", "_memory")

    def __init__(self, root: str = "") -> None:
        places = _places(root)
        self._cpu = _upwards(places, "cpu")
        self._memory = _upwards(places, "memory")

    def quota(self) -> Quota | None:
        """Return the tightest quota of processor time; None if there is none."""
        found = [Quota(cores, folder) for folder in self._cpu if (cores := _cores(folder)) is not None]
        return min(found, key=lambda quota: quota.cores, default=None)

    def memory_limits(self) -> list[MemoryLimit]:
        """Return every limit of memory, that of the innermost group first; there may be none."""
        return [limit for folder in self._memory if (limit := _memory_limit(folder)) is not None]


@cache
def own() -> ControlGroups:
    """Return the control groups of this process; where they are is looked up once."""
    return ControlGroups()


# ----------------------------------------------------------------------------------------- finding the groups


def _places(root: str) -> dict[str, tuple[str, str]]:
    """Return for each hierarchy where it is mounted, and the group of the process below that."""
    groups = _memberships(_text(f"{root}/proc/self/cgroup"))
    places: dict[str, tuple[str, str]] = {}
    for hierarchy, (top, folder) in _mounts(_text(f"{root}/proc/self/mountinfo")).items():
        if hierarchy in groups:
            places[hierarchy] = (root + folder, _below(top, groups[hierarchy]))
    return places


def _memberships(text: str) -> dict[str, str]:
    """Read /proc/self/cgroup: lines such as "4:cpu,cpuacct:/a/b", and "0::/a/b" for version 2."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            groups[_UNIFIED] = path
        for controller in _CONTROLLERS.intersection(controllers.split(",")):
            groups[controller] = path
    return groups


def _mounts(text: str) -> dict[str, tuple[str, str]]:
    """Read /proc/self/mountinfo: for each hierarchy the group that is mounted, and where."""
    mounts: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        fields, kind = mount.split(" "), system.split(" ")
        if kind[0] == "cgroup2":
            mounts.setdefault(_UNIFIED, (fields[3], fields[4]))
        elif kind[0] == "cgroup":
            for controller in _CONTROLLERS.intersection(kind[-1].split(",")):
                mounts.setdefault(controller, (fields[3], fields[4]))
    return mounts


def _below(top: str, group: str) -> str:
    """Return the part of a group's path that lies below a mounted one; "" if it is that, or elsewhere."""
    inside = group if top == "/" else group.removeprefix(top) if f"{group}/".startswith(f"{top}/") else ""
    return "" if inside == "/" or inside.startswith("/..") else inside


def _upwards(places: dict[str, tuple[str, str]], controller: str) -> tuple[str, ...]:
    """Return the folders that may hold limits: the group of the process, and all that it is in."""
    place = places.get(controller) or places.get(_UNIFIED)
    if place is None:
        return ()
    mounted, inside = place
    steps = inside.split("/")
    return tuple(mounted + "/".join(steps[:end]) for end in range(len(steps), 0, -1))


# --------------------------------------------------------------------------------------------- reading limits


def _cores(folder: str) -> float | None:
    fields = _text(f"{folder}/cpu.max").split()
    if not fields:
        fields = [_text(f"{folder}/cpu.cfs_quota_us"), _text(f"{folder}/cpu.cfs_period_us")]
    try:
        quota, period = (int(field) for field in fields)
    except ValueError:  # "max", or nothing at all
        return None
    return quota / period if quota > 0 and period > 0 else None


def _memory_limit(folder: str) -> MemoryLimit | None:
    # Beyond `memory.high` nothing is killed, but everything is slowed down until memory has been given back.
    sizes = [_number(f"{folder}/{name}") for name in ("memory.max", "memory.high")]
    names = ("memory.current", b"inactive_file")
    if sizes == [None, None]:
        sizes = [_number(f"{folder}/memory.limit_in_bytes")]
        names = ("memory.usage_in_bytes", b"total_inactive_file")
    found = [size for size in sizes if size is not None and size < _ENDLESS]
    return MemoryLimit(min(found), folder, names) if found else None


def _number(path: str) -> int | None:
    try:
        return int(_bytes(path))
    except ValueError:
        return None


def _entry(path: str, name: bytes) -> int | None:
    """Return the number behind a name, in a file with one of each on every line."""
    start = name + b" "
    for line in _bytes(path).splitlines():
        if line.startswith(start):
            return int(line[len(start) :])
    return None


def _text(path: str) -> str:
    return _bytes(path).decode(errors="replace")


def _bytes(path: str) -> bytes:
    """Return what a file of the kernel holds; nothing if it is not there. Half the price of `open`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, AttributeError):  # no such file, no right to it; no such flag on other systems
        return b""
    try:
        parts = [os.read(descriptor, 65536)]
        while parts[-1]:
            parts.append(os.read(descriptor, 65536))
        return b"".join(parts)
    except OSError:  # a controller that is switched off, or a group that has gone
        return b""
    finally:
        os.close(descriptor)
