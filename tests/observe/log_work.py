"""What the tests of the log have done in threads and hosts."""

from __future__ import annotations

import logging
import os
import signal

from actorsched import Actor

log = logging.getLogger("tests.log_work")


def chatter(count: int) -> None:
    log.debug("not wanted")
    for number in range(count):
        log.log((logging.INFO, logging.WARNING, logging.ERROR)[number % 3], "number %d", number)


def chatter_and_die(count: int) -> None:
    chatter(count)
    os.kill(os.getpid(), signal.SIGKILL)


def one(text: str) -> None:
    log.info(text)


async def one_async(text: str) -> None:
    log.info(text)


class Chatterbox(Actor):
    async def say(self, text: str) -> None:
        log.info(text)

    async def on_stop(self, reason: object) -> None:
        log.info("the last word")
