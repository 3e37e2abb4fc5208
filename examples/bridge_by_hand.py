"""Tasks that are started and settled by hand, beside tasks that have a function: the front end `bridge`.

A crawler that knows nothing of actorsched reports, by the id of a task, how far it is. What depends on that
task begins when the crawler says that it is done. Whatever happens, its files are closed.

Run it with `python examples/bridge_by_hand.py`.
"""

# expect: crawl is running, count is waiting
# expect: half of the pages: 0.5
# expect: closed pages.txt
# expect: the pages have 11 words
# expect: by status: 2 completed, 1 failed, 1 cancelled
# expect: why: TaskExecutionError: the site is down
# expect: flaky: done at attempt 3

from __future__ import annotations

import logging
import threading

from actorsched import current
from actorsched.frontends.bridge import TaskError, TaskPriority, TaskStatus, task_bridge

PAGES = ["a page of five words", "another one, with six words here"]


class File:
    """A file, for the sake of the example."""

    def __init__(self, name: str) -> None:
        self.name = name

    def close(self) -> None:
        """Say that it is closed."""
        print(f"closed {self.name}")


def crawl(task: str, pages: list[str]) -> None:
    """The system of before: it does its work in threads of its own, and reports by id."""
    task_bridge.update_task_progress(task, 0.5, "half of the pages")
    fraction, message = task_bridge.get_task_progress(task)
    print(f"{message}: {fraction}")
    task_bridge.complete_task(task, pages)


def a_task_by_hand() -> tuple[str, str]:
    """Something is settled from outside, and something else depends on it."""
    by_hand = task_bridge.register_task("crawl", timeout="1m")
    task_bridge.register_resource(by_hand, File("pages.txt"))

    def count() -> int:
        return sum(len(page.split()) for page in task_bridge.get_task_result(by_hand))

    counted = task_bridge.register_task(
        "count", count, priority=TaskPriority.HIGH, dependencies=[by_hand], max_retries=2, retry_delay=0.1
    )
    for task in (by_hand, counted):
        task_bridge.start_task(task)
    status = task_bridge.get_task_status
    print(f"crawl is {status(by_hand)}, count is {status(counted)}")
    crawler = threading.Thread(target=crawl, args=(by_hand, PAGES))
    crawler.start()
    task_bridge.wait(counted)
    crawler.join()
    print(f"the pages have {task_bridge.get_task_result(counted)} words")
    return by_hand, counted


def ends_without_a_result() -> None:
    """A failure and a cancellation, and what is said of them."""
    failed, cancelled = (task_bridge.register_task(name) for name in ("mirror", "archive"))
    task_bridge.fail_task(failed, "the site is down")
    task_bridge.cancel_task(cancelled, "nobody needs it")
    counts = {status: len(ids) for status, ids in task_bridge.monitor().items() if ids}
    print("by status:", ", ".join(f"{count} {status}" for status, count in counts.items()))
    try:
        task_bridge.get_task_result(failed)
    except TaskError as error:
        print(f"why: {type(error.__cause__).__name__}: {error.__cause__}")
    for task in (failed, cancelled):
        task_bridge.cleanup_task(task)  # its id is not known any more


def flaky() -> str:
    """Works at the third attempt."""
    if current().attempt < 3:
        raise ConnectionError("not yet")
    return f"done at attempt {current().attempt}"


def main() -> None:
    """All of it."""
    logging.getLogger("actorsched.task").setLevel(logging.CRITICAL)  # the failures here are meant
    a_task_by_hand()
    ends_without_a_result()
    task = task_bridge.register_task("flaky", flaky, max_retries=5, retry_delay=0.01)
    task_bridge.start_task(task)
    task_bridge.wait(task)
    assert task_bridge.get_task_status(task) is TaskStatus.COMPLETED
    print(f"flaky: {task_bridge.get_task_result(task)}")


if __name__ == "__main__":
    main()
