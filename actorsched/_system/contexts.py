"""Contexts of variables: which of them hold the very same ones.

A context refers to one table of variables. The table is never changed but replaced, and copies of a context
share it until then. So two contexts that have the same table are interchangeable, and finding that out is
quicker than making a copy.

To compare contexts by `==` would be quicker still, and wrong: two senders may hold different baskets that are
both empty, and each wants its own to be filled.
"""

from __future__ import annotations

from gc import get_referents
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

tables_of: Callable[..., list[Any]] = get_referents
"""The tables of contexts that are not entered now. Should contexts look different one day, none is shared."""
