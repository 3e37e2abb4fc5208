"""A web service: Starlette under uvicorn, with a runtime that lives as long as the application does.

`GET /`                how often it was asked: an actor in the event loop holds the count
`GET /primes/{below}`  how many primes there are: computed in a host process, so the service stays responsive
`GET /sleep/{seconds}` a task with a timeout, which answers 504 when that is too short

Run it with `python examples/web_service.py --port 8000`, and stop it with Ctrl-C. With `--try` it asks itself
a few things, prints the answers, and stops.
"""

# arguments: --try
# expect: GET / -> 200 {"visits":1}
# expect: GET /primes/100000 -> 200 {"below":100000,"primes":9592,"in_another_process":true}
# expect: while that was computed, 20 visitors had their answers
# expect: GET /primes/many -> 404
# expect: GET /sleep/60 -> 504 {"error":"attempt 1 of task 'sleep' was stopped after its timeout of 0.1 s...
# expect: GET / -> 200 {"visits":22}
# expect: the service has stopped

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, TypedDict

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from actorsched import Actor, ActorRef, Runtime, cpu_bound

if TYPE_CHECKING:
    from starlette.requests import Request


class Visits(Actor):
    """Counts. Requests run side by side; the handlers of an actor do not, so it needs no lock."""

    def __init__(self) -> None:
        self._count = 0

    async def another(self) -> int:
        """Count one more, and tell how many there have been."""
        self._count += 1
        return self._count


@cpu_bound  # its tasks run in host processes, wherever they are spawned
def count_primes(below: int) -> tuple[int, int]:
    """How many primes there are below a number, and the process that has counted them."""
    sieve = bytearray([1]) * below
    sieve[:2] = b"\0" * len(sieve[:2])
    for number in range(2, int(below**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
    return sum(sieve), os.getpid()


async def sleep(seconds: int) -> None:
    """Do nothing, for a while."""
    await asyncio.sleep(seconds)


class State(TypedDict):
    """What every request finds in `request.state`."""

    rt: Runtime
    visits: ActorRef[Visits]


@contextlib.asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[State, None]:
    """The runtime is entered before the first request, and left after the last: nothing outlives it."""
    async with Runtime() as rt:
        yield {"rt": rt, "visits": await rt.spawn(Visits, name="visits")}


async def index(request: Request) -> JSONResponse:
    """Ask an actor."""
    return JSONResponse({"visits": await request.state.visits.ask.another()})


async def primes(request: Request) -> JSONResponse:
    """Have something computed in a host process."""
    below = request.path_params["below"]
    # `run` belongs to the request: if the client goes away and the request is cancelled, so is the task, and
    # its host process is told to stop.
    primes, pid = await request.state.rt.run(count_primes, below, timeout="30s")
    return JSONResponse({"below": below, "primes": primes, "in_another_process": pid != os.getpid()})


async def nap(request: Request) -> JSONResponse:
    """Give a task less time than it takes."""
    try:
        await request.state.rt.run(sleep, request.path_params["seconds"], timeout="100ms")
    except TimeoutError as error:
        return JSONResponse({"error": str(error)}, status_code=504)
    return JSONResponse({"slept": True})


app = Starlette(
    routes=[
        Route("/", index),
        Route("/primes/{below:int}", primes),
        Route("/sleep/{seconds:int}", nap),
    ],
    lifespan=lifespan,
)


async def try_it(client: httpx.AsyncClient) -> None:
    """What `--try` does: requests as from outside, over a real connection."""

    async def show(path: str) -> None:
        answer = await client.get(path)
        body = answer.text if answer.headers["content-type"] == "application/json" else ""
        print(f"GET {path} -> {answer.status_code} {body}".rstrip())

    await show("/")
    async with asyncio.TaskGroup() as group:
        group.create_task(show("/primes/100000"))
        visitors = [group.create_task(client.get("/")) for _ in range(20)]
    answered = sum(visitor.result().status_code == 200 for visitor in visitors)
    print(f"while that was computed, {answered} visitors had their answers")
    await show("/primes/many")
    await show("/sleep/60")
    await show("/")


async def serve_and_try() -> None:
    """Serve on a port that is free, and be the first client."""
    listener = socket.create_server(("127.0.0.1", 0))  # a port that is free; requests wait until it is served
    host, port = listener.getsockname()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve([listener]))
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as client:
            await try_it(client)
        server.should_exit = True
    print("the service has stopped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free (default: 8000)")
    parser.add_argument("--try", dest="try_it", action="store_true", help="ask it a few things, then stop")
    choice = parser.parse_args()
    if choice.try_it:
        asyncio.run(serve_and_try())
    else:
        uvicorn.run(app, port=choice.port)
