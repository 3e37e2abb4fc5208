"""The main job: every file is fingerprinted, compressed and checked, and whatever goes wrong is told."""

from __future__ import annotations

import functools
import gzip
import hashlib
import itertools
import json
import lzma
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Literal

import pytest

from actorsched.demo import BadUsage, words
from actorsched.demo.files import Finds, Place, find
from actorsched.demo.results import SUMS, Results
from actorsched.demo.steps import (
    PIECE,
    Checked,
    Failed,
    Found,
    Loaded,
    Settings,
    Share,
    Stored,
    check,
    pieces_of,
    read,
    squeeze,
    store,
    unpacked,
)
from actorsched.demo.tally import Pace, Speedometer, Tally
from tests.commands import (
    ON_ITS_TERMINAL,
    ROOT,
    WITH_SMALL_FILES_ONLY,
    WITHOUT_RICH,
    WITHOUT_THE_RIGHTS_OF_ROOT,
    Answer,
    run,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorsched.demo.steps import Form

HUGE = 300_000_000


def demo(*options: object, **how: object) -> Answer:
    return run("demo", *options, **how)


def write(path: pathlib.Path, data: bytes = b"data") -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def make_files(folder: pathlib.Path, number: int, size: int = 3000) -> None:
    """Files of text and noise, in ten folders; every fiftieth is empty."""
    chance = random.Random(7)
    for n in range(number):
        data = b"a line of text\n" * chance.randrange(size // 15) + chance.randbytes(chance.randrange(size))
        write(folder / f"folder {n % 10}" / f"file {n:04}", b"" if n % 50 == 0 else data)


def fingerprints(folder: pathlib.Path) -> dict[bytes, str]:
    """What the list of fingerprints says, by name."""
    found: dict[bytes, str] = {}
    for line in (folder / SUMS).read_bytes().splitlines():
        fingerprint, _, name = line.lstrip(b"\\").partition(b"  ")
        if line.startswith(b"\\"):
            name = name.replace(b"\\n", b"\n").replace(b"\\\\", b"\\")
        found[name] = fingerprint.decode()
    return found


def results(folder: pathlib.Path) -> dict[bytes, pathlib.Path]:
    """The results, by the names of the originals; whatever else is there is refused."""
    files = {path for path in folder.rglob("*") if not path.is_dir()}
    assert not any(".unfinished" in str(path) for path in folder.iterdir())
    files.remove(folder / SUMS)
    assert all(path.suffix in (".gz", ".xz") for path in files)
    return {os.fsencode(path.relative_to(folder).with_suffix("")): path for path in files}


def sum_of(path: pathlib.Path) -> str:
    """The fingerprint of a file, or of what a result holds."""
    opened: dict[str, Callable[[pathlib.Path], object]] = {".gz": gzip.open, ".xz": lzma.open}
    with opened.get(path.suffix, functools.partial(open, mode="rb"))(path) as stream:  # type: ignore[attr-defined]
        return hashlib.file_digest(stream, "sha256").hexdigest()


def assert_right(source: pathlib.Path, out: pathlib.Path, number: int) -> None:
    """So many results are there, whole and right, and the list has exactly these."""
    listed, there = fingerprints(out), results(out)
    assert listed.keys() == there.keys()
    assert len(there) == number
    for name, path in there.items():
        assert listed[name] == sum_of(path) == sum_of(source / os.fsdecode(name))


# ---------------------------------------------------------------------------------------- words, and numbers


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (4_210_000_000, "4.21 GB"),
        (5e15, "5,000 TB"),
    ],
)
def test_sizes_have_three_digits(number: float, text: str) -> None:
    assert words.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (3, "3 s"),
        (12.4, "12 s"),
        (200.0, "3 min 20 s"),
        (7500.0, "2 h 5 min"),
    ],
)
def test_spans_are_as_exact_as_is_useful(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"caf\xc3\xa9 [bold]", "café [bold]"),
        (b"\xff\x80", "\\xff\\x80"),
        (b"a\nb\t\x1b[2J\x7f", "a\\nb\\t\\x1b[2J\\x7f"),
        ("\u202eabc\U000e0001".encode(), "\\u202eabc\\U000e0001"),
    ],
)
def test_names_cannot_break_lines_nor_command_the_terminal(raw: bytes, text: str) -> None:
    assert words.name(os.fsdecode(raw)) == text


