"""What hosts are given to do with big data. Imported by them too, so it imports nothing of the tests."""

from __future__ import annotations

import dataclasses
import resource
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actorsched import Actor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import numpy as np
    from numpy.typing import NDArray

KEPT: list[Any] = []


# ------------------------------------------------------------------------------------------- where it lies


def mapping_at(address: int) -> str:
    """The line of /proc/self/maps with this address: its access, and the name of the file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, _, end = line.split()[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            return line
    raise LookupError(f"nothing is mapped at {address:#x}")


def is_borrowed(address: int) -> bool:
    """Whether it lies in the memory file of the other side, mapped privately and writable."""
    line = mapping_at(address)
    return "/memfd:actorsched" in line and line.split()[1] == "rw-p"


def addresses(value: Any) -> Iterator[int]:
    """Where the buffers of a value are, but for the small ones."""
    import numpy as np

    pa: Any = import_module("pyarrow")
    if isinstance(value, memoryview):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        yield value.__array_interface__["data"][0]
    elif isinstance(value, pa.Buffer):
        yield value.address
    elif isinstance(value, pa.Array):
        yield from (buffer.address for buffer in value.buffers() if buffer and buffer.size >= 65536)
    elif isinstance(value, (pa.Table, pa.RecordBatch)):
        for column in value.columns:
            for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                yield from addresses(chunk)
    elif issubclass(type(value), dict):
        for each in value.values():
            yield from addresses(each)
    elif issubclass(type(value), (list, tuple)):
        for each in value:
            yield from addresses(each)
    elif dataclasses.is_dataclass(value):
        yield from addresses([getattr(value, field.name) for field in dataclasses.fields(value)])


def borrowed(value: Any) -> list[bool]:
    """Of each of its buffers, whether it is borrowed."""
    return [is_borrowed(address) for address in addresses(value)]


# ----------------------------------------------------------------------------------------------- functions


@dataclasses.dataclass
class Frame:
    """Something of a user's own, with arrays in it."""

    name: str
    values: Any
    more: dict[str, list[Any]]


def seen_and_returned(value: Any) -> tuple[list[bool], Any]:
    """Whether it arrived without a copy; and the value."""
    return borrowed(value), value


def numbers(size: int, first: int = 0) -> NDArray[np.float64]:
    import numpy as np

    return np.arange(first, first + size, dtype="f8")


def overwritten(array: Any) -> float:
    """What is left of the argument when this has written all over it."""
    array[:] = -1
    return float(array.sum())


def keep(array: Any) -> None:
    KEPT.append(array)


def drop() -> None:
    KEPT.clear()


def sum_of_kept() -> float:
    return float(sum(array.sum() for array in KEPT))


def numbers_without_memory(size: int) -> NDArray[np.float64]:
    """A result for which there is no room in shared memory."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    return numbers(size)


class Keeper(Actor, host="process"):
    """Keeps what it is given, in a host."""

    def __init__(self) -> None:
        self._kept: Any = None

    async def keep(self, value: Any) -> list[bool]:
        self._kept = value
        return borrowed(value)

    async def give(self) -> Any:
        return self._kept

    async def pass_on(self, other: Any) -> list[bool]:
        """Give it to another actor; tells how it has arrived there."""
        there: list[bool] = await other.ask.keep(self._kept)
        return there

    async def pieces(self, count: int, size: int) -> AsyncIterator[Any]:
        for number in range(count):
            yield numbers(size, number)
