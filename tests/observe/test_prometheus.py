"""Metrics: by the conventions, as `promtool` judges them, and as a real Prometheus server scrapes them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from actorsched import Actor, Priority, Runtime, current
from actorsched.observe.prometheus import Exporter

if TYPE_CHECKING:
    import pathlib


def told(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def program(name: str) -> str:
    """Where a program is, which is part of what is tested."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed; it comes with Debian's package prometheus: apt-get install it")
    return found


def linted(text: str) -> str:
    """What promtool has against these metrics."""
    answer = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert "error while linting" not in answer.stderr
    return answer.stdout + answer.stderr


def nothing() -> None:
    """Does nothing."""


def fail() -> None:
    raise OSError("no")


class Busy(Actor):
    async def work(self) -> None:
        """Works."""


async def test_tasks_are_counted_by_how_they_end_and_measured_in_seconds() -> None:
    registry = CollectorRegistry()
    async with Runtime(name="shop", pools={"io": 2}) as rt:
        with Exporter(rt, registry):
            await rt.run(nothing, priority=Priority.HIGH, tag="io")
            await (await rt.spawn(fail)).outcome()
            actor = await rt.spawn(Busy)
            await actor.ask.work()
            text = told(registry)
            value = registry.get_sample_value
            assert value("actorsched_tasks_submitted_total", {"runtime": "shop"}) == 2
            ended = {"runtime": "shop", "status": "completed"}
            assert value("actorsched_tasks_ended_total", ended) == 1
            assert value("actorsched_tasks_ended_total", {**ended, "status": "failed"}) == 1
            assert value("actorsched_pool_workers", {"runtime": "shop", "pool": "io"}) == 2
            assert value("actorsched_pool_queued_tasks", {"runtime": "shop", "pool": "io"}) == 0
            assert value("actorsched_actors", {"runtime": "shop"}) == 1
            assert value("actorsched_messages_sent_total", {"runtime": "shop"}) == 1
            assert value("actorsched_hosts", {"runtime": "shop", "state": "busy"}) == 0
            assert value("actorsched_events_lost_total", {"runtime": "shop"}) == 0
            labels = {"runtime": "shop", "pool": "io", "priority": "high"}
            assert value("actorsched_task_total_seconds_count", labels) == 1
            p95 = value("actorsched_task_run_seconds", {**labels, "quantile": "0.95"})
            assert p95 is not None
            assert 0 < p95 < 5
        assert "# TYPE actorsched_task_wait_seconds summary" in text
        assert told(registry) == ""


async def test_a_runtime_that_has_gone_leaves_the_registry() -> None:
    registry = CollectorRegistry()
    async with Runtime(name="gone") as rt:
        exporter = Exporter(rt, registry)
        assert "gone" in told(registry)
    assert told(registry) == ""
    assert exporter.look() is None
    assert "closed" in repr(exporter)


async def test_several_runtimes_share_a_registry_and_names_are_theirs_alone() -> None:
    registry = CollectorRegistry()
    async with Runtime(name="one") as one:
        Exporter(one, registry)
        with pytest.raises(ValueError, match="name='one'.*another name"):
            Exporter(one, registry)
        Exporter(one, registry, name="one again")
        text = told(registry)
        assert text.count("# TYPE actorsched_uptime_seconds gauge") == 1
        assert 'runtime="one again"' in text
        assert linted(text) == ""


async def test_events_that_were_lost_are_counted() -> None:
    registry = CollectorRegistry()
    async with Runtime(name="shop") as rt:
        events = rt.events("completed", capacity=1)
        with Exporter(rt, registry, events=[events]):
            for _ in range(3):
                await rt.run(nothing, host="thread")
            assert (
                registry.get_sample_value("actorsched_events_lost_total", {"runtime": "shop"}) == events.lost
            )
        await events.aclose()


async def test_a_scrape_in_another_thread_asks_the_runtime_and_does_not_wait_for_ever() -> None:
    registry = CollectorRegistry()
    async with Runtime(name="shop") as rt:
        with Exporter(rt, registry, patience="1ms"):
            text = await rt.run(told, registry, host="thread")
            assert 'actorsched_tasks_submitted_total{runtime="shop"}' in text
            scraped: list[str] = []
            thread = threading.Thread(target=lambda: scraped.append(told(registry)))
            thread.start()
            thread.join()  # the loop of the runtime stands still meanwhile
            assert 'runtime="shop"' in scraped[0]