def checked(name: str, size: int = 1000, packed_size: int = 100, pid: int = 1) -> Checked:
    share = Share(pid, 0.5)
    return Checked(Stored(name, "f" * 64, size, packed_size, "part", share), share)


def tally_of(*sizes: int) -> Tally:
    tally = Tally()
    for number, size in enumerate(sizes):
        tally.finds.add(Found(f"/{number}", str(number), size))
    tally.searched = True
    return tally


def test_the_summary_says_what_was_counted() -> None:
    tally = tally_of(1000, 1000, 1000, 1000)
    tally.finds.passed_over.update({("FIFO", "FIFOs"): 2, ("socket", "sockets"): 1})
    tally.finds.unread.append(Failed("shut/", "the folder cannot be read: Permission denied"))
    tally.passed(checked("0"))
    tally.passed(checked("1", pid=2))
    tally.gave_up(Failed("2\n", "it has vanished"))
    assert words.summary(tally, 2.0) == [
        "passed over: 2 FIFOs and 1 socket",
        "failed:",
        "  2\\n: it has vanished",
        "  shut/: the folder cannot be read: Permission denied",
        "compressed: 2.00 kB to 200 B, 10.0 % of the size; every result was read back and is right",
        "time: 2.0 s (1.0 files/s, 1.00 kB/s); 2 host processes computed for 2.0 s in all",
    ]
    assert words.last_line(tally, "interrupted") == (
        "interrupted after 2 of 4 files, 1 failed, 1 folder unread, 1 not done"
    )


def test_an_interruption_of_the_search_says_so() -> None:
    tally = tally_of(1, 2)
    tally.searched = False
    assert (
        words.last_line(tally, "terminated")
        == "terminated while looking for files, after finding 2; none is done"
    )


def test_big_files_count_while_they_are_under_way() -> None:
    tally = tally_of(1000, 9000)
    tally.reach(1, "1", 3000, 9000, 0.25)
    assert tally.reached == 3000
    assert tally.busy(tally.hosts[1]) == 0.25
    tally.passed(checked("0"))
    assert tally.hosts[1].file == "1", "what it is working on is what it shows"
    assert tally.reached == 4000
    tally.passed(checked("1", 9000))
    assert (tally.reached, tally.left) == (10_000, 0)
    tally.reach(1, "1", 8000, 9000, 0.5)
    assert tally.reached == 10_000, "old news is no news"


def test_the_pace_is_that_of_the_last_seconds() -> None:
    tally = tally_of(*[1000] * 100)
    meter = Speedometer(0.0)
    assert meter.pace(tally, 0.0) == Pace(0.0, 0.0, None)
    slow = fast = Pace(0.0, 0.0, None)
    for now in range(1, 11):
        tally.passed(checked(str(now)))
        slow = meter.pace(tally, float(now))
    for now in range(11, 16):
        for number in range(10):
            tally.passed(checked(f"{now} {number}"))
        fast = meter.pace(tally, float(now))
    assert slow == pytest.approx((1.0, 1000.0, 90.0))
    assert fast == pytest.approx((10.0, 10_000.0, 4.0))


# ---------------------------------------------------------------------------------------------- finding files


def test_files_are_found_in_the_order_of_their_names_and_oddities_are_counted(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "b" / "two")
    write(tmp_path / "a" / "deep" / "one", b"12345")
    write(tmp_path / "c")
    (tmp_path / "link").symlink_to("c")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder link").symlink_to("a")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(tmp_path / "plug"))
    finds = Finds()
    find(str(tmp_path), finds)
    assert [file.name for file in finds.files] == ["c", "dangling", "link", "loop", "a/deep/one", "b/two"]
    assert finds.size == 4 + 4 + 5 + 4
    assert finds.passed_over == Counter(
        {("FIFO", "FIFOs"): 1, ("socket", "sockets"): 1, ("link to a folder", "links to folders"): 1}
    )


