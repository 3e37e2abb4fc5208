"""The benchmarks measure what they say, on small sizes. No test here knows a time: slow is no defect."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks import _report
from benchmarks.__main__ import main
from benchmarks._catalogue import FIGURES, chosen
from benchmarks._figure import LOOPS, Comparison, Figure, LoopName
from benchmarks._measure import compare, run_on, running_loop
from benchmarks._sampler import Sampler
from benchmarks.dag import UPSTREAM, WIDTH, Counters, layered

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("warm_backends")
WITH_PROCESSES = {
    *("host_throughput", "host_latency", "array_100mb", "first_result", "first_result_imported"),
    *("host_throughput_others", "host_latency_others", "array_100mb_others"),
    *("host_preemption", "host_preemption_stop"),
    *("host_start", "host_recovery", "host_recovery_alone", "host_memory_tasks", "host_memory_actors"),
    *(name for name in FIGURES if name.startswith("frontend_")),
}
IN_THE_LOOP = sorted(set(FIGURES) - WITH_PROCESSES)
TINY = {
    "dag": 2 * WIDTH,
    "dag_arguments": 2 * WIDTH,
    "first_result": 1,
    "first_result_imported": 1,
    "array_100mb": 1,
    "array_100mb_others": 1,
    "host_preemption": 2,
    "host_preemption_stop": 2,
    "host_start": 2,
    "host_recovery": 2,
    "host_recovery_alone": 2,
    "host_memory_tasks": 1,
    "host_memory_actors": 1,
    "simulated_hour": 2,
    "simulated_seed": 3,
}


def measured(name: str, loop: LoopName) -> Comparison:
    return run_on(loop, partial(compare, FIGURES[name], loop, size=TINY.get(name, 20), rounds=2))


def checked(comparison: Comparison) -> None:
    row = comparison.as_row()
    assert row["rounds"] == 2
    assert all(math.isfinite(cost) and cost >= 0 for cost in comparison.floor + comparison.ours)
    assert min(comparison.ratios) <= comparison.as_row()["ratio"] <= max(comparison.ratios)  # type: ignore[operator]
    assert str(row["name"]) in _report.line(row)


def rated(ours: float, *, judged: str = "rate", loop: LoopName = "uvloop") -> str:
    figure = Figure(
        name="example",
        what="an example",
        judged=judged,  # type: ignore[arg-type]
        unit="/s",
        must=0.5 if judged == "rate" else 2.0,
        aim=1.0,
        floor=FIGURES["tell"].floor,
        ours=FIGURES["tell"].ours,
        trio_floor=None,
        size=1,
        quick_size=1,
    )
    return str(Comparison(figure, loop, (1.0, 1.0, 1.0), (ours, ours, ours)).as_row()["verdict"])


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_is_what_its_name_says(loop: LoopName) -> None:
    async def name() -> str:
        return running_loop()

    assert run_on(loop, name) == loop


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", [name for name in IN_THE_LOOP if name != "idle_actor_rss"])
def test_a_figure_compares_both_sides_in_one_loop(name: str, loop: LoopName) -> None:
    checked(measured(name, loop))


def test_the_growth_of_the_process_is_an_amount() -> None:
    checked(measured("idle_actor_rss", "asyncio"))


@pytest.mark.process
@pytest.mark.parametrize("name", sorted(WITH_PROCESSES))
def test_a_figure_compares_hosts_with_bare_child_processes(name: str) -> None:
    checked(measured(name, "asyncio"))


def test_a_figure_without_a_floor_on_a_loop_refuses_it() -> None:
    with pytest.raises(ValueError, match="host_throughput has no floor on trio"):
        measured("host_throughput", "trio")


def test_a_rate_is_better_when_it_is_higher() -> None:
    assert [rated(cost) for cost in (0.5, 1.0, 1.9, 2.1)] == ["aim", "aim", "must", "below"]


def test_a_time_is_better_when_it_is_lower() -> None:
    assert [rated(cost, judged="time") for cost in (0.5, 1.0, 1.9, 2.1)] == ["aim", "aim", "must", "below"]


def test_an_excess_is_a_difference_in_the_unit_of_its_figure() -> None:
    row = Comparison(FIGURES["urgent_start"], "uvloop", (1e-6, 2e-6), (51e-6, 52e-6)).as_row()
    assert (row["ratio"], row["verdict"]) == (pytest.approx(50.0), "must")


def test_ratios_on_trio_only_inform() -> None:
    assert rated(100.0, loop="trio") == "info"


def test_names_select_figures_and_modules_select_all_of_theirs() -> None:
    assert [figure.name for figure in chosen(["dag_arguments"])] == ["dag_arguments"]
    assert [figure.name for figure in chosen(["dag"])] == ["dag", "dag_arguments"]
    assert len(chosen([])) == len(FIGURES)


def test_the_command_refuses_an_unknown_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "tel"]) == 2
    assert "no figure is called 'tel'" in capsys.readouterr().err


def test_the_command_prints_a_table_and_writes_the_same_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    options = ["--only", "ask", "--loop", "asyncio", "--quick", "--here", "--rounds", "1"]
    assert main([*options, "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert (row["name"], row["loop"], row["must"], row["aim"]) == ("ask", "asyncio", 1.5, 1.1)
    assert _report.line(row) in capsys.readouterr().out


def test_the_graph_never_looks_ahead_and_every_counter_runs_out() -> None:
    graph = layered(3 * WIDTH)
    assert all(len(set(upstream)) == UPSTREAM for upstream in graph[WIDTH:])
    counters = Counters(graph)
    ready = counters.first()
    assert len(ready) == WIDTH
    for number in ready:
        assert all(before in ready[: ready.index(number)] for before in graph[number])
        counters.finished(number, ready.append)
    assert (counters.unfinished, len(ready)) == (0, len(graph))


def test_the_sampler_names_the_function_that_uses_the_processor() -> None:
    def spin() -> int:
        return sum(1 for _ in range(200_000))

    sampler = Sampler()
    sampler.start()
    try:
        while not sampler.samples:
            spin()
    finally:
        profile = sampler.stop()
    assert any("spin" in name for name in profile.anywhere)
    assert "samples" in profile.lines()[0]