SCHEDULERS = """
from actorsched.frontends.realtime import RealtimeScheduler, Task
from prometheus_client import REGISTRY, generate_latest

with RealtimeScheduler() as scheduler:
    for name in ("perception", "fast_reasoning", "other"):
        scheduler.submit(Task(name, int))
    scheduler.submit(Task("fails", lambda: 1 / 0))
print(generate_latest(REGISTRY).decode())
"""


def script(text: str, **environment: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        timeout=25,
        env={**os.environ, **environment},
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.process
def test_real_time_schedulers_tell_the_five_metrics_that_their_users_know() -> None:
    text = script(SCHEDULERS)
    for line in (
        "perception_latency_ms_count 1.0",
        "reasoning_latency_ms_count 1.0",
        'tasks_processed_total{status="completed"} 3.0',
        'tasks_processed_total{status="failed"} 1.0',
        "queue_size 0.0",
        "active_workers 0.0",
    ):
        assert f"\n{line}\n" in text
    about = [line for line in linted(text).splitlines() if line]
    assert about
    names = ("perception_latency_ms ", "reasoning_latency_ms ")
    assert [line for line in about if not line.startswith(names)] == []


@pytest.mark.process
def test_a_metric_of_somebody_else_by_the_same_name_stays_his(caplog: pytest.LogCaptureFixture) -> None:
    before = "import prometheus_client\nprometheus_client.Gauge('queue_size', 'Mine.').set(77)\n"
    text = script(before + SCHEDULERS)
    assert "\nqueue_size 77.0\n" in text
    assert "\nactive_workers 0.0\n" in text


@pytest.mark.process
def test_a_scheduler_needs_no_prometheus_client() -> None:
    hidden = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from actorsched.frontends.realtime import RealtimeScheduler, Task\n"
        "task = Task('perception', int)\n"
        "with RealtimeScheduler() as scheduler: scheduler.submit(task)\n"
        "print(task.status.value)\n"
    )
    assert script(hidden) == "completed\n"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def answer_of(port: int, query: str) -> list[Any]:
    """What a Prometheus server knows; nothing while it starts."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/api/v1/query?query={quote(query)}")
        found = json.loads(connection.getresponse().read())
    except (OSError, ValueError):
        return []
    finally:
        connection.close()
    result: list[Any] = found.get("data", {}).get("result", [])
    return result


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(60)
@pytest.mark.parametrize("backend", ["asyncio"])
async def test_a_real_server_scrapes_it(tmp_path: pathlib.Path, backend: str) -> None:
    registry = CollectorRegistry()
    metrics, thread = start_http_server(0, "127.0.0.1", registry)
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n  - job_name: shop\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n"
        f"    static_configs:\n      - targets: ['127.0.0.1:{metrics.server_port}']\n"
    )
    server = started_server(port, config, tmp_path / "data")
    try:
        async with Runtime(name="shop") as rt:
            Exporter(rt, registry)
            await rt.run(nothing, host="thread")
            query = 'actorsched_tasks_ended_total{runtime="shop",status="completed"}'
            found = await rt.run(until_known, port, query)
            assert float(found[0]["value"][1]) >= 1
            assert (await rt.run(until_known, port, "actorsched_task_run_seconds"))[0]["metric"]["quantile"]
    finally:
        server.kill()
        server.wait()
        metrics.shutdown()
        metrics.server_close()
        thread.join()


def started_server(port: int, config: pathlib.Path, data: pathlib.Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def until_known(port: int, query: str) -> list[Any]:
    """Ask the server until it knows it. In a thread."""
    pause = threading.Event()
    while not (found := answer_of(port, query)):
        pause.wait(0.1)
        assert not current().cancel_requested
    return found


async def test_one_that_was_closed_is_not_kept_until_the_runtime_ends() -> None:
    async with Runtime() as rt:
        for _ in range(3):
            with Exporter(rt, CollectorRegistry()):
                pass
        assert not rt._at_close