def test_our_own_results_are_left_out_under_any_name(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "in" / "kept")
    write(tmp_path / "in" / "out" / "old.gz")
    write(tmp_path / "in" / "__pycache__" / "x.pyc")
    finds = Finds()
    find(str(tmp_path / "in"), finds, Place.of(f"{tmp_path}/in/../in/out"), ["__pycache__"])
    assert [file.name for file in finds.files] == ["kept"]
    assert words.passed_over(finds.passed_over) == "1 folder of results"


def test_a_single_file_is_found_under_its_own_name(tmp_path: pathlib.Path) -> None:
    finds = Finds()
    find(str(write(tmp_path / "alone")), finds)
    assert finds.files == [Found(str(tmp_path / "alone"), "alone", 4)]


def test_a_folder_that_vanishes_is_a_failure_and_no_more(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a" / "one")
    write(tmp_path / "b" / "two")
    scandir = os.scandir

    def scan(path: str) -> object:
        if path == f"{tmp_path}/a/":
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    finds = Finds()
    find(str(tmp_path), finds)
    assert finds.unread == [Failed("a/", "the folder cannot be read: No such file or directory")]
    assert [file.name for file in finds.files] == ["b/two"]


# -------------------------------------------------------------------------------------------------- the steps


@pytest.fixture(params=["gz", "xz"])
def settings(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Settings:
    """For both formats, with a folder for part files."""
    form: Form = request.param
    (tmp_path / "parts").mkdir()
    return Settings(form, str(tmp_path / "parts"))


def parts(settings: Settings) -> list[pathlib.Path]:
    return sorted(pathlib.Path(settings.parts).iterdir())


def all_steps(file: Found, settings: Settings) -> Checked | Failed:
    return check(
        store(squeeze(read(file), settings=settings), settings=settings),
        settings=settings,
    )


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE + 17])
def test_a_file_of_any_size_goes_through(size: int, settings: Settings, tmp_path: pathlib.Path) -> None:
    data = random.Random(size).randbytes(size // 3) + bytes(size - size // 3)
    path = write(tmp_path / "file", data)
    done = all_steps(Found(str(path), "file", size), settings)
    assert isinstance(done, Checked)
    assert done.stored.fingerprint == hashlib.sha256(data).hexdigest()
    (part,) = parts(settings)
    assert str(part) == done.stored.part
    assert (done.stored.size, done.stored.packed_size) == (size, part.stat().st_size)


def test_a_file_that_has_grown_since_it_was_found_is_left_to_its_host(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "file", bytes(PIECE + 1))
    assert read(Found(str(path), "file", 1)) == Loaded("file", str(path), 1, None)


def test_a_file_that_grows_while_it_is_read_ends_where_it_ended(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "file", bytes(PIECE + 5))
    pieces = pieces_of(str(path))
    first = next(pieces)
    with path.open("ab") as log:
        log.write(bytes(PIECE))
    assert len(first) + sum(map(len, pieces)) == PIECE + 5


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "it has vanished"),
        (lambda path: path.symlink_to("nowhere"), "it is a link to nothing"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.mkdir(), "it is no file any more"),
        (os.mkfifo, "it is no file any more"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no file any more"),
    ],
)
@pytest.mark.parametrize("size", [1, 2 * PIECE])
def test_what_cannot_be_read_is_a_failure_with_its_reason(
    size: int, make: Callable[[pathlib.Path], None], reason: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "parts").mkdir()
    make(tmp_path / "file")
    found, settings = Found(str(tmp_path / "file"), "file", size), Settings("gz", str(tmp_path / "parts"))
    assert all_steps(found, settings) == Failed("file", reason)
    assert not parts(settings)


