"""A pipeline: stages that work at the same time, in this process and in others, in step with one another.

The pages of an endless book are fetched (in the event loop), digested (in host processes) and put into words
(in a thread). Nobody says how fast any of them is: each stage takes the next page when it has room for it, so
an endless source before a slow stage simply stands still.

Run it with `python examples/pipeline.py`.
"""

# expect: -- on_error="skip": the pipeline goes on without what fails
# expect: page 1: 400 words, 32 of them different
# expect: page 2: 400 words, 34 of them different
# expect: page 4: 400 words, 38 of them different
# expect: page 5: 400 words, 40 of them different
# expect: skipped page 3: ValueError: it is torn
# expect: digested in another process: True
# expect: of the endless book, fewer than 20 pages were opened: True
# expect: -- on_error="fail", the default: what came before is passed on, then the error is raised
# expect: page 1: 400 words, 32 of them different
# expect: page 2: 400 words, 34 of them different
# expect: stage 'digest' failed at item 2, Page(number=3, text=''): ValueError: it is torn; ...

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import actorsched
from actorsched import Runtime, StageFailed, stage


class Page(NamedTuple):
    """A page, as it was fetched."""

    number: int
    text: str


class Digest(NamedTuple):
    """What is in a page, and the process that has found it out."""

    number: int
    words: int
    different: int
    process: int


opened: list[int] = []


def book() -> Iterator[int]:
    """Open one page after the other, for ever."""
    for number in count(1):
        opened.append(number)
        yield number


async def fetch(number: int) -> Page:
    """Wait for a page, as one would for a web site. Many such waits fit into one event loop."""
    await actorsched.sleep("1ms")
    words = [f"word{n % (30 + 2 * number)}" for n in range(400)]
    return Page(number, "" if number == 3 else " ".join(words))


def digest(page: Page) -> Digest:
    """Use a processor. A plain function is all that a stage in host processes takes."""
    if not page.text:
        raise ValueError("it is torn")
    words = page.text.split()
    return Digest(page.number, len(words), len(set(words)), os.getpid())


def report(found: Digest) -> tuple[Digest, str]:
    """Put it into words."""
    return found, f"page {found.number}: {found.words} words, {found.different} of them different"


async def skipping(rt: Runtime) -> None:
    """What fails becomes a dead letter, which says what it was and why."""
    print('-- on_error="skip": the pipeline goes on without what fails')
    pipe = rt.pipeline(
        stage(fetch, workers=4),
        stage(digest, workers=2, host="process", on_error="skip"),
        report,
    )
    async with rt.dead_letters() as letters, pipe(book()) as results:
        processes: set[int] = set()
        async for found, line in results:
            print(line)
            processes.add(found.process)
            if found.number == 5:
                break  # what is still on its way is stopped
        letter = await anext(letters)
        print(f"skipped page {letter.args[0].number}: {type(letter.error).__name__}: {letter.error}")
    print("digested in another process:", os.getpid() not in processes)
    print("of the endless book, fewer than 20 pages were opened:", len(opened) < 20)


async def failing(rt: Runtime) -> None:
    """The error names the stage and the item, and what the stage has raised is its cause."""
    print('-- on_error="fail", the default: what came before is passed on, then the error is raised')
    pipe = rt.pipeline(fetch, stage(digest, host="process"), report)
    try:
        async for _, line in pipe(book()):
            print(line)
    except StageFailed as error:
        print(error)


async def main() -> None:
    """One rule after the other."""
    async with Runtime() as rt:
        await skipping(rt)
        await failing(rt)


if __name__ == "__main__":
    actorsched.run(main)
