"""How facades end at the top: cornices, parapets, gables, mansards and tiled roofs."""

from __future__ import annotations

import numpy as np

from progeo_toy_city.looks import Look
from progeo_toy_city.materials import shade
from progeo_toy_city.openings import draw_window, glass
from progeo_toy_city.relief import Relief
from progeo_toy_city.sheet import PANES, Sheet


def crown_height(look: Look, width: float) -> float:
    """Return how far the crown of a wall ``width`` metres wide rises above the eaves, in metres."""
    heights = {
        "mansard": 3.2,
        "tiles": 2.2,
        "balustrade": 1.3,
        "parapet": 0.9,
        "flat": 0.7,
        "brackets": 0.8,
        "cornice": 0.7,
        "eaves": 0.3,
    }
    gables = {"gable": 0.55 * min(width, 10), "steps": 0.5 * min(width, 10) + 0.6, "bell": 0.45 * min(width, 9) + 0.5}
    return {**heights, **gables}[look.crown]


def draw_crown(sheet: Sheet, look: Look) -> list[Relief]:
    """Draw the building's crown above its eaves and return what stands out from it."""
    return _CROWNS[look.crown](sheet, look)


def _cornice(sheet: Sheet, look: Look, top: float | None = None) -> list[Relief]:
    eaves = look.eaves if top is None else top
    sheet.rectangle(0, eaves - 0.35, sheet.width, eaves + 0.35, look.trim)
    sheet.rectangle(0, eaves + 0.15, sheet.width, eaves + 0.35, shade(look.trim, 1.08))
    sheet.rectangle(0, eaves - 0.02, sheet.width, eaves + 0.05, shade(look.trim, 0.7))
    for u in np.arange(0.1, sheet.width - 0.1, 0.36):
        sheet.rectangle(float(u), eaves - 0.26, float(u) + 0.18, eaves - 0.06, shade(look.trim, 0.8))
    sheet.shadow(0, eaves - 0.7, sheet.width, eaves - 0.35, 0.35)
    return []


def _brackets(sheet: Sheet, look: Look) -> list[Relief]:
    _cornice(sheet, look)
    for u in np.linspace(0.15, sheet.width - 0.45, max(round(sheet.width / 1.2), 2)):
        sheet.rectangle(float(u), look.eaves - 0.75, float(u) + 0.28, look.eaves, shade(look.trim, 0.92))
        sheet.rectangle(float(u) + 0.2, look.eaves - 0.75, float(u) + 0.28, look.eaves, shade(look.trim, 0.65))
    sheet.rectangle(0, look.eaves + 0.35, sheet.width, look.eaves + 0.8, shade(look.roof, 0.9))
    return []


def _parapet(sheet: Sheet, look: Look) -> list[Relief]:
    low, high = look.eaves, look.eaves + 0.75
    sheet.material(look.material, look.wall, 0, low, sheet.width, high)
    sheet.rectangle(0, low - 0.1, sheet.width, low + 0.06, look.trim)
    sheet.shadow(0, low - 0.22, sheet.width, low - 0.1, 0.3)
    sheet.rectangle(0, high - 0.12, sheet.width, high + 0.04, look.trim)
    if sheet.width > 6:
        middle = sheet.width / 2
        sheet.rectangle(middle - 1.4, high, middle + 1.4, high + 0.15, look.trim)
    return []


def _flat(sheet: Sheet, look: Look) -> list[Relief]:
    sheet.rectangle(0, look.eaves - 0.1, sheet.width, look.eaves + 0.3, shade(look.wall, 0.86))
    sheet.rectangle(0, look.eaves + 0.2, sheet.width, look.eaves + 0.3, shade(look.wall, 1.08))
    for u in np.arange(0.3, sheet.width - 0.2, 1.3):
        sheet.rectangle(float(u), look.eaves + 0.3, float(u) + 0.05, look.eaves + 0.68, (110, 112, 114))
    sheet.rectangle(0.3, look.eaves + 0.62, sheet.width - 0.3, look.eaves + 0.68, (110, 112, 114))
    return []


