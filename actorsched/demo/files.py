"""Finding the files that are to be done.

The law of this module: it looks, and opens no file. Whatever is no file, nor a link that might lead to one,
is passed over and counted. Nothing ends the search but its cancellation.

How it works: the tree is walked without recursion, each folder in the order of its names, so that two runs
over the same tree do the same. Symbolic links to files count as the files; those to folders are not followed,
so the walk ends. What has been found is read by the display while the walk goes on in its thread.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from actorsched.context import checkpoint
from actorsched.demo.steps import Failed, Found, reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_KINDS = (
    (stat.S_ISFIFO, "FIFO", "FIFOs"),
    (stat.S_ISSOCK, "socket", "sockets"),
    (stat.S_ISCHR, "character device", "character devices"),
    (stat.S_ISBLK, "block device", "block devices"),
)
LINK_TO_FOLDER = ("link to a folder", "links to folders")
OWN_RESULTS = ("folder of results", "folders of results")


class Place(NamedTuple):
    """A folder, whatever its name: two places are equal when they are the same folder."""

    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> Place:
        """The place of an existing folder."""
        status = Path(path).stat()
        return cls(status.st_dev, status.st_ino)


class Finds:
    """What has been found.

    Attributes:
        files: The files, in the order in which they are to be done.
        size: How big they are together, in bytes.
        unread: The folders that could not be looked into.
        passed_over: How many there are of what is no file, by its (singular, plural) name.
    """

    __slots__ = ("files", "passed_over", "size", "unread")

    def __init__(self) -> None:
        self.files: list[Found] = []
        self.size: int = 0
        self.unread: list[Failed] = []
        self.passed_over: Counter[tuple[str, str]] = Counter()

    def __repr__(self) -> str:
        return f"<Finds: {len(self.files)} files, {len(self.unread)} folders unread>"

    def add(self, file: Found) -> None:
        """A file was found."""
        self.files.append(file)
        self.size += file.size


def find(source: str, finds: Finds, own: Place | None = None, without: Collection[str] = ()) -> None:
    """Find every file under a folder, or the file itself.

    Args:
        source: The folder or file.
        finds: Where to enter what is found.
        own: The folder of our own results, which is left out.
        without: Names of folders that are left out.
    """
    if not Path(source).is_dir():
        finds.add(Found(source, Path(source).name, Path(source).stat().st_size))
        return
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        folders: list[str] = []
        for entry in _listed(source, inside, finds):
            checkpoint()
            name = f"{inside}{entry.name}"
            if entry.is_symlink() or not entry.is_dir(follow_symlinks=False):
                _enter(entry, name, finds)
            elif entry.name not in without and not _is_own(entry, own, finds):
                folders.append(f"{name}/")
        waiting += reversed(folders)


def _listed(source: str, inside: str, finds: Finds) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, sorted by name."""
    try:
        with os.scandir(f"{source}/{inside}") as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        finds.unread.append(Failed(inside or ".", f"the folder cannot be read: {reason(error)}"))
        return
    yield from found


def _is_own(entry: os.DirEntry[str], own: Place | None, finds: Finds) -> bool:
    if own is None or entry.inode() != own.inode:
        return False
    try:
        is_own = Place.of(entry.path) == own
    except OSError:
        return False  # whoever lists it will say so
    if is_own:
        finds.passed_over[OWN_RESULTS] += 1
    return is_own


def _enter(entry: os.DirEntry[str], name: str, finds: Finds) -> None:
    """Enter what is no folder as what it is."""
    try:
        status = entry.stat()
    except OSError:  # it counts as a file; whoever opens it will say what is wrong with it
        finds.add(Found(entry.path, name, 0))
        return
    if stat.S_ISREG(status.st_mode):
        finds.add(Found(entry.path, name, status.st_size))
    elif stat.S_ISDIR(status.st_mode):
        finds.passed_over[LINK_TO_FOLDER] += 1
    else:
        kind = next(
            ((one, many) for test, one, many in _KINDS if test(status.st_mode)), ("oddity", "oddities")
        )
        finds.passed_over[kind] += 1