@pytest.mark.parametrize("size", [10, 2 * PIECE])
def test_a_result_that_cannot_be_written_is_a_failure_with_its_reason(
    size: int, settings: Settings, tmp_path: pathlib.Path
) -> None:
    found = Found(str(write(tmp_path / "file", bytes(size))), "file", size)
    nowhere = settings._replace(parts=str(tmp_path / "nothing"))
    reason = "its result cannot be written: No such file or directory"
    assert all_steps(found, nowhere) == Failed("file", reason)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "its result cannot be read back: it is not as long as it was written"),
        (lambda data: b"", "its result cannot be read back: it is not as long as it was written"),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "its result cannot be read back: "),
    ],
)
def test_a_damaged_result_is_found_out(
    damage: Callable[[bytes], bytes], reason: str, settings: Settings, tmp_path: pathlib.Path
) -> None:
    found = Found(str(write(tmp_path / "file", random.Random(1).randbytes(5000))), "file", 5000)
    stored = store(squeeze(read(found), settings=settings), settings=settings)
    assert isinstance(stored, Stored)
    part = pathlib.Path(stored.part)
    part.write_bytes(damage(part.read_bytes()))
    answer = check(stored, settings=settings)
    assert isinstance(answer, Failed)
    assert answer.reason.startswith(reason)
    assert not parts(settings)


def test_a_result_of_something_else_is_found_out(settings: Settings, tmp_path: pathlib.Path) -> None:
    found = Found(str(write(tmp_path / "file")), "file", 4)
    stored = store(squeeze(read(found), settings=settings), settings=settings)
    assert isinstance(stored, Stored)
    other = check(stored._replace(fingerprint="0" * 64), settings=settings)
    assert other == Failed("file", "its result is not what was read")


def test_no_more_than_a_piece_is_unpacked_at_a_time(tmp_path: pathlib.Path) -> None:
    """A small result may hold a huge file; reading it back must not need the memory for it."""
    part = write(tmp_path / "part", gzip.compress(bytes(64 * PIECE)))
    with part.open("rb") as packed, unpacked(packed, "gz") as stream:
        assert len(stream.read(PIECE)) == PIECE


# ------------------------------------------------------------------------------------- the folder of results


def test_results_are_moved_into_place_and_listed_as_sha256sum_wants_it(tmp_path: pathlib.Path) -> None:
    names = ["plain", "deep/er", os.fsdecode(b"bad\xff"), "line\nfeed", "back\\slash"]
    for name in names:
        write(tmp_path / "in" / name, name.encode(errors="surrogateescape"))
    with Results.at(str(tmp_path / "out"), str(tmp_path / "in"), "gz") as results:
        settings, sums = Settings("gz", results.parts), []
        for name in names:
            done = all_steps(Found(str(tmp_path / "in" / name), name, 1), settings)
            assert isinstance(done, Checked)
            assert results.keep(done) is done
            sums.append((done.stored.fingerprint, name))
        results.write_sums(sums)
    assert_right(tmp_path / "in", tmp_path / "out", len(names))
    command = ["sha256sum", "--check", "--strict", "--quiet", str(tmp_path / "out" / SUMS)]
    subprocess.run(command, check=True, cwd=tmp_path / "in")


def test_a_result_that_has_no_place_is_a_failure(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out").mkdir()
    with Results.at(str(tmp_path / "out"), "/elsewhere", "gz") as results:
        write(tmp_path / "out" / "name.gz" / "in the way")
        part = write(pathlib.Path(results.parts, "1"))
        kept = results.keep(checked("name")._replace(stored=checked("name").stored._replace(part=str(part))))
        assert kept == Failed("name", "its result cannot be written: Is a directory")
        assert not part.exists()


@pytest.mark.parametrize(
    ("out", "fault"),
    [
        ("{0}", "is the folder to be read"),
        ("{0}/../tree", "is the folder to be read"),
        ("{0}/..", "holds what is to be read"),
        ("{0}/file", "it exists, and is no folder"),
        ("{0}/file/below", "Not a directory"),
        ("{0}/other", "holds other files than results"),
        ("/dev/full", "it exists, and is no folder"),
        ("/proc/nothing", "No such file or directory"),
        ("/proc", "holds other files than results"),
        ("{0}/zero\0", "null"),
    ],
)
def test_a_folder_that_would_be_spoilt_is_refused(out: str, fault: str, tmp_path: pathlib.Path) -> None:
    tree = tmp_path / "tree"
    write(tree / "file")
    write(tree / "other" / "of the user's")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadUsage, match=fault):
        Results.at(out.format(tree), str(tree), "gz").__enter__()
    assert sorted(tmp_path.rglob("*")) == before


# -------------------------------------------------------------------------------------------- from end to end