def _balustrade(sheet: Sheet, look: Look) -> list[Relief]:
    _cornice(sheet, look)
    low = look.eaves + 0.35
    for u in np.arange(0.15, sheet.width - 0.1, 0.3):
        sheet.rectangle(float(u), low, float(u) + 0.13, low + 0.7, shade(look.trim, 0.95))
    for u in np.linspace(0, sheet.width - 0.5, max(round(sheet.width / 3), 2)):
        sheet.rectangle(float(u), low, float(u) + 0.5, low + 0.85, look.trim)
    sheet.rectangle(0, low + 0.66, sheet.width, low + 0.8, shade(look.trim, 1.06))
    return []


def _eaves(sheet: Sheet, look: Look) -> list[Relief]:
    sheet.rectangle(0, look.eaves - 0.2, sheet.width, look.eaves + 0.3, (86, 60, 44))
    for u in np.arange(0.1, sheet.width - 0.1, 0.5):
        sheet.rectangle(float(u), look.eaves - 0.2, float(u) + 0.16, look.eaves + 0.06, (120, 88, 62))
    sheet.rectangle(0, look.eaves + 0.1, sheet.width, look.eaves + 0.3, shade(look.roof, 0.85))
    sheet.shadow(0, look.eaves - 0.65, sheet.width, look.eaves - 0.2, 0.4)
    return []


def _tiles(sheet: Sheet, look: Look) -> list[Relief]:
    low, high = look.eaves, look.eaves + 2.1
    sheet.material("tiles", look.roof, 0, low, sheet.width, high)
    slope = min(1.1, sheet.width / 4)
    _cut(sheet, [(0, low), (0, high + 1), (slope, high + 1), (slope, high)])
    _cut(
        sheet,
        [(sheet.width, low), (sheet.width, high + 1), (sheet.width - slope, high + 1), (sheet.width - slope, high)],
    )
    sheet.rectangle(slope, high - 0.12, sheet.width - slope, high, shade(look.roof, 0.75))
    if sheet.rng.random() < 0.5 and sheet.width > 5:
        for u in np.linspace(0, sheet.width, max(round(sheet.width / 4), 1) + 2)[1:-1]:
            sheet.rectangle(u - 0.55, low + 0.5, u + 0.55, low + 1.6, look.frame)
            glass(sheet, u - 0.45, low + 0.6, u + 0.45, low + 1.5, 1 + int(sheet.rng.integers(PANES)))
    sheet.rectangle(0, low - 0.12, sheet.width, low + 0.1, (84, 78, 74))
    sheet.shadow(0, low - 0.6, sheet.width, low - 0.12, 0.4)
    return []


def _mansard(sheet: Sheet, look: Look) -> list[Relief]:
    low, high = look.eaves + 0.3, look.eaves + 2.9
    sheet.material("tiles", look.roof, 0, low, sheet.width, high)
    sheet.rectangle(0, high - 0.14, sheet.width, high + 0.1, shade(look.roof, 0.7))
    _cornice(sheet, look)
    bays = max(round(sheet.width / max(look.bay, 2.6)), 1)
    for index in range(bays):
        middle = sheet.width * (index + 0.5) / bays
        half = min(0.72, sheet.width / bays * 0.38)
        sheet.rectangle(middle - half - 0.15, low + 0.3, middle + half + 0.15, low + 1.95, look.trim)
        glass(sheet, middle - half, low + 0.4, middle + half, low + 1.8, 1 + int(sheet.rng.integers(PANES)))
        sheet.rectangle(middle - 0.03, low + 0.4, middle + 0.03, low + 1.8, look.frame)
        roof = [(middle - half - 0.3, low + 1.9), (middle + half + 0.3, low + 1.9), (middle, low + 2.45)]
        sheet.polygon(roof, shade(look.trim, 0.85))
        sheet.shadow(middle + half + 0.15, low + 0.3, middle + half + 0.4, low + 1.9, 0.4)
    return []


