"""Contexts of variables: copies that are shared for as long as nobody changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextvars import Context


def same_variables(context: Context, other: Context) -> bool:
    """Whether two contexts hold the same values; a look at one pointer, as long as neither was changed."""
    try:
        return context == other
    except Exception:  # a value whose comparison raises, such as an array
        return False
