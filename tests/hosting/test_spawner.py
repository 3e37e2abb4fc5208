"""The process that hosts are forked from: what it gives them, and what happens when it, they or we die."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorsched._hosting import endings, handover, spawner
from actorsched._hosting.spawner import Spawner
from actorsched._kernel.choose import running_backend
from actorsched.exceptions import HostDied
from tests.hosting import work
from tests.hosting.harness import PATIENCE, Host
from tests.hosting.test_survival import alive, gone_within

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def nest(**options: Any) -> AsyncGenerator[Nest]:
    """A spawner for the length of a test, and the hosts that came from it."""
    here = Nest(Spawner(running_backend(), **options))
    try:
        yield here
    finally:
        with anyio.CancelScope(shield=True):
            if here.spawner.pid:
                os.kill(here.spawner.pid, signal.SIGCONT)
            for host in here.hosts:
                host.link.kill()
            for host in here.hosts:
                await host.ended()
            here.spawner.close()


class Nest:
    """A spawner and its hosts."""

    def __init__(self, spawner: Spawner) -> None:
        self.spawner = spawner
        self.hosts: list[Host] = []

    def host(self, kind: Any = "tasks", **options: Any) -> Host:
        """Start one more."""
        host = Host(kind, self.spawner, **options)
        self.hosts.append(host)
        return host

    async def warm(self) -> Host:
        """Start one, and wait until it runs."""
        host = self.host()
        await host.run(work.nothing)
        return host


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.001)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# ------------------------------------------------------------------------------------------- what hosts get


async def test_all_hosts_are_children_of_one_process_that_has_one_thread() -> None:
    async with nest() as here:
        for kind in ("tasks", "actors", "tasks"):
            host = here.host(kind)
            await host.until(lambda host=host: host.link.ready)  # type: ignore[misc]
            assert parent_of(host.link.pid) == here.spawner.pid
            assert os.listdir(f"/proc/{here.spawner.pid}/task") == [str(here.spawner.pid)]
        assert os.getpgid(here.spawner.pid) == here.spawner.pid != os.getpgrp()


async def test_what_is_imported_ahead_starts_no_thread_and_no_loop() -> None:
    async with nest() as here:
        await here.warm()
        library = {"uvloop": "uvloop", "trio": "trio"}.get(
            spawner.backend_name(here.spawner.backend), "asyncio"
        )

        async def preloaded() -> bool:
            modules = set((await here.host().run(work.state_of_the_process))["modules"])
            return {library, "cloudpickle", "actorsched._hosting.child_actors"} <= modules

        with anyio.fail_after(PATIENCE):
            while not await preloaded():
                await anyio.sleep(0.05)
        assert os.listdir(f"/proc/{here.spawner.pid}/task") == [str(here.spawner.pid)]
        kinds = [str(Path(f"/proc/{here.spawner.pid}/fd/{n}").readlink()) for n in range(3)]
        assert set(kinds) == {os.devnull}
        assert not any("eventpoll" in target for target in descriptors_of(here.spawner.pid))


def descriptors_of(pid: int) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


async def test_a_host_keeps_nothing_that_is_the_spawners() -> None:
    async with nest() as here:
        first = await here.warm()
        counts = {await first.run(work.state_of_the_process) and len(descriptors_of(first.link.pid))}
        for _ in range(3):
            host = await here.warm()
            counts.add(len(descriptors_of(host.link.pid)))
        assert len(counts) == 1
        host = await here.warm()
        theirs = {target for target in descriptors_of(here.spawner.pid) if "socket" in target}
        assert theirs
        assert not theirs & set(descriptors_of(host.link.pid))


async def test_the_environment_of_a_host_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    def environment() -> dict[str, str]:
        return dict(os.environ)

    monkeypatch.setenv("SPAWNER_CHANGED", "before")
    monkeypatch.setenv("SPAWNER_REMOVED", "before")
    async with nest() as here:
        await here.warm()
        monkeypatch.setenv("SPAWNER_CHANGED", "after")
        monkeypatch.setenv("SPAWNER_ADDED", "ä=b")
        monkeypatch.delenv("SPAWNER_REMOVED")
        assert await here.host().run(environment) == dict(os.environ)


async def test_directory_processors_and_path_are_those_of_the_moment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def place() -> tuple[str, set[int], list[str]]:
        return str(Path.cwd()), os.sched_getaffinity(0), sys.path

    async with nest() as here:
        await here.warm()
        allowed = os.sched_getaffinity(0)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend("here")
        os.sched_setaffinity(0, {min(allowed)})
        try:
            host = here.host()
        finally:
            os.sched_setaffinity(0, allowed)
        directory, processors, path = await host.run(place)
        assert (directory, processors, path[0]) == (str(tmp_path), {min(allowed)}, f"{tmp_path}/here")


async def test_a_host_starts_where_its_directory_has_been_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    async with nest() as here:
        await here.warm()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert await here.host().run(work.same, 1) == 1


async def test_what_a_host_prints_goes_where_output_goes_now(capfd: pytest.CaptureFixture[str]) -> None:
    def speak() -> None:
        print("out", flush=True)
        print("err", file=sys.stderr, flush=True)

    async with nest() as here:
        with capfd.disabled():
            await here.warm()
        await here.host().run(speak)
        assert capfd.readouterr() == ("out\n", "err\n")


async def test_hosts_do_not_draw_the_same_random_numbers() -> None:
    def draw() -> float:
        import random

        return random.random()

    async with nest() as here:
        await here.warm()
        assert len({await here.host().run(draw) for _ in range(4)}) == 4


def test_hosts_work_where_output_is_closed() -> None:
    program = (
        "import asyncio\n"
        "from tests.hosting.harness import Host\n"
        "from tests.hosting import work\n"
        "async def main():\n"
        "    for _ in range(2):\n"
        "        host = Host()\n"
        "        await host.run(print, 'lost')\n"
        "        assert await host.run(work.same, 5) == 5\n"
        "        host.link.stop()\n"
        "        assert (await host.ended()).cause == 'stopped'\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, program], cwd=ROOT, check=False
    )
    assert done.returncode == 0


# ------------------------------------------------------------------------------------- before there is a pid


async def test_a_host_that_is_killed_before_it_is_there_never_runs(tmp_path: Path) -> None:
    async with nest() as here:
        host = here.host()
        assert host.link.pid == 0
        assert "no process yet" in repr(host.link)
        host.start(work.write_and_return, str(tmp_path / "log"), 1)
        host.link.kill()
        end = await host.ended()
        assert (end.cause, end.signal) == ("never started", signal.SIGKILL)
        assert not (tmp_path / "log").exists()


async def test_nobody_waits_for_a_spawner_that_gets_ready_for_killed_hosts_only() -> None:
    async with nest(start_timeout=3600.0) as here:
        first, second = here.host(start_timeout=3600.0), here.host(start_timeout=3600.0)
        os.kill(here.spawner.pid, signal.SIGSTOP)
        first.link.kill()
        assert here.spawner.pid
        second.link.kill()
        assert [(await host.ended()).signal for host in (first, second)] == [signal.SIGKILL] * 2
        assert not here.spawner.pid
        assert await here.host().run(work.same, 1) == 1


async def test_a_host_that_is_suspended_before_it_is_there_stops_as_soon_as_it_is() -> None:
    async with nest() as here:
        host = here.host()
        host.link.suspend()
        number = host.start(work.same, 5)
        await until(lambda: host.link.pid and state(host.link.pid) == "T")
        host.link.resume()
        assert await host.result(number) == 5
        other = here.host()
        other.link.suspend()
        other.link.resume()
        assert await other.run(work.same, 6) == 6


# ------------------------------------------------------------------------------------------ how hosts end


async def test_the_status_of_a_host_is_told_and_no_zombie_is_left() -> None:
    async with nest() as here:
        exited, killed = await here.warm(), await here.warm()
        with pytest.raises(HostDied, match="code 3"):
            await exited.run(work.exit_hard, 3)
        os.kill(killed.link.pid, signal.SIGKILL)
        assert (await killed.ended()).signal == signal.SIGKILL
        pids = [exited.link.pid, killed.link.pid]
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


async def test_hosts_outlive_their_spawner(monkeypatch: pytest.MonkeyPatch) -> None:
    async with nest() as here:
        host, other = await here.warm(), await here.warm()
        first = here.spawner.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: here.spawner.pid != first)
        assert await host.run(work.same, 1) == 1
        os.kill(host.link.pid, signal.SIGKILL)
        end = await host.ended()
        assert (end.exit_code, end.signal) == (None, None)
        assert "status is unknown because its spawner had died" in end.detail
        other.link.stop()
        assert (await other.ended()).cause == "stopped"
        new = await here.warm()
        assert parent_of(new.link.pid) == here.spawner.pid != first


async def test_without_process_descriptors_the_system_is_asked_about_orphans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.setattr(endings, "_LOOK", 0.001)
    async with nest() as here:
        host = await here.warm()
        os.kill(here.spawner.pid, signal.SIGKILL)
        await until(lambda: not here.spawner.pid)
        assert await host.run(work.same, 1) == 1
        with pytest.raises(HostDied, match="unknown"):
            await host.run(work.exit_hard, 3)


async def test_the_ends_of_orphans_are_noticed_though_no_descriptor_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(endings, "_LOOK", 0.001)
    async with nest() as here:
        hosts = [await here.warm() for _ in range(4)]
        with full_table():
            os.kill(here.spawner.pid, signal.SIGKILL)
            await until(lambda: not here.spawner.pid)
            for host in hosts:
                assert await host.run(work.same, 1) == 1
            for host in hosts:
                os.kill(host.link.pid, signal.SIGKILL)
            ends = [await host.ended() for host in hosts]
        assert [end.cause for end in ends] == ["exited"] * 4


@contextmanager
def full_table() -> Generator[None]:
    """No descriptor is free in this process, also when one is closed that was there before."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_requests_are_made_again_when_the_spawner_dies() -> None:
    async with nest() as here:
        await here.warm()
        os.kill(here.spawner.pid, signal.SIGSTOP)
        hosts = [here.host() for _ in range(20)]
        os.kill(here.spawner.pid, signal.SIGKILL)
        assert [await host.run(work.same, n) for n, host in enumerate(hosts)] == list(range(20))


