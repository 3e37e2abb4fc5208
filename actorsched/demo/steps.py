"""The steps that each file goes through, as the functions of a pipeline.

The law of this module: a step takes what the step before it gave, and gives a value that can cross to another
process. What goes wrong with a file is a value too, `Failed`, which the steps after it hand on; so no file
can stop the others. Hosts import this module, so it imports little.

How it works: `read` (in a thread) hands a small file over as bytes. A bigger one is left to its host, which
reads it piece by piece and puts what it has compressed into a part file, so that no file needs more memory
than a small one. `store` (in a thread) writes the bytes of small ones to part files too. `check` (in a host)
reads the part file back, and compares. What is whole and right is then moved to its place by `results`.

A file is read as it is when it is opened: what is appended meanwhile is left out, so that a file that keeps
growing comes to an end.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import stat
import time
import zlib
from typing import IO, TYPE_CHECKING, Concatenate, Literal, NamedTuple, ParamSpec, Protocol, Self, TypeVar

from actorsched.context import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from gzip import GzipFile
    from lzma import LZMAFile

    from actorsched.actor import ActorRef
    from actorsched.demo.board import Board

PIECE = 1 << 20
"""How much is read at a time, and the largest file that travels to its host as a whole; in bytes."""

UNSIZED = 64 * PIECE
"""How much is read of a file that says its size is 0, as those in /proc do, before it counts as endless."""

Form = Literal["gz", "xz"]


class Settings(NamedTuple):
    """What the steps have to know."""

    form: Form
    parts: str
    """The folder for part files."""


class Found(NamedTuple):
    """A file that is to be done."""

    path: str
    name: str
    """Its path within the tree."""
    size: int
    """In bytes, when it was found."""


class Failed(NamedTuple):
    """A file that could not be done."""

    name: str
    reason: str


class Share(NamedTuple):
    """What a host did for a file."""

    pid: int
    seconds: float


class Loaded(NamedTuple):
    """A file that has been read; or one that its host is to read."""

    name: str
    path: str
    size: int
    """As it was when it was found."""
    data: bytes | None
    """What is in it; None when its host is to read it."""
    board: ActorRef[Board] | None = None
    """Whom its host then tells how far it is."""


class Squeezed(NamedTuple):
    """A file that has been fingerprinted and compressed."""

    name: str
    fingerprint: str
    size: int
    packed: bytes | None
    """What it was compressed to; None when it is in the part file."""
    packed_size: int
    part: str
    share: Share


class Stored(NamedTuple):
    """A file whose compressed form is in a part file."""

    name: str
    fingerprint: str
    size: int
    packed_size: int
    part: str
    share: Share


class Checked(NamedTuple):
    """A file whose compressed form has been read back, and is right."""

    stored: Stored
    share: Share


class _Named(Protocol):
    @property
    def name(self) -> str: ...


I = TypeVar("I", bound=_Named)  # noqa: E741  # what goes in
O = TypeVar("O")  # noqa: E741  # what comes out
P = ParamSpec("P")


def step(
    function: Callable[Concatenate[I, P], O],
) -> Callable[Concatenate[I | Failed, P], O | Failed]:
    """Make a step of a function: failures are handed on, and new ones become values."""

    @functools.wraps(function)
    def stepping(item: I | Failed, /, *args: P.args, **kwargs: P.kwargs) -> O | Failed:
        if isinstance(item, Failed):
            return item
        try:
            return function(item, *args, **kwargs)
        except Exception as error:
            return Failed(item.name, reason(error))

    return stepping


def reason(error: BaseException) -> str:
    """What to tell people about an error."""
    if isinstance(error, Unfit):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


class Unfit(Exception):
    """There is something about a file that forbids it to be done."""


# ---------------------------------------------------------------------------------------------------- reading


@step
def read(file: Found, *, board: ActorRef[Board] | None = None) -> Loaded:
    """Read a small file; leave a big one to its host."""
    data = b""
    if file.size <= PIECE:
        for piece in pieces_of(file.path):
            data += piece
            if len(data) > PIECE:  # it is bigger than it was when it was found
                break
        else:
            return Loaded(file.name, file.path, file.size, data)
    return Loaded(file.name, file.path, file.size, None, board)


def pieces_of(path: str) -> Iterator[bytes]:
    """The contents of a regular file, piece by piece; each piece is a point where the task can be cancelled.

    Raises:
        OSError: It cannot be read.
        Unfit: It is no regular file, or does not end.
    """
    # Without blocking: what is a file now may be a FIFO by the time it is opened.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        is_link = os.path.lexists(path)
        raise Unfit("it is a link to nothing" if is_link else "it has vanished") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unfit("it is no file any more")
        left = status.st_size or UNSIZED
        while left > 0 and (piece := os.read(descriptor, min(PIECE, left))):
            left -= len(piece)
            yield piece
            checkpoint()
        if not status.st_size and left <= 0:
            raise Unfit(f"it says that it is empty, but does not end within {UNSIZED >> 20} MiB")
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------ compressing


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def compressor(form: Form) -> _Compressor:
    """What compresses into the format of gzip or of xz."""
    if form == "gz":
        return zlib.compressobj(wbits=31)
    import lzma

    return lzma.LZMACompressor()


@step
def squeeze(loaded: Loaded, *, settings: Settings) -> Squeezed:
    """Fingerprint and compress a file."""
    from hashlib import sha256

    began = time.perf_counter()
    if loaded.data is None:
        return _squeeze_big(loaded, settings)
    packing = compressor(settings.form)
    packed = packing.compress(loaded.data) + packing.flush()
    fingerprint = sha256(loaded.data).hexdigest()
    share = Share(os.getpid(), time.perf_counter() - began)
    return Squeezed(loaded.name, fingerprint, len(loaded.data), packed, len(packed), "", share)


def _squeeze_big(loaded: Loaded, settings: Settings) -> Squeezed:
    from hashlib import sha256

    began, pid = time.perf_counter(), os.getpid()
    packing, digest, size = compressor(settings.form), sha256(), 0
    with Part(settings.parts) as part:
        for piece in pieces_of(loaded.path):
            digest.update(piece)
            part.write(packing.compress(piece))
            size += len(piece)
            if loaded.board is not None:
                seconds = time.perf_counter() - began
                loaded.board.tell(_board().reached, pid, loaded.name, size, loaded.size, seconds)
        part.write(packing.flush())
    share = Share(pid, time.perf_counter() - began)
    return Squeezed(loaded.name, digest.hexdigest(), size, None, part.size, part.path, share)


def _board() -> type[Board]:
    from actorsched.demo.board import Board

    return Board


# ------------------------------------------------------------------------------------------ storing, checking

_numbers = itertools.count()


class Part:
    """A new part file. It is deleted when the `with` block fails, or is cancelled."""

    def __init__(self, folder: str) -> None:
        self.path: str = f"{folder}/{os.getpid()}-{next(_numbers)}"
        self.size: int = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with writing():
            self._descriptor = os.open(self.path, flags, 0o666)

    def write(self, data: bytes) -> None:
        """Write all of it: the system may take less than it is given."""
        self.size += len(data)
        view = memoryview(data)
        with writing():
            while view:
                view = view[os.write(self._descriptor, view) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        try:
            with writing():
                os.close(self._descriptor)  # some file systems say only now that there is no room
        except Unfit:
            kind = Unfit
            raise
        finally:
            if kind is not None:
                _delete(self.path)


def _delete(part: str) -> None:
    from pathlib import Path  # rarely needed, and hosts start without it

    Path(part).unlink(missing_ok=True)


@contextlib.contextmanager
def writing() -> Generator[None]:
    """Within this block, a failure is one of the result, not of the file."""
    try:
        yield
    except OSError as error:
        raise Unfit(f"its result cannot be written: {error.strerror or error}") from error


@step
def store(squeezed: Squeezed, *, settings: Settings) -> Stored:
    """Write what a small file was compressed to; what a big one was is written already."""
    name, fingerprint, size, packed, packed_size, path, share = squeezed
    if packed is not None:
        with Part(settings.parts) as part:
            part.write(packed)
        path = part.path
    return Stored(name, fingerprint, size, packed_size, path, share)


@step
def check(stored: Stored, *, settings: Settings) -> Checked:
    """Read back what was written, and see whether it is what was read."""
    began = time.perf_counter()
    try:
        _compare(stored, settings.form)
    except BaseException:
        _delete(stored.part)
        raise
    return Checked(stored, Share(os.getpid(), time.perf_counter() - began))


def _compare(stored: Stored, form: Form) -> None:
    from hashlib import sha256

    digest = sha256()
    try:
        with os.fdopen(os.open(stored.part, os.O_RDONLY | os.O_CLOEXEC), "rb") as part:
            if os.fstat(part.fileno()).st_size != stored.packed_size:
                raise Unfit("it is not as long as it was written")
            with unpacked(part, form) as stream:
                while piece := stream.read(PIECE):
                    digest.update(piece)
                    checkpoint()
    except Exception as error:
        raise Unfit(f"its result cannot be read back: {reason(error)}") from error
    if digest.hexdigest() != stored.fingerprint:
        raise Unfit("its result is not what was read")


def unpacked(packed: IO[bytes], form: Form) -> GzipFile | LZMAFile:
    """What a result holds, decompressed as it is read."""
    if form == "gz":
        import gzip

        return gzip.GzipFile(fileobj=packed)
    import lzma

    return lzma.LZMAFile(packed)