@pytest.mark.process
def test_without_a_path_the_package_itself_is_read(tmp_path: pathlib.Path) -> None:
    answer = demo("--out", tmp_path / "out", "--hosts", 1)
    sources = [
        path
        for path in (ROOT / "actorsched").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    ]
    assert answer.code == 0
    assert answer.lines[-1] == f"done: {len(sources)} of {len(sources)} files"
    assert_right(ROOT / "actorsched", tmp_path / "out", len(sources))


@pytest.mark.process
@pytest.mark.parametrize(("form", "backend"), [("gz", "trio"), ("xz", "asyncio")])
def test_a_tree_is_done_on_every_backend_in_every_format(
    form: str, backend: str, tmp_path: pathlib.Path
) -> None:
    make_files(tmp_path / "in", 60)
    answer = demo(tmp_path / "in", "--out", tmp_path / "out", "--format", form, "--backend", backend)
    assert answer.code == 0
    assert answer.lines[-1] == "done: 60 of 60 files"
    assert not answer.complaints
    assert_right(tmp_path / "in", tmp_path / "out", 60)
    assert {path.suffix for path in results(tmp_path / "out").values()} == {f".{form}"}


@pytest.mark.process
@pytest.mark.process
def test_a_timeline_of_it_shows_each_file_in_the_host_that_did_it(tmp_path: pathlib.Path) -> None:
    make_files(tmp_path / "tree", 12)
    answer = demo(tmp_path / "tree", "--out", tmp_path / "out", "--timeline", tmp_path / "trace.json")
    assert answer.code == 0
    entries = json.loads((tmp_path / "trace.json").read_bytes())["traceEvents"]
    bars = Counter(entry["name"] for entry in entries if entry["ph"] == "X" and entry["pid"] == 1)
    assert (bars["squeeze"], bars["check"]) == (12, 12)

    answer = demo(tmp_path / "tree", "--out", tmp_path / "out", "--timeline", tmp_path / "no" / "trace.json")
    assert answer.code == 2
    assert "the timeline cannot be written to" in answer.complaints
    assert "No such file or directory" in answer.complaints


def test_a_temporary_folder_is_made_and_named(tmp_path: pathlib.Path) -> None:
    make_files(tmp_path / "in", 3)
    answer = demo(tmp_path / "in", environment={"TMPDIR": str(tmp_path)})
    (out,) = tmp_path.glob("actorsched-demo-*")
    assert answer.lines[:2] == [f"reading {tmp_path / 'in'}", f"writing to {out}"]
    assert f"results: {out}, with the fingerprints of the originals in {SUMS}" in answer.lines
    assert_right(tmp_path / "in", out, 3)


@pytest.mark.process
def test_a_single_file_and_an_empty_folder_will_do(tmp_path: pathlib.Path) -> None:
    alone = write(tmp_path / "alone")
    assert demo(alone, "--out", tmp_path / "one").lines[-1] == "done: 1 of 1 file"
    assert_right(tmp_path, tmp_path / "one", 1)
    (tmp_path / "empty").mkdir()
    answer = demo(tmp_path / "empty", "--out", tmp_path / "none")
    assert (answer.code, answer.lines[-1]) == (0, "done: 0 of 0 files")
    assert_right(tmp_path / "empty", tmp_path / "none", 0)


@pytest.mark.process
def test_results_within_the_tree_are_not_read_again(tmp_path: pathlib.Path) -> None:
    make_files(tmp_path, 20)
    for _ in range(2):
        answer = demo(tmp_path, "--out", "results", cwd=tmp_path)
        assert answer.code == 0
        assert answer.lines[-1] == "done: 20 of 20 files"
        assert "passed over: 1 folder of results" in answer.lines
        assert_right(tmp_path, tmp_path / "results", 20)


