"""Tasks as classes: files are read, counted and packed, each step by as many workers as suit it.

Each file goes through three steps, which depend on each other; the files have nothing to do with one another.
Reading waits for the disk, so four may do it at once; counting and packing need a processor, so two may. One
file is not there: its own steps are skipped, and no others.

Run it with `python examples/taskflow_files.py`.
"""

# expect: could not read: missing.txt
# expect: poem.txt: 13 words, 61 bytes packed into ...
# expect: list.txt: 300 words, 1389 bytes packed into ...
# expect: missing.txt: skipped, because Read missing.txt, which it depends on, failed
# expect: of 9 tasks: 6 completed, 3 failed

from __future__ import annotations

import gzip
import pathlib
import tempfile
from collections import Counter
from typing import Any

from actorsched.frontends.taskflow import Executor, Scheduler, Task

FILES = {
    "poem.txt": "the queue is long the task is small\nthe worker takes them all",
    "list.txt": " ".join(f"n{number}" for number in range(300)),
}


class Step(Task):
    """Something that is done with a file."""

    def __init__(self, path: pathlib.Path, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.name = f"{type(self).__name__} {path.name}"  # how the log and errors call it


class Read(Step):
    """Reads it."""

    def execute(self) -> str:
        """Its text."""
        return self.path.read_text()

    def tag(self) -> str:
        """What is scarce for it."""
        return "disk"


class Count(Step):
    """Counts its words."""

    def __init__(self, read: Read) -> None:
        super().__init__(read.path, dependencies={read})
        self.read = read

    def execute(self) -> int:
        """How many there are."""
        text: str = self.read.result  # there: this task begins when the other has completed
        return len(text.split())

    def tag(self) -> str:
        """What is scarce for it."""
        return "processor"


class Pack(Step):
    """Compresses it."""

    def __init__(self, count: Count) -> None:
        super().__init__(count.path, dependencies={count})
        self.count = count

    def execute(self) -> str:
        """What came of it all."""
        text: str = self.count.read.result
        packed = gzip.compress(text.encode())
        self.path.with_suffix(".gz").write_bytes(packed)
        return f"{self.count.result} words, {len(text)} bytes packed into {len(packed)}"

    def tag(self) -> str:
        """What is scarce for it."""
        return "processor"


def main(folder: pathlib.Path) -> None:
    """Work through a folder."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    reads = [Read(folder / name) for name in (*FILES, "missing.txt")]
    counts = [Count(read) for read in reads]
    packs = [Pack(count) for count in counts]
    tasks = {*reads, *counts, *packs}

    try:
        Executor(Scheduler(tasks), workers_per_tag={"disk": 4, "processor": 2}).run()
    except* FileNotFoundError as failures:
        for failure in failures.exceptions:
            assert isinstance(failure, FileNotFoundError)
            print(f"could not read: {pathlib.Path(failure.filename).name}")

    for count, pack in zip(counts, packs, strict=True):
        if pack.error is None:
            print(f"{pack.path.name}: {pack.result}")
        else:
            assert isinstance(count.error, Exception)
            reason = str(count.error).partition("because ")[2].partition(":")[0].replace("'", "")
            print(f"{pack.path.name}: skipped, because {reason}")
    ends = Counter(task.status.value for task in tasks)
    print(f"of {len(tasks)} tasks: {ends['completed']} completed, {ends['failed']} failed")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(pathlib.Path(folder))
