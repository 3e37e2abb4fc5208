"""Sessions of pytest in processes of their own, and what came of the tests in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pytest

BACKENDS = ("asyncio", "asyncio+uvloop", "trio")
INI = """
[pytest]
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


class Session(NamedTuple):
    """What came of a session: its tests by how they ended, without their file; and all that it said."""

    passed: set[str]
    failed: set[str]
    errors: set[str]
    text: str


def run(pytester: pytest.Pytester, source: str, *options: str, ini: str = "") -> Session:
    """Run the tests of one file."""
    pytester.makeini(INI + ini)
    pytester.makepyfile(test_it=source)
    fixed = ("-rA", "-v", "-p", "no:cacheprovider", "-p", "no:xdist")
    text = pytester.runpytest_subprocess(*fixed, *options, timeout=100).stdout.str()

    def ended(word: str) -> set[str]:
        return set(re.findall(rf"^{word} test_it\.py::(\S+)", text, flags=re.MULTILINE))

    return Session(ended("PASSED"), ended("FAILED"), ended("ERROR"), text)