@pytest.mark.process
@pytest.mark.parametrize(
    "options", [[""], ["/no/such"], ["/etc/passwd/x"], [".", "--out", "/dev/full"], [".", "--out", "/proc"]]
)
def test_what_cannot_be_done_as_ordered_is_bad_usage(options: list[str], tmp_path: pathlib.Path) -> None:
    code, lines, complaints = demo(*options, cwd=tmp_path)
    assert (code, lines) == (2, [])
    assert complaints.count("\n") == 1
    assert complaints.startswith("actorsched: ")


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.deadline(120)
def test_two_thousand_files_with_every_kind_of_trouble_end_with_a_truthful_summary(
    tmp_path: pathlib.Path,
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    make_files(tree, 1980)
    with write(tree / "a huge file").open("r+b") as huge:
        huge.truncate(HUGE)
    write(tree / os.fsdecode(b"undecodable \xff\x1b[31m"))
    (tree / "a link").symlink_to("folder 1/file 0001")
    (tree / "dangling").symlink_to("nothing")
    (tree / "loop").symlink_to("loop")
    (tree / "folder link").symlink_to("folder 1")
    os.mkfifo(tree / "fifo")
    write(tree / "unreadable").chmod(0)
    write(tree / "shut" / "unseen").parent.chmod(0)
    for number in range(10):
        write(tree / "z vanishing" / str(number))
    try:
        with running("demo", tree, "--out", out, before=WITHOUT_THE_RIGHTS_OF_ROOT) as command:
            with command.measured() as peaks:
                lines = command.lines()
                head = list(itertools.takewhile(lambda line: not line.startswith("found "), lines))
                shutil.rmtree(tree / "z vanishing")  # it is the last that would be read
                tail = list(lines)
            code = command.answer().code
            assert not command.left()
    finally:
        (tree / "shut").chmod(0o700)
    (tree / "unreadable").chmod(0o600)

    assert len(head) == 2
    assert code == 1
    at = tail.index("failed:")
    assert tail[at - 1] == "passed over: 1 FIFO and 1 link to a folder"
    failed = [line for line in tail[at + 1 :] if line.startswith("  ")]
    vanished = [f"  z vanishing/{number}: it has vanished" for number in range(10)]
    assert failed == [
        "  dangling: it is a link to nothing",
        "  loop: Too many levels of symbolic links",
        "  shut/: the folder cannot be read: Permission denied",
        "  unreadable: Permission denied",
        *vanished,
    ]
    assert tail[-1] == "done: 1,983 of 1,996 files, 13 failed, 1 folder unread"
    assert_right(tree, out, 1983)
    assert len(peaks) > 1, "the command, and a host"
    assert all(peak < 150_000 for peak in peaks.values()), "kilobytes; a huge file needs no more than others"


# ------------------------------------------------------------------------------------------ stopped, or stuck


def assert_stopped(answer: Answer, source: pathlib.Path, out: pathlib.Path, ending: str) -> None:
    """It says how far it got, and that is what is there."""
    last = answer.lines[-1]
    assert last.startswith((f"{ending} after ", f"{ending} while looking for files"))
    done = int(last.split()[2].replace(",", "")) if last.startswith(f"{ending} after ") else 0
    assert_right(source, out, done)
    assert not answer.complaints


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A tree that takes a while: small files, and a big one."""
    folder = tmp_path_factory.mktemp("tree")
    make_files(folder, 500)
    with write(folder / "folder 3" / "big").open("r+b") as big:
        big.truncate(HUGE // 3)
    return folder


@pytest.mark.process
@pytest.mark.deadline(60)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("after", [1, 2, 3, 4, 6, 10, 20])
def test_ctrl_c_stops_it_at_any_moment(
    after: int, backend: str, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "out"
    options = ["--out", out, "--interval", "20ms", "--backend", backend]
    with running("demo", tree, *options) as command:
        seen = list(itertools.islice(command.lines(), after))
        command.process.send_signal(signal.SIGINT)
        answer = command.answer()
        assert len(seen) == after
        assert answer.code == 130
        assert not command.left()
    assert_stopped(answer, tree, out, "interrupted")


@pytest.mark.process
def test_ctrl_c_before_the_first_line_leaves_nothing_behind(
    tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "out"
    waits = "import os, signal, sys; from actorsched.cli import main; from actorsched.demo import job; "
    strikes = "job.suitable = lambda interval: os.kill(os.getpid(), signal.SIGINT); sys.exit(main())"
    for where in (["--out", out], []):
        answer = run("demo", tree, *where, code=waits + strikes, environment={"TMPDIR": str(tmp_path)})
        assert answer == (130, [], "actorsched: interrupted\n")
    assert list(tmp_path.rglob("*")) == [out]


TELLS_WHEN_IT_TIDIES_UP = """
import sys
from actorsched import cli
from actorsched.demo import job

def begin(quiet, begin=job.Quiet.begin):
    begin(quiet)
    print("tidying up", flush=True)

job.Quiet.begin = begin
sys.exit(cli.main())
"""


@pytest.mark.process
def test_more_ctrl_c_while_it_is_tidying_up_changes_nothing(
    tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    options = ["demo", tree, "--out", tmp_path / "out", "--interval", "20ms"]
    with running(*options, code=TELLS_WHEN_IT_TIDIES_UP) as command:
        lines = command.lines()
        list(itertools.islice(lines, 8))
        command.process.send_signal(signal.SIGINT)
        for line in lines:
            if line == "tidying up":
                command.process.send_signal(signal.SIGINT)
                break
        answer = command.answer()
        assert answer.code == 130
        assert not command.left()
    assert_stopped(answer, tree, tmp_path / "out", "interrupted")


@pytest.mark.process
def test_sigterm_stops_it_as_well(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with running("demo", tree, "--out", tmp_path / "out", "--interval", "20ms") as command:
        list(itertools.islice(command.lines(), 8))
        command.process.send_signal(signal.SIGTERM)
        answer = command.answer()
        assert answer.code == 143
        assert not command.left()
    assert_stopped(answer, tree, tmp_path / "out", "terminated")


@pytest.mark.process
def test_nobody_reading_its_output_stops_it_quietly(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    with running("demo", tree, "--out", out, "--interval", "20ms") as command:
        assert next(command.lines()) == f"reading {tree}"
        assert command.process.stdout is not None
        assert command.process.stderr is not None
        command.process.stdout.close()
        assert command.process.wait(60) == 141
        assert not command.process.stderr.read()
        assert not command.left()
    assert_right(tree, out, len(results(out)))


@pytest.mark.process
def test_output_that_cannot_be_written_stops_it(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pathlib.Path("/dev/full").open("w") as full:
        answer = demo(tree, "--out", tmp_path / "out", stdout=full.fileno())
    assert answer.code == 1
    assert answer.complaints == "actorsched: standard output cannot be written to: No space left on device\n"


@pytest.mark.process
def test_a_file_whose_host_keeps_dying_is_a_failure_and_the_others_are_done(tmp_path: pathlib.Path) -> None:
    make_files(tmp_path / "in", 50)
    write(tmp_path / "in" / "the last" / "deadly")  # nothing is left that it could take along each time
    imports = (
        "import sys; from actorsched import cli; from actorsched.demo import job; from tests import deadly; "
    )
    code = f"{imports} job.squeeze = deadly.squeeze; sys.exit(cli.main())"
    answer = run("demo", tmp_path / "in", "--out", tmp_path / "out", code=code)
    assert answer.code == 1
    at = answer.lines.index("failed:")
    assert answer.lines[at + 1].startswith("  the last/deadly: HostDied: ")
    assert "SIGKILL" in answer.lines[at + 1]
    assert answer.lines[-1] == "done: 50 of 51 files, 1 failed"
    assert not answer.complaints
    assert_right(tmp_path / "in", tmp_path / "out", 50)


@pytest.mark.slow
@pytest.mark.process
def test_hosts_that_die_once_cost_no_file(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with running("demo", tree, "--out", tmp_path / "out", "--interval", "20ms") as command:
        list(
            itertools.takewhile(
                lambda line: " files/s" not in line or line.startswith("0 of"), command.lines()
            )
        )
        for pid in command.hosts():
            os.kill(pid, signal.SIGKILL)
        answer = command.answer()
    assert (answer.code, answer.lines[-1]) == (0, "done: 501 of 501 files")
    assert_right(tree, tmp_path / "out", 501)


@pytest.mark.process
@pytest.mark.parametrize("closed", ["0", "1", "2", "0, 1, 2"])
def test_closed_standard_files_are_no_trouble(closed: str, tmp_path: pathlib.Path) -> None:
    make_files(tmp_path / "in", 10)
    closing = f"for descriptor in ({closed},): os.close(descriptor)"
    code, lines, complaints = demo(tmp_path / "in", "--out", tmp_path / "out", before=closing)
    assert (code, complaints) == (0, "")
    assert lines[-1:] == ([] if "1" in closed else ["done: 10 of 10 files"])
    assert_right(tmp_path / "in", tmp_path / "out", 10)


@pytest.mark.process
def test_results_that_do_not_fit_are_failures_with_their_reason(tmp_path: pathlib.Path) -> None:
    chance = random.Random(3)
    make_files(tmp_path / "in", 20)
    write(tmp_path / "in" / "too big", chance.randbytes(3 * PIECE))
    write(tmp_path / "in" / "also too big", chance.randbytes(PIECE // 2))
    write(tmp_path / "in" / "packs well", bytes(3 * PIECE))
    answer = demo(tmp_path / "in", "--out", tmp_path / "out", before=WITH_SMALL_FILES_ONLY)
    assert answer.code == 1
    reason = "its result cannot be written: File too large"
    assert [line for line in answer.lines if line.endswith("too large")] == [
        f"  also too big: {reason}",
        f"  too big: {reason}",
    ]
    assert answer.lines[-1] == "done: 21 of 23 files, 2 failed"
    assert_right(tmp_path / "in", tmp_path / "out", 21)


@pytest.mark.process
def test_a_list_that_cannot_be_written_is_told(tmp_path: pathlib.Path) -> None:
    make_files(tmp_path / "in", 20)
    (tmp_path / "out" / SUMS).mkdir(parents=True)
    answer = demo(tmp_path / "in", "--out", tmp_path / "out")
    assert answer.code == 1
    assert f"failed: {SUMS} could not be written: Is a directory" in answer.lines
    assert answer.lines[-1] == "done: 20 of 20 files"


# --------------------------------------------------------------------------------------------- on a terminal

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def shown(screen: Iterator[str]) -> str:
    return "".join(screen).replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.process
def test_on_a_terminal_a_picture_shows_how_far_it_is(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with running("demo", tree, "--out", tmp_path / "out", terminal=True) as command:
        picture = shown(command.screen())
        assert command.answer().code == 0
    assert "of 501 files" in picture
    assert "files/s" in picture
    assert "of the size" in picture
    assert "left" in picture
    assert "% busy" in picture
    assert "folder 3/big: " in picture
    assert picture.count(" host ") >= 2
    assert picture.index(HIDE_CURSOR) < picture.index("\u2501") < picture.rindex(SHOW_CURSOR)
    after = picture[picture.rindex(SHOW_CURSOR) :]
    assert after.rstrip().endswith("done: 501 of 501 files")


@pytest.mark.process
def test_ctrl_c_on_a_terminal_gives_it_back_as_it_was(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    with running("demo", tree, "--out", out, terminal=True, before=ON_ITS_TERMINAL) as command:
        picture = ""
        for piece in command.screen():
            if "% busy" not in picture and "% busy" in picture + piece:
                command.type("\x03")
            picture += piece
        assert command.answer().code == 130
        assert not command.left()
    after = picture[picture.rindex(SHOW_CURSOR) :]
    assert HIDE_CURSOR not in after
    assert_stopped(Answer(130, after.splitlines(), ""), tree, out, "interrupted")


@pytest.mark.process
@pytest.mark.parametrize("how", ["NO_COLOR", "TERM", "rich"])
def test_a_terminal_that_wants_plain_lines_gets_them(
    how: Literal["NO_COLOR", "TERM", "rich"], tmp_path: pathlib.Path
) -> None:
    make_files(tmp_path / "in", 10)
    environment = {"NO_COLOR": {"NO_COLOR": "1"}, "TERM": {"TERM": "dumb"}, "rich": {}}[how]
    code = f"{WITHOUT_RICH} sys.exit(main())" if how == "rich" else None
    options = ["demo", tmp_path / "in", "--out", tmp_path / "out"]
    with running(*options, terminal=True, environment=environment, code=code) as command:
        printed = shown(command.screen())
        assert command.answer().code == 0
    assert "\x1b" not in printed
    assert printed.splitlines()[-1] == "done: 10 of 10 files"
