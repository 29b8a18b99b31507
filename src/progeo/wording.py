"""Words that depend on numbers."""

from __future__ import annotations


def format_count(number: int, noun: str) -> str:
    """Return how many there are of something: ``1 photo``, ``1,200 photos``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
