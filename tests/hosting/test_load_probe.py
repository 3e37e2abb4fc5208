"""What a look at the machine shows: with counters of our own making, and of the real machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from actorsched._hosting import load_probe, watched
from actorsched._hosting.load_probe import LoadProbe
from actorsched.cgroups import ControlGroups

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from actorsched._core.load import LoadSample

# ------------------------------------------------------------------------------------ a machine of our making


class FakePsutil:
    """A machine of four processors, with as many processes as a test wants."""

    class Error(Exception):
        pass

    class NoSuchProcess(Error):
        pass

    class AccessDenied(Error):
        pass

    def __init__(self) -> None:
        self.idle = [0.0] * 4
        self.processes: dict[int, Any] = {}

    def cpu_times(self, percpu: bool) -> list[SimpleNamespace]:
        assert percpu
        return [SimpleNamespace(idle=idle / 2, iowait=idle / 2, user=0.0) for idle in self.idle]

    def virtual_memory(self) -> SimpleNamespace:
        return SimpleNamespace(available=6000, total=8000)

    def Process(self, pid: int) -> FakeProcess:  # noqa: N802  # its name
        if pid not in self.processes:
            raise self.NoSuchProcess
        return FakeProcess(self, pid)


class FakeProcess:
    def __init__(self, machine: FakePsutil, pid: int) -> None:
        self.machine, self.pid = machine, pid

    def facts(self) -> Any:
        facts = self.machine.processes.get(self.pid)
        if facts is None:
            raise self.machine.NoSuchProcess
        if isinstance(facts, Exception):
            raise facts
        return facts

    @contextmanager
    def oneshot(self) -> Iterator[None]:
        yield

    def create_time(self) -> float:
        return float(self.facts().started)

    def status(self) -> str:
        return str(self.facts().status)

    def cpu_times(self) -> Any:
        return self.facts()

    def memory_info(self) -> Any:
        return self.facts()


def process(cpu: float = 0.0, *, status: str = "sleeping", started: float = 0.0, dead: float = 0.0) -> Any:
    return SimpleNamespace(
        user=cpu, system=0.0, children_user=dead, children_system=0.0, rss=100, status=status, started=started
    )


class Machine:
    """A probe that looks at a machine of our making."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: pathlib.Path) -> None:
        self.psutil = FakePsutil()
        self.now = 100.0
        self.mine = 0.0
        self.kin: dict[int, list[int]] = {}
        self.root = root
        self.affinity = {0, 1, 2, 3}
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: self.affinity, raising=False)
        monkeypatch.setattr(watched, "_children", lambda pid: list(self.kin.get(pid, ())))
        monkeypatch.setattr(watched, "_spent", lambda pid, times: times.user)
        monkeypatch.setattr(load_probe, "_online", lambda count: list(range(count)))
        monkeypatch.setattr(
            load_probe, "time", SimpleNamespace(process_time=lambda: self.mine, time=lambda: self.now)
        )
        self.probe = self.new_probe()

    def new_probe(self) -> LoadProbe:
        probe = LoadProbe(ControlGroups(str(self.root)), clock=lambda: self.now)
        probe._psutil = self.psutil
        return probe

    def group(self, **files: str) -> None:
        """Put the process into a control group of version 2 with these files."""
        texts = {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        }
        texts |= {f"sys/fs/cgroup/{name.replace('_', '.', 1)}": text for name, text in files.items()}
        for path, text in texts.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)
        self.probe = self.new_probe()

    def pass_time(self, seconds: float, busy: tuple[float, ...] = (0, 0, 0, 0), mine: float = 0.0) -> None:
        """Let time pass, in which each processor is busy with such a part of it."""
        self.now += seconds
        self.mine += mine * seconds
        for cpu, part in enumerate(busy):
            self.psutil.idle[cpu] += (1 - part) * seconds

    def look(self, *hosts: int, **more: Any) -> LoadSample:
        return self.probe.sample(hosts, **more)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def test_the_first_look_knows_no_use(machine: Machine) -> None:
    machine.psutil.processes[7] = process(5.0)
    sample = machine.look(7, loop_lag=0.25)
    assert (sample.cores, sample.ours, sample.others, sample.free_cores) == (4.0, None, None, None)
    assert (sample.memory_free, sample.memory_total, sample.loop_lag) == (6000, 8000, 0.25)
    assert sample.when == 100.0
    assert (sample.hosts[7].cpu, sample.rss(7), sample.hosts[7].state) == (None, 100, "running")
    assert sample.rss(8) is None