async def test_a_spawner_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawner, "_PATIENCE", 0.1)
    async with nest() as here:
        dying, living = await here.warm(), await here.warm()
        deaf = here.spawner.pid
        os.kill(deaf, signal.SIGSTOP)
        host = here.host()
        assert await host.run(work.same, 1) == 1
        assert here.spawner.pid != deaf
        assert not alive(deaf)
        dying.link.kill()
        assert "unknown" in (await dying.ended()).detail
        assert await living.run(work.same, 2) == 2


async def test_the_end_of_a_host_is_noticed_though_the_spawner_tells_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spawner, "_PATIENCE", 0.1)
    async with nest() as here:
        host = await here.warm()
        os.kill(here.spawner.pid, signal.SIGSTOP)
        os.kill(host.link.pid, signal.SIGKILL)
        assert "unknown" in (await host.ended()).detail


@pytest.mark.parametrize("number", [0, signal.SIGSTOP], ids=["", "stopped"])
def test_spawner_and_hosts_die_with_their_parent(number: int) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from tests.hosting.harness import Host\n"
        "from tests.hosting import work\n"
        "async def main():\n"
        "    host = Host()\n"
        "    await host.run(work.nothing)\n"
        f"    os.kill(host.spawner.pid, {number})\n"
        "    print(host.spawner.pid, host.link.pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        parent.kill()
        assert gone_within(2.0, pids) == []