def _gable(sheet: Sheet, look: Look) -> list[Relief]:
    rise = crown_height(look, sheet.width)
    low, middle = look.eaves, sheet.width / 2
    sheet.material(look.material, look.wall, 0, low, sheet.width, low + rise)
    if look.style == "timbered":
        for share in (0.05, 0.4, 0.75):
            sheet.rectangle(0, low + rise * share - 0.08, sheet.width, low + rise * share + 0.08, look.trim)
        for u in np.arange(0.4, sheet.width, 1.1):
            sheet.rectangle(float(u) - 0.08, low, float(u) + 0.08, low + rise, look.trim)
    _gable_window(sheet, look, low, rise)
    _cut(sheet, [(0, low), (0, low + rise + 1), (middle, low + rise + 1), (middle, low + rise)])
    _cut(sheet, [(sheet.width, low), (sheet.width, low + rise + 1), (middle, low + rise + 1), (middle, low + rise)])
    board = shade(look.trim, 0.95) if look.style != "gabled" else look.trim
    sheet.line([(0, low), (middle, low + rise - 0.05), (sheet.width, low)], board, 0.22)
    return []


def _gable_window(sheet: Sheet, look: Look, low: float, rise: float) -> None:
    width = min(look.window_width, 0.3 * sheet.width)
    height = min(look.window_height * 0.8, rise * 0.42)
    number = int(sheet.rng.integers(PANES))
    draw_window(sheet, look, sheet.width / 2 - width / 2, low + 0.35, width, height, number)


def _steps(sheet: Sheet, look: Look) -> list[Relief]:
    rise = crown_height(look, sheet.width)
    low, steps = look.eaves, max(int(min(sheet.width, 10) / 1.3), 3)
    sheet.material(look.material, look.wall, 0, low, sheet.width, low + rise)
    _gable_window(sheet, look, low, rise)
    for index in range(steps):
        foot = low + rise * index / steps
        inset = sheet.width / 2 * (index + 0.35) / (steps + 0.35)
        for left, right in ((0.0, inset), (sheet.width - inset, sheet.width)):
            sheet.rectangle(left, foot, right, low + rise + 1, (120, 120, 120), 255)
        following = sheet.width / 2 * (index + 1.35) / (steps + 0.35)
        top = low + rise * (index + 1) / steps
        if index < steps - 1:
            sheet.rectangle(inset, top - 0.14, following, top, look.trim)
            sheet.rectangle(sheet.width - following, top - 0.14, sheet.width - inset, top, look.trim)
        else:
            sheet.rectangle(inset, top - 0.14, sheet.width - inset, top, look.trim)
    return []


def _bell(sheet: Sheet, look: Look) -> list[Relief]:
    rise = crown_height(look, sheet.width)
    low, middle, half = look.eaves, sheet.width / 2, sheet.width / 2
    sheet.material(look.material, look.wall, 0, low, sheet.width, low + rise)
    _gable_window(sheet, look, low, rise)
    heights = np.linspace(0, 1, 15)
    reach = half * (0.28 + 0.72 * (1 - heights) ** 2.2)
    for sign in (-1, 1):
        edge = [(middle + sign * r, low + rise * 0.85 * h) for r, h in zip(reach, heights, strict=True)]
        outside = [(middle + sign * reach[-1], low + rise + 1), (middle + sign * half, low + rise + 1)]
        _cut(sheet, edge + outside)
        sheet.line(edge, look.trim, 0.2)
    top = low + rise * 0.85
    sheet.rectangle(middle - reach[-1], top, middle + reach[-1], low + rise + 1, (120, 120, 120), 255)
    sheet.rectangle(middle - reach[-1] - 0.15, top - 0.1, middle + reach[-1] + 0.15, top + 0.12, look.trim)
    sheet.ellipse(middle - 0.22, top + 0.1, middle + 0.22, top + 0.5, look.trim)
    return []


def _cut(sheet: Sheet, points: list[tuple[float, float]]) -> None:
    sheet.polygon(points, (120, 120, 120), 255)


_CROWNS = {
    "cornice": _cornice,
    "brackets": _brackets,
    "parapet": _parapet,
    "flat": _flat,
    "balustrade": _balustrade,
    "eaves": _eaves,
    "tiles": _tiles,
    "mansard": _mansard,
    "gable": _gable,
    "steps": _steps,
    "bell": _bell,
}
