"""The web service of `examples/`, as a real server that gets real requests."""

from __future__ import annotations

import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.commands import ROOT, Command, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.deadline(60)]


@pytest.fixture
def server() -> Iterator[Command]:
    """The server, on a port that was free."""
    with running("--port", 0, script=ROOT / "examples" / "web_service.py") as command:
        yield command


@pytest.fixture
def client(server: Command) -> Iterator[httpx.Client]:
    """A client of the server, once that is there."""
    assert server.process.stderr is not None
    for line in server.process.stderr:
        if found := re.search(r"running on (http://\S+)", line):
            with httpx.Client(base_url=found[1], timeout=50) as client:
                yield client
            return
    pytest.fail("the server has never started")


def end(server: Command, number: signal.Signals) -> tuple[int, str]:
    """Send a signal; answers with the exit code, and the last of the log."""
    server.process.send_signal(number)
    _, log = server.process.communicate(timeout=50)
    assert not server.left()
    return server.process.returncode, log


def test_requests_use_actors_in_the_loop_and_functions_in_hosts(
    server: Command, client: httpx.Client
) -> None:
    assert client.get("/").json() == {"visits": 1}
    assert client.get("/primes/100").json() == {"below": 100, "primes": 25, "in_another_process": True}
    assert client.get("/sleep/60").status_code == 504
    assert client.get("/nothing").status_code == 404
    assert client.get("/").json() == {"visits": 2}
    code, log = end(server, signal.SIGINT)
    assert code == 0
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


def test_it_answers_while_hosts_compute(server: Command, client: httpx.Client) -> None:
    with ThreadPoolExecutor(20) as people:
        counting = [people.submit(client.get, "/primes/10000000") for _ in range(8)]
        visits = [people.submit(client.get, "/") for _ in range(50)]
        seen = sorted(visit.result().json()["visits"] for visit in visits)
        before_the_last = not all(count.done() for count in counting)
        primes = {count.result().json()["primes"] for count in counting}
    assert seen == list(range(1, 51))
    assert before_the_last
    assert primes == {664579}
    assert end(server, signal.SIGINT)[0] == 0


def test_a_signal_in_the_middle_of_a_request_lets_it_finish(server: Command, client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as line:
        line.sendall(b"GET /primes/5000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.get("/")  # came later, so when it is answered the other has begun
        code, _ = end(server, signal.SIGINT)
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    assert code == 0
    assert b'"primes":348513' in answer