async def test_many_hosts_leave_nothing_in_either_process() -> None:
    async with nest() as here:
        await here.warm()
        await anyio.sleep(0)
        before = len(os.listdir("/proc/self/fd")), len(descriptors_of(here.spawner.pid))
        for _ in range(3):
            hosts = [here.host() for _ in range(5)]
            for host in hosts:
                host.link.stop()
            for host in hosts:
                assert (await host.ended()).cause == "stopped"
        children = Path(f"/proc/{here.spawner.pid}/task/{here.spawner.pid}/children")
        await until(lambda: len(children.read_text().split()) == 1)
        assert (len(os.listdir("/proc/self/fd")), len(descriptors_of(here.spawner.pid))) == before


# ------------------------------------------------------------------------------------------- what may fail


@pytest.fixture
def limits() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("limits")
async def test_without_descriptors_a_host_is_refused_here() -> None:
    async with nest() as here:
        await here.warm()
        taken = set(map(int, os.listdir("/proc/self/fd")))
        limit = next(n for n in range(10_000) if len(set(range(n)) - taken) == 3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        with pytest.raises(OSError, match="Too many open files") as caught:
            here.host()
        assert caught.value.errno == errno.EMFILE


async def test_without_descriptors_in_the_spawner_a_host_never_starts_and_the_next_one_does() -> None:
    async with nest() as here:
        await here.warm()
        before = resource.prlimit(here.spawner.pid, resource.RLIMIT_NOFILE)
        used = len(descriptors_of(here.spawner.pid))
        resource.prlimit(here.spawner.pid, resource.RLIMIT_NOFILE, (used + 3, before[1]))
        end = await here.host().ended()
        assert (end.cause, end.pid, end.exit_code) == ("never started", 0, None)
        assert "no descriptors free" in end.detail
        assert len(descriptors_of(here.spawner.pid)) == used
        resource.prlimit(here.spawner.pid, resource.RLIMIT_NOFILE, before)
        assert await here.host().run(work.same, 1) == 1


async def test_a_system_that_does_not_fork_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hook = "import os\ndef fork():\n    raise BlockingIOError(11, 'no more processes')\nos.fork = fork\n"
    real = handover.command

    def command(*descriptors: int) -> list[str]:
        told = real(*descriptors)
        return [part if part[:1] != "\n" else hook + part for part in told]

    monkeypatch.setattr(spawner, "command", command)
    async with nest() as here:
        end = await here.host().ended()
        assert end.cause == "never started"
        assert "would not fork: [Errno 11] no more processes" in end.detail
        assert str(end.error("task 'x'")).startswith(
            "task 'x' was lost: its host process could not be started"
        )


async def test_a_spawner_in_which_a_start_hook_has_started_a_thread_is_not_forked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hook = "import _thread, time\n_thread.start_new_thread(time.sleep, (3600.0,))\n"
    (tmp_path / "sitecustomize.py").write_text(hook)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(handover, "_site_matters", lambda: True)
    async with nest() as here:
        end = await here.host().ended()
        assert end.cause == "never started"
        assert "a process with threads cannot be forked" in end.detail


async def test_a_spawner_that_cannot_be_started_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with nest() as here:
        with pytest.raises(OSError, match="nowhere"):
            here.host()


async def test_a_spawner_that_cannot_be_started_again_ends_the_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with nest() as here:
        await here.warm()
        os.kill(here.spawner.pid, signal.SIGSTOP)
        host = here.host()
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        os.kill(here.spawner.pid, signal.SIGKILL)
        end = await host.ended()
        assert end.cause == "never started"
        assert "nowhere" in end.detail


async def test_a_spawner_that_does_not_get_ready_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 100\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    async with nest(start_timeout=0.05) as here:
        end = await here.host().ended()
        assert end.cause == "never started"
        assert "not ready within 0.05 s" in end.detail
        assert not here.spawner.pid


async def test_a_request_that_is_too_much_for_three_spawners_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = handover.command
    deadly = "import os, signal\ndef fork():\n    os.kill(os.getpid(), signal.SIGKILL)\nos.fork = fork\n"

    def command(*descriptors: int) -> list[str]:
        return [part if part[:1] != "\n" else deadly + part for part in real(*descriptors)]

    monkeypatch.setattr(spawner, "command", command)
    async with nest() as here:
        end = await here.host().ended()
        assert end.cause == "never started"
        assert "spawner has ended" in end.detail


async def test_closing_ends_the_spawner_and_lets_hosts_live() -> None:
    async with nest() as here:
        host = await here.warm()
        pid = here.spawner.pid
        asked = here.host()
        here.spawner.close()
        assert not alive(pid)
        assert (await asked.ended()).cause == "never started" or asked.link.pid
        assert await host.run(work.same, 1) == 1
        assert "not started" in repr(here.spawner)
