from __future__ import annotations

from progeo.wording import format_count


def test_counts() -> None:
    assert [format_count(number, "photo") for number in (0, 1, 1200)] == ["0 photos", "1 photo", "1,200 photos"]