def test_what_we_did_not_do_was_done_by_others(machine: Machine) -> None:
    machine.psutil.processes |= {7: process(5.0), 8: process(1.0)}
    machine.look(7, own=[8])
    machine.pass_time(0.5, (1.0, 1.0, 0.5, 0.0), mine=0.25)
    machine.psutil.processes |= {7: process(5.5), 8: process(1.125)}
    sample = machine.look(7, own=[8], when=3.0)
    assert sample.hosts[7].cpu == pytest.approx(1.0)
    assert list(sample.hosts) == [7]
    assert sample.ours == pytest.approx(1.5)
    assert sample.others == pytest.approx(1.0)
    assert sample.free_cores == pytest.approx(1.5)
    assert sample.host_cores == pytest.approx(1.0)
    assert sample.when == 3.0


def test_only_the_processors_of_our_affinity_count(machine: Machine) -> None:
    machine.affinity = {1, 3}
    machine.look()
    machine.pass_time(0.5, (1.0, 0.5, 1.0, 0.0))
    sample = machine.look()
    assert (sample.cores, sample.others) == (2.0, pytest.approx(0.5))


def test_where_processors_are_counted_differently_all_of_them_count(machine: Machine) -> None:
    machine.affinity = {17}
    assert machine.look().cores == 4.0


def test_use_is_measured_over_a_tenth_of_a_second_at_least(machine: Machine) -> None:
    machine.look()
    machine.pass_time(0.02)
    assert machine.look().others is None
    machine.pass_time(0.04, (1, 0, 0, 0))
    assert machine.look().others == pytest.approx(0.04 / 0.06)
    machine.pass_time(0.04, (1, 0, 0, 0))
    assert machine.look().others == pytest.approx(0.8)
    machine.pass_time(0.04, (1, 0, 0, 0))
    assert machine.look().others == pytest.approx(1.0)


def test_what_is_long_past_says_nothing_about_now(machine: Machine) -> None:
    machine.look()
    machine.pass_time(60, (1, 1, 1, 1))
    assert machine.look().others is None
    machine.pass_time(0.5)
    assert machine.look().others == 0.0
    assert len(machine.probe._marks) == 2


def test_a_host_that_was_started_since_the_last_look_has_used_what_it_has(machine: Machine) -> None:
    machine.look()
    machine.pass_time(0.2, (0.5, 0, 0, 0))
    machine.psutil.processes |= {7: process(0.1, started=machine.now - 0.1), 8: process(9.0)}
    sample = machine.look(7, 8)
    assert sample.hosts[7].cpu == pytest.approx(0.5)
    assert sample.hosts[8].cpu is None
    assert sample.others == pytest.approx(0.0)


def test_what_a_host_starts_is_its_own_and_does_not_jump_when_it_ends(machine: Machine) -> None:
    machine.psutil.processes |= {7: process(1.0), 71: process(2.0), 72: process(3.0)}
    machine.kin = {7: [71], 71: [72]}
    machine.look(7)
    machine.pass_time(0.5, (1, 1, 0, 0))
    machine.psutil.processes |= {71: process(2.5), 72: process(3.5)}
    sample = machine.look(7)
    assert sample.hosts[7].cpu == pytest.approx(2.0)
    assert sample.others == pytest.approx(0.0)
    machine.pass_time(0.5)
    machine.kin = {}
    machine.psutil.processes[7] = process(1.0, dead=6.0)
    assert machine.look(7).hosts[7].cpu == pytest.approx(0.0)


