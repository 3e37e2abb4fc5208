"""The file that a picture goes to: it is whole, or as it was before.

The law of this module: it knows files, and nothing of what is in them.

How it works: what is written stands beside its place under another name, until it is whole and is moved there
in one step; a link is followed, and stays one. What is no ordinary file, such as a terminal or /dev/null, is
written to as it is, and so is a file in a folder that takes no new ones.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["BadPlace", "check_place", "write_whole"]


class BadPlace(Exception):
    """Nothing can be written there; the message is one line that says why."""


def check_place(path: str, *, not_on: str) -> None:
    """See, before any work is done, whether a file can be written, as far as that can be known.

    Args:
        path: Where it will be.
        not_on: The file that must not be overwritten.

    Raises:
        BadPlace: It cannot.
    """
    if not path:
        raise BadPlace("it has no name; give for example out.svg")
    try:
        mode = _mode(path)
        if mode is None:
            _check_folder(Path(os.path.realpath(path)).parent)
        elif stat.S_ISDIR(mode):
            raise BadPlace("it is a folder; give the name of a file")
        elif stat.S_ISREG(mode) and _mode(not_on) is not None and Path(path).samefile(not_on):
            raise BadPlace("it is the file that is read; give another one")
        elif not os.access(path, os.W_OK):
            raise BadPlace("it may not be written to")
    except (OSError, ValueError) as error:  # a ValueError: no name of a file has a NUL in it
        raise BadPlace(getattr(error, "strerror", None) or str(error)) from None


def _mode(path: str) -> int | None:
    """What stands there; None for nothing, or a link to where nothing is."""
    try:
        return Path(path).stat().st_mode
    except FileNotFoundError:
        return None


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise BadPlace(f"there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadPlace(f"nothing may be written to the folder {folder}")


def write_whole(path: str, text: str) -> None:
    """Write a file, or leave what is there as it is.

    Raises:
        OSError: It could not be written.
    """
    mode = _mode(path)
    target = Path(os.path.realpath(path))
    if mode is not None and (not stat.S_ISREG(mode) or not os.access(target.parent, os.W_OK | os.X_OK)):
        target.write_text(text, encoding="utf-8")
        return
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), _rights() if mode is None else stat.S_IMODE(mode))
        Path(unfinished).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(unfinished).unlink()
        raise


def _rights() -> int:
    """Those of a new file, as the user wishes them."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
