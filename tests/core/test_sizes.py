"""Amounts of memory, as users give them."""

from __future__ import annotations

import pytest

from actorsched.sizes import check_size, shown_size


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (1, 1),
        (4096, 4096),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        (" 1.5 GiB ", 3 * 2**29),
        ("64 KiB", 65536),
        ("7 b", 7),
        ("2tb", 2 * 10**12),
    ],
)
def test_an_amount_is_a_number_of_bytes_or_text_with_a_unit(given: object, size: int) -> None:
    assert check_size(given, "max_rss") == size


@pytest.mark.parametrize("given", ["", "500", "MB", "5 horses", "-3 MB", "1e3 MB", "0 MB", 0, -1])
def test_what_is_no_amount_is_refused_with_an_example(given: object) -> None:
    with pytest.raises(ValueError, match=r"max_rss=.* give a number of bytes, or text such as"):
        check_size(given, "max_rss")


@pytest.mark.parametrize("given", [1.5, True, None, b"5 MB"])
def test_what_is_neither_a_number_nor_text_is_refused(given: object) -> None:
    with pytest.raises(TypeError, match="max_rss="):
        check_size(given, "max_rss")


@pytest.mark.parametrize(
    ("size", "text"),
    [(512_000_000, "512 MB"), (1_500_000_000, "1.5 GB"), (12, "12 B"), (65536, "65.5 kB")],
)
def test_amounts_are_shown_in_the_unit_that_fits(size: int, text: str) -> None:
    assert shown_size(size) == text
