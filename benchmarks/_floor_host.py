"""The child process of the floors, and how to start it: the least that a host process could be.

One blocking loop over one end of a socketpair, with the three ways in which the floors need it: calls in
frames, many at once (`frames`); one bare call at a time (`calls`); and a copy from one shared segment to
another (`copies`). Nothing of actorsched is imported here, neither in the parent's half nor in the child's.

A frame is the length of a pickle in four bytes, then the pickle: of `(number, function, arguments)` towards
the child, of `(number, result)` back.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Mode = Literal["frames", "calls", "copies", "forks"]
HEADER = struct.Struct("<I")
BUFFER = 1 << 18
REQUEST = 4096


def framed(message: object) -> bytes:
    """One frame."""
    data = pickle.dumps(message, 5)
    return HEADER.pack(len(data)) + data


def whole(buffer: bytearray) -> Iterator[object]:
    """The messages of the whole frames at the head of the buffer, which are removed from it."""
    start, end = 0, len(buffer)
    view = memoryview(buffer)
    while end - start >= 4:
        (length,) = HEADER.unpack_from(view, start)
        if end - start - 4 < length:
            break
        yield pickle.loads(view[start + 4 : start + 4 + length])
        start += 4 + length
    view.release()
    del buffer[:start]


@contextmanager
def child(mode: Mode, *segments: int) -> Iterator[socket.socket]:
    """A child that serves in this mode until its socket closes; yields the parent's end, which blocks.

    Args:
        mode: What it serves.
        *segments: Descriptors of shared memory to inherit.
    """
    ours, theirs = socket.socketpair()
    inherited = (theirs.fileno(), *segments)
    command = [sys.executable, "-m", "benchmarks._floor_host", mode, *map(str, inherited)]
    process = subprocess.Popen(command, pass_fds=inherited)
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.wait()


def serve_frames(peer: socket.socket) -> None:
    """Runs every call that has arrived, then answers all of them at once."""
    buffer = bytearray()
    while data := peer.recv(BUFFER):
        buffer += data
        replies = bytearray()
        for message in whole(buffer):
            number, function, arguments = cast(
                "tuple[int, Callable[..., object], tuple[object, ...]]", message
            )
            replies += framed((number, function(*arguments)))
        peer.sendall(replies)


@contextmanager
def on_cpu(choose: Callable[[set[int]], int]) -> Iterator[None]:
    """Run on one of the CPUs that may be used."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {choose(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def serve_calls(peer: socket.socket) -> None:
    """Runs one call at a time, on the last CPU."""
    with on_cpu(max):
        _serve_calls(peer)


def _serve_calls(peer: socket.socket) -> None:
    while data := peer.recv(REQUEST):  # a bigger buffer would be a mapping of its own, each time
        function, arguments = pickle.loads(data)
        peer.sendall(pickle.dumps(function(*arguments), 5))


def serve_copies(peer: socket.socket, source: int, target: int) -> None:
    """Copies the whole of one segment to another whenever it is asked."""
    size = os.fstat(source).st_size
    with mmap.mmap(source, size) as read, mmap.mmap(target, size) as written:
        while peer.recv(1):
            written[:] = read
            peer.sendall(b".")


def serve_forks(peer: socket.socket) -> None:
    """Forks a child for every byte, which answers over a socketpair of its own and ends."""
    while peer.recv(1):
        ours, theirs = socket.socketpair()
        child = os.fork()
        if not child:
            theirs.sendall(b".")
            os._exit(0)
        peer.sendall(ours.recv(1))
        os.waitpid(child, 0)
        ours.close()
        theirs.close()


def main(mode: str, descriptors: list[int]) -> None:
    """Serves until the parent's end of the socket closes."""
    with socket.socket(fileno=descriptors[0]) as peer:
        match mode:
            case "frames":
                serve_frames(peer)
            case "calls":
                serve_calls(peer)
            case "copies":
                serve_copies(peer, *descriptors[1:])
            case "forks":
                serve_forks(peer)
            case _:
                raise ValueError(f"unknown mode {mode!r}: frames, calls, copies and forks are known")


if __name__ == "__main__":
    main(sys.argv[1], [int(descriptor) for descriptor in sys.argv[2:]])