def test_of_a_large_family_only_so_many_are_looked_at(machine: Machine) -> None:
    machine.psutil.processes |= {pid: process(1.0) for pid in range(7, 200)}
    machine.kin = {pid: [pid + 1] for pid in range(7, 190)}
    machine.look(7)
    machine.pass_time(0.5)
    assert machine.look(7).hosts[7].cpu == 0.0


def test_the_spawner_does_not_count_for_those_that_it_starts(machine: Machine) -> None:
    machine.psutil.processes |= {7: process(1.0), 8: process(1.0)}
    machine.kin = {8: [7]}
    machine.look(7, own=[8])
    machine.pass_time(0.5, (1, 0, 0, 0))
    machine.psutil.processes |= {7: process(1.5), 8: process(1.0, dead=44.0)}
    assert machine.look(7, own=[8]).ours == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("status", "state", "rss"),
    [
        ("running", "running", 100),
        ("disk-sleep", "running", 100),
        ("stopped", "stopped", 100),
        ("tracing-stop", "traced", 100),
        ("zombie", "gone", None),
        ("dead", "gone", None),
    ],
)
def test_the_state_of_a_host_is_told_in_our_words(
    machine: Machine, status: str, state: str, rss: int | None
) -> None:
    machine.psutil.processes[7] = process(status=status)
    host = machine.look(7).hosts[7]
    assert (host.state, host.rss) == (state, rss)


def test_those_of_a_family_that_vanish_or_hide_are_passed_over(machine: Machine) -> None:
    machine.psutil.processes |= {7: process(1.0), 72: FakePsutil.AccessDenied()}
    machine.kin = {7: [71, 72]}
    machine.look(7)
    machine.pass_time(0.5)
    machine.psutil.processes[7] = process(1.5)
    assert machine.look(7).hosts[7].cpu == pytest.approx(1.0)


def test_where_no_clock_tells_the_time_of_a_process_psutil_does() -> None:
    nobody = 2**22  # the system gives no number so high
    assert watched._spent(nobody, process(2.5)) == 2.5
    assert watched._spent(os.getpid(), process(2.5)) == pytest.approx(time.process_time(), abs=1.0)
    assert watched._children(nobody) == []
    assert repr(watched.Watched(FakePsutil(), nobody, family=False)) == "<Watched process 4194304, gone>"


def test_a_host_that_vanishes_is_gone_and_one_that_hides_is_unknown(machine: Machine) -> None:
    machine.psutil.processes |= {7: process(1.0), 8: process(1.0), 9: FakePsutil.AccessDenied()}
    machine.look(6, 7, 8, 9)
    machine.pass_time(0.5)
    del machine.psutil.processes[7]
    machine.psutil.processes[8] = FakePsutil.AccessDenied()
    hosts = machine.look(6, 7, 8, 9).hosts
    assert {pid: host.state for pid, host in hosts.items()} == {
        6: "gone",
        7: "gone",
        8: "unknown",
        9: "unknown",
    }
    assert all(host.cpu is None and host.rss is None for host in hosts.values())


# ------------------------------------------------------------------------------------------------ with limits


def test_a_quota_leaves_so_many_cores(machine: Machine) -> None:
    machine.group(cpu_max="150000 100000")
    assert machine.look().cores == 1.5
    machine.group(cpu_max="900000 100000")
    assert machine.look().cores == 4.0


@pytest.mark.parametrize(
    ("busy", "group", "others"),
    [
        ((1, 1, 0, 0), 0.0, 0.0),
        ((1, 1, 1, 0), 0.0, 0.5),
        ((1, 1, 1, 1), 0.0, 1.5),
        ((1, 1, 0, 0), 1.0, 1.0),
        ((1, 1, 1, 0), 0.25, 0.5),
    ],
)
def test_others_outside_our_group_may_use_what_our_quota_leaves(
    machine: Machine, busy: tuple[float, ...], group: float, others: float
) -> None:
    machine.group(cpu_max="150000 100000", cpu_stat="usage_usec 0\n")
    machine.look()
    machine.pass_time(0.5, busy)
    usage = machine.root / "sys/fs/cgroup/cpu.stat"
    usage.write_text(f"usage_usec {group * 500_000:.0f}\n")
    assert machine.look().others == pytest.approx(others)


