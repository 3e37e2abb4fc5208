"""The front ends share one runtime, in a thread of its own: no test leaves it to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorsched.frontends._shared import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_runtime_is_left(warm_backends: None, nothing_outlives_the_test: None) -> Iterator[None]:
    """Stops the shared runtime after each test, before anybody looks what has outlived it."""
    yield
    SHARED.stop(drain=False, timeout=5)
