"""What a runtime and its spawner say to each other.

The law of this module: messages and their bytes, nothing else. The two ends are `spawner` and
`spawner_child`.

How it works: each message is one packet of a SOCK_SEQPACKET socket, whole or not there at all. Descriptors
come along with `Fork` only. `Forked` is said by the new host itself, through the end of the socket that it
inherited and closes right after that: so when the parent reads the end of the stream, every host that the
spawner has ever forked has said so, and what is unanswered then never will be answered.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Fork(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """To the spawner: make a host of the descriptors that come with this.

    Attributes:
        number: What the answer will be about.
        names: What each of the descriptors is, in their order.
    """

    number: int
    names: list[str]


class Reap(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """To the spawner: nobody needs the process id of this host any more."""

    pid: int


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """To the spawner: answer with `Pong`, after the ends that there are to be told."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """From the spawner: it has got as far as to be able to fork."""


class Forked(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """From a new host: it is there, in a process group of its own, and hangs on its lifeline."""

    number: int
    pid: int


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """From the spawner: this host could not be made.

    Attributes:
        number: That of the `Fork`.
        why: A clause for people.
    """

    number: int
    why: str


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """From the spawner: a host has ended, and is kept as a zombie until `Reap`.

    Attributes:
        number: That of its `Fork`; it may not have got as far as to say `Forked`.
        pid: Its process id.
        status: Its exit code, or minus the signal that ended it.
    """

    number: int
    pid: int
    status: int


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """From the spawner: it is alive."""


ToSpawner = Fork | Reap | Ping
FromSpawner = Ready | Forked | Refused | Ended | Pong

PACKET: Final = 65536
"""No message is as big as that."""

encode = msgspec.msgpack.Encoder().encode
