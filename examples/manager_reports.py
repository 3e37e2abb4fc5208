"""A task manager in a script that makes reports: registered by name, executed by id, watched by handlers.

The sales of three shops are fetched by async functions, added up in threads, and written by one hand,
sequentially. One shop answers only at the third attempt, one not in time, and nobody wants the last report.

Run it with `python examples/manager_reports.py`.
"""

# expect: Oslo sold 12, on 3 days
# expect: fetch Bergen: attempt 1
# expect: fetch Bergen: attempt 2
# expect: fetch Bergen: attempt 3
# expect: Bergen sold 30, on 4 days
# expect: Tromso has no report: TaskDependencyError
# expect: because: TaskTimeoutError
# expect: the appendix is cancelled: nobody reads it
# expect: 6 of 10 tasks completed, 3 failed, 1 was cancelled
# expect: the longest page is half written, then completed

from __future__ import annotations

import asyncio

from actorsched.frontends.manager import (
    EventType,
    TaskDependencyError,
    TaskEvent,
    TaskManager,
    TaskPriority,
    subscribe,
)

SALES = {"Oslo": [3, 4, 5], "Bergen": [9, 8, 7, 6], "Tromso": [1]}
manager = TaskManager()
attempts: dict[str, int] = {}
progress: list[str] = []


async def fetch(shop: str) -> list[int]:
    """Ask a shop for its sales; Bergen's line is bad, Tromso's is dead."""
    attempts[shop] = attempts.get(shop, 0) + 1
    if shop == "Bergen" and attempts[shop] < 3:
        raise ConnectionError("the line is bad")
    if shop == "Tromso":
        await asyncio.sleep(3600)
    return SALES[shop]


def add_up(fetched: str) -> tuple[int, int]:
    """In a thread: the sum, and the number of days."""
    sales = manager.get_task_result(fetched)
    return sum(sales), len(sales)


def write(shop: str, added: str) -> str:
    """In the thread of the loop, one report at a time."""
    total, days = manager.get_task_result(added)
    return f"{shop} sold {total}, on {days} days"


def watch(event: TaskEvent) -> None:
    """A handler of events."""
    if event.type is EventType.TASK_STARTED and event.name == "fetch Bergen":
        print(f"{event.name}: attempt {event.data['attempt']}")
    if event.name == "write Bergen":
        progress.append(event.data.get("message") or event.type.removeprefix("task_"))


def register(shop: str) -> tuple[str, str]:
    """The three tasks of one shop."""
    fetched = manager.register_task(
        name=f"fetch {shop}",
        func=fetch,
        args=(shop,),
        priority=TaskPriority.HIGH,
        max_retries=3 if shop == "Bergen" else 0,
        retry_delay="1ms",
        timeout="50ms" if shop == "Tromso" else "30s",
        description=f"the sales of {shop}, by the day",
        tags=["network"],
        metadata={"shop": shop},
    )
    added = manager.register_task(f"add up {shop}", add_up, fetched, dependencies=[fetched])
    written = manager.register_task(
        f"write {shop}", write, shop, added, dependencies=[added], executor_type="sequential"
    )
    return fetched, written


async def main() -> None:
    """Make the reports."""
    for kind in (EventType.TASK_STARTED, EventType.TASK_PROGRESS, EventType.TASK_COMPLETED):
        subscribe(kind, watch)
    tasks = {shop: register(shop) for shop in SALES}
    manager.update_task_progress(tasks["Bergen"][1], 0.5, "half written")

    for shop, (fetched, written) in tasks.items():
        if await manager.execute_task(written):
            print(manager.get_task_result(written))
            continue
        try:
            manager.get_task_result(written)
        except TaskDependencyError as error:
            print(f"{shop} has no report: {type(error).__name__}")
            print(f"because: {type(manager.get_task_error(fetched)).__name__}")

    appendix = manager.register_task("appendix", print, "never printed")
    await manager.cancel_task(appendix, "nobody reads it")
    print(f"the appendix is {manager.get_task_status(appendix)}: nobody reads it")

    metrics = manager.get_metrics()
    print(
        f"{metrics['completed_tasks']} of {metrics['total_tasks']} tasks completed, "
        f"{metrics['failed_tasks']} failed, {metrics['cancelled_tasks']} was cancelled"
    )
    print(f"the longest page is {progress[0]}, then {progress[-1]}")


if __name__ == "__main__":
    asyncio.run(main())
