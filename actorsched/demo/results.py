"""The folder that results go to.

The law of this module: what stands under its final name is whole, and has been checked. Nothing of the user's
is overwritten: a folder that is neither empty nor of an earlier run is refused.

How it works: part files live in a folder of their own within the folder of results, so that they can be moved
into place in one step. That folder is deleted at the end, with whatever was not finished. Which files there
were is written to `SHA256SUMS`, in the form that `sha256sum --check` reads; its presence is also what tells
the results of an earlier run from anything else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from actorsched.demo import BadUsage
from actorsched.demo.files import Place
from actorsched.demo.steps import Checked, Failed, Form, Unfit, reason, writing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

SUMS = "SHA256SUMS"
_UNFINISHED = ".unfinished-"


class Results:
    """The results of one run: `with Results.at(out, source, "gz") as results: ...`.

    Attributes:
        folder: Where they are.
        parts: Where part files go, within the `with` block.
        form: How they are compressed; also the suffix of their names.
    """

    def __init__(self, folder: Path, form: Form, *, temporary: bool = False) -> None:
        self._temporary = temporary
        self.folder = folder
        self.form: Form = form
        self.parts: str = ""

    def __repr__(self) -> str:
        return f"<Results in {self.folder}>"

    @classmethod
    def at(cls, out: str | None, source: str, form: Form) -> Results:
        """Prepare a folder for the results.

        Args:
            out: The folder; None for a new temporary one. It is created if need be.
            source: What is to be read.
            form: How it is to be compressed.

        Raises:
            BadUsage: It cannot be used.
        """
        try:
            if out is None:
                return cls(Path(tempfile.mkdtemp(prefix="actorsched-demo-")), form, temporary=True)
            folder = Path(out).absolute()
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_what_is_not_ours(folder, Path(source))
        except FileExistsError:
            raise BadUsage(f"--out {out}: it exists, and is no folder") from None
        except (OSError, ValueError) as error:
            raise BadUsage(f"{_named(out)}: {getattr(error, 'strerror', None) or error}") from None
        return cls(folder, form)

    def __enter__(self) -> Self:
        try:
            self.parts = tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder)
        except OSError as error:
            raise BadUsage(f"{self.folder} cannot be written to: {error.strerror or error}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        shutil.rmtree(self.parts, ignore_errors=True)
        if self._temporary:
            with contextlib.suppress(OSError):  # it stays, unless nothing has come of it
                self.folder.rmdir()

    @property
    def place(self) -> Place:
        """The folder, whatever its name."""
        return Place.of(str(self.folder))

    def keep(self, checked: Checked) -> Checked | Failed:
        """Move what is checked into its place."""
        stored = checked.stored
        target = self.folder / f"{stored.name}.{self.form}"
        try:
            with writing():
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(stored.part).replace(target)
        except Unfit as error:
            Path(stored.part).unlink(missing_ok=True)
            return Failed(stored.name, reason(error))
        return checked

    def write_sums(self, sums: Iterable[tuple[str, str]]) -> None:
        """Write down the fingerprints of the originals.

        Raises:
            OSError: They cannot be written; an older list stays as it was.
        """
        part = Path(self.parts, SUMS)
        part.write_bytes(
            b"".join(_sum(fingerprint, name) for fingerprint, name in sorted(sums, key=_by_name))
        )
        part.replace(self.folder / SUMS)


def _refuse_what_is_not_ours(folder: Path, source: Path) -> None:
    own = folder.resolve()
    inside = source.resolve()
    if own == inside:
        raise BadUsage(f"--out {folder} is the folder to be read; give another one")
    if own in inside.parents:
        raise BadUsage(f"--out {folder} holds what is to be read, {source}; give a folder of its own")
    names = {entry.name for entry in folder.iterdir()}
    if SUMS not in names and any(not name.startswith(_UNFINISHED) for name in names):
        raise BadUsage(f"--out {folder} holds other files than results; give a new or empty folder")


def _named(out: str | None) -> str:
    return "a temporary folder cannot be made" if out is None else f"--out {out}"


def _by_name(line: tuple[str, str]) -> bytes:
    return os.fsencode(line[1])


def _sum(fingerprint: str, name: str) -> bytes:
    """A line of the list; a name that would break it is escaped, as sha256sum does."""
    raw = os.fsencode(name)
    escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != raw else b""
    return b"%s%s  %s\n" % (mark, fingerprint.encode(), escaped)