def test_the_tightest_limit_of_memory_counts(machine: Machine) -> None:
    machine.group(memory_max="5000", memory_current="1000", memory_stat="inactive_file 500\n")
    sample = machine.look()
    assert (sample.memory_free, sample.memory_total) == (4500, 5000)
    machine.group(memory_max="50000", memory_current="1000", memory_stat="inactive_file 500\n")
    sample = machine.look()
    assert (sample.memory_free, sample.memory_total) == (6000, 8000)


def test_limits_that_change_are_noticed_after_a_while(machine: Machine) -> None:
    machine.group(cpu_max="150000 100000")
    machine.look()
    (machine.root / "sys/fs/cgroup/cpu.max").write_text("max 100000")
    machine.pass_time(0.5)
    assert machine.look().cores == 1.5
    machine.pass_time(0.6)
    assert machine.look().cores == 4.0


# ------------------------------------------------------------------------------------------- the real machine


@contextmanager
def running(source: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that runs some Python, until the end of the block."""
    child = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            yield child
            child.kill()
    finally:
        child.kill()


BUSY = "print('ready', flush=True)\nwhile True: pass"
CALM = "print('ready', flush=True); input()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"


def until(
    met: Callable[[LoadSample], object], probe: LoadProbe, *hosts: int, seconds: float = 15.0
) -> LoadSample:
    """Look again and again, until the looks show what is expected."""
    give_up = time.monotonic() + seconds
    sample = probe.sample(hosts)
    while not met(sample):
        assert time.monotonic() < give_up, sample
        time.sleep(0.02)
        sample = probe.sample(hosts)
    return sample


@pytest.mark.process
def test_a_busy_process_is_another_s_or_ours_if_we_say_so() -> None:
    probe = LoadProbe()
    with running(BUSY) as child:
        until(lambda sample: (sample.others or 0) > 0.3, probe)
        sample = until(lambda sample: (sample.hosts[child.pid].cpu or 0) > 0.3, probe, child.pid)
    assert sample.ours is not None
    assert sample.ours >= sample.host_cores > 0.3
    assert sample.hosts[child.pid].state == "running"
    assert (sample.hosts[child.pid].rss or 0) > 1_000_000


@pytest.mark.process
def test_what_a_host_runs_counts_as_its_own() -> None:
    probe = LoadProbe()
    with running(PARENT) as child:
        (busy,) = watched._children(child.pid)
        until(lambda sample: (sample.hosts[child.pid].cpu or 0) > 0.3, probe, child.pid)
        os.kill(busy, signal.SIGKILL)
        child.wait()


@pytest.mark.process
def test_a_stopped_process_is_seen_as_such_and_an_ended_one_is_gone() -> None:
    probe = LoadProbe()
    with running(CALM) as child:

        def state(sample: LoadSample) -> str:
            return sample.hosts[child.pid].state

        until(lambda sample: state(sample) == "running", probe, child.pid)
        child.send_signal(signal.SIGSTOP)
        until(lambda sample: state(sample) == "stopped", probe, child.pid)
        child.send_signal(signal.SIGCONT)
        until(lambda sample: state(sample) == "running", probe, child.pid)
        child.kill()
        until(lambda sample: state(sample) == "gone", probe, child.pid)
        child.wait()
        assert state(probe.sample([child.pid])) == "gone"


@pytest.mark.process
def test_the_real_machine_makes_sense() -> None:
    probe = LoadProbe()
    probe.prepare()
    sample = until(lambda sample: sample.others is not None, probe)
    assert 0 < sample.cores <= (os.cpu_count() or 1)
    assert sample.others is not None
    assert sample.ours is not None
    assert 0 <= sample.others <= sample.cores + 0.01
    assert sample.memory_free is not None
    assert sample.memory_total is not None
    assert 0 < sample.memory_free <= sample.memory_total
    assert repr(probe).startswith("<LoadProbe of 0 processes")


def test_processors_have_the_numbers_that_the_system_gives_them() -> None:
    count = os.cpu_count() or 1
    assert len(load_probe._online(count)) == count
    assert load_probe._online(4711) == list(range(4711))
