"""A seeded, drawn town in SF-XL naming, to train and test place recognition with where there are no photographs."""

from __future__ import annotations

from progeo_toy_city.city import CitySizes, make_toy_city

__all__ = ["CitySizes", "make_toy_city"]
