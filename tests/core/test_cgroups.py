"""What control groups leave a process, read from trees of files like those of Linux."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from actorsched import cgroups
from actorsched.cgroups import ControlGroups
from actorsched.specifications import Hosts, usable_cpus

if TYPE_CHECKING:
    import pathlib

UNIFIED = "30 20 0:26 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
SEPARATE = (
    "29 22 0:26 / /proc rw - proc proc rw\n"
    "31 22 0:27 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 22 0:28 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 22 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)


def tree(
    root: pathlib.Path, *, member: str, mounts: str, top: str = "/", files: dict[str, str]
) -> ControlGroups:
    """Control groups as files say them; those below /sys/fs/cgroup are named from there."""
    texts = {"proc/self/cgroup": member, "proc/self/mountinfo": mounts.format(top=top)}
    texts |= {f"sys/fs/cgroup/{path}": text for path, text in files.items()}
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return ControlGroups(str(root))


def unified(root: pathlib.Path, member: str, files: dict[str, str], top: str = "/") -> ControlGroups:
    return tree(root, member=f"0::{member}\n", mounts=UNIFIED, top=top, files=files)


def separate(root: pathlib.Path, member: str, files: dict[str, str], top: str = "/") -> ControlGroups:
    text = f"7:memory:{member}\n4:cpu,cpuacct:{member}\n1:name=systemd:/\n0::/\n"
    return tree(root, member=text, mounts=SEPARATE, top=top, files=files)


def cores(groups: ControlGroups) -> float | None:
    quota = groups.quota()
    return None if quota is None else quota.cores


# ----------------------------------------------------------------------------------------------------- quotas


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a/cpu.max": "150000 100000\n"}, 1.5),
        ({"a/cpu.max": "max 100000\n"}, None),
        ({}, None),
        ({"a/cpu.max": "max 100000\n", "cpu.max": "50000 100000\n"}, 0.5),
        ({"a/cpu.max": "300000 100000\n", "cpu.max": "200000 100000\n"}, 2.0),
        ({"a/cpu.max": "100000 100000\n", "cpu.max": "200000 100000\n"}, 1.0),
        ({"b/cpu.max": "10000 100000\n"}, None),
        ({"a/cpu.max": "nonsense\n"}, None),
        ({"a/cpu.max": ""}, None),
        ({"a/cpu.max": "0 0\n"}, None),
    ],
)
def test_the_tightest_quota_of_version_2_counts(
    tmp_path: pathlib.Path, files: dict[str, str], expected: float | None
) -> None:
    assert cores(unified(tmp_path, "/a", files)) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("250000", "100000", 2.5), ("-1", "100000", None), ("10000", "50000", 0.2)],
)
def test_version_1_keeps_quota_and_period_apart(
    tmp_path: pathlib.Path, quota: str, period: str, expected: float | None
) -> None:
    folder = "cpu,cpuacct/a/b"
    files = {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}
    assert cores(separate(tmp_path, "/a/b", files)) == expected


def test_a_quota_far_up_binds_what_is_nested_deep(tmp_path: pathlib.Path) -> None:
    files = {"cpu.max": "max 100000", "kube/cpu.max": "70000 100000", "kube/pod/one/cpu.max": "max 100000"}
    assert cores(unified(tmp_path, "/kube/pod/one", files)) == 0.7


def test_in_a_container_that_sees_the_names_of_outside_its_own_group_is_the_mounted_one(
    tmp_path: pathlib.Path,
) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}
    assert cores(separate(tmp_path, "/docker/4711", files, top="/docker/4711")) == 1.0


def test_a_group_below_the_mounted_one_is_found_there(tmp_path: pathlib.Path) -> None:
    groups = unified(tmp_path, "/docker/4711/inner", {"inner/cpu.max": "20000 100000"}, top="/docker/4711")
    assert cores(groups) == 0.2


@pytest.mark.parametrize("member", ["/../../elsewhere", "/docker/47110"])
def test_for_a_group_that_is_not_visible_the_mounted_one_counts(tmp_path: pathlib.Path, member: str) -> None:
    files = {"cpu.max": "90000 100000", "0/cpu.max": "10000 100000"}
    assert cores(unified(tmp_path, member, files, top="/docker/4711")) == 0.9
    assert cores(unified(tmp_path, "/../elsewhere", files)) == 0.9


@pytest.mark.parametrize(("cores", "cpus"), [(0.1, 1), (1.0, 1), (1.01, 2), (3.5, 4)])
def test_a_part_of_a_processor_is_worth_a_whole_one(cores: float, cpus: int) -> None:
    assert cgroups.Quota(cores, "nowhere").cpus == cpus


def test_what_the_group_has_used_is_told_in_seconds(tmp_path: pathlib.Path) -> None:
    second = unified(
        tmp_path / "2", "/a", {"a/cpu.max": "1 1", "a/cpu.stat": "nr 1\nusage_usec 2500000\nuser_usec 1\n"}
    ).quota()
    folder = "cpu,cpuacct/a"
    first = separate(
        tmp_path / "1",
        "/a",
        {
            f"{folder}/cpu.cfs_quota_us": "1",
            f"{folder}/cpu.cfs_period_us": "1",
            f"{folder}/cpuacct.usage": "1500000000\n",
        },
    ).quota()
    assert second is not None
    assert second.used() == 2.5
    assert first is not None
    assert first.used() == 1.5
    assert cgroups.Quota(1, "nowhere").used() is None


# ----------------------------------------------------------------------------------------------------- memory


def test_every_limit_of_memory_on_the_way_up_is_told(tmp_path: pathlib.Path) -> None:
    files = {
        "a/b/memory.max": "1000\n",
        "a/b/memory.current": "700\n",
        "a/b/memory.stat": "anon 500\ninactive_file 200\n",
        "a/memory.max": "max\n",
        "memory.max": "5000\n",
    }
    inner, outer = unified(tmp_path, "/a/b", files).memory_limits()
    assert (inner.size, inner.free()) == (1000, 500)
    assert (outer.size, outer.free()) == (5000, None)


def test_where_memory_is_throttled_is_a_limit_too(tmp_path: pathlib.Path) -> None:
    files = {"a/memory.max": "1000\n", "a/memory.high": "800\n", "a/memory.current": "900\n"}
    (limit,) = unified(tmp_path, "/a", files).memory_limits()
    assert (limit.size, limit.free()) == (800, 0)


def test_version_1_has_other_names_and_a_large_number_for_no_limit(tmp_path: pathlib.Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/a/memory.limit_in_bytes": "4096\n",
        "memory/a/memory.usage_in_bytes": "4000\n",
        "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 904\n",
    }
    (limit,) = separate(tmp_path, "/a", files).memory_limits()
    assert (limit.size, limit.free()) == (4096, 1000)


def test_without_any_files_there_are_no_limits(tmp_path: pathlib.Path) -> None:
    groups = ControlGroups(str(tmp_path))
    assert groups.quota() is None
    assert groups.memory_limits() == []


# ------------------------------------------------------------------------------------------ usable processors


def test_a_quota_bounds_the_usable_processors(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = unified(tmp_path, "/a", {"a/cpu.max": "30000 100000"})
    monkeypatch.setattr(cgroups, "own", lambda: tight)
    assert usable_cpus() == 1
    assert Hosts().max == 1
    (tmp_path / "sys/fs/cgroup/a/cpu.max").write_text(f"{100000 * ((os.cpu_count() or 1) + 5)} 100000")
    without = usable_cpus()
    assert 1 <= without <= (os.cpu_count() or 1)


def test_the_groups_of_this_process_are_looked_up_once() -> None:
    assert cgroups.own() is cgroups.own()
