"""Windows and doors, drawn on a sheet."""

from __future__ import annotations

import numpy as np

from progeo_toy_city.looks import Look
from progeo_toy_city.materials import Colour, mix, shade
from progeo_toy_city.palette import PAINTS
from progeo_toy_city.sheet import PANES, Sheet

GLASS: list[tuple[Colour, Colour]] = [
    ((92, 110, 126), (34, 42, 52)),
    ((120, 140, 156), (50, 60, 70)),
    ((70, 84, 96), (26, 30, 38)),
    ((142, 160, 172), (66, 78, 88)),
]
CURTAINS: list[Colour] = [
    (222, 216, 204),
    (200, 190, 170),
    (176, 120, 100),
    (120, 136, 150),
    (232, 228, 222),
    (150, 150, 120),
]


def draw_window(sheet: Sheet, look: Look, u: float, z: float, width: float, height: float, number: int) -> None:
    """Draw the building's kind of window, lower left corner at (u, z); ``number`` tells panes apart at night."""
    code = 1 + number % PANES
    if look.surround in _SURROUNDS:
        _SURROUNDS[look.surround](sheet, look, u, z, width, height)
    if look.shutters:
        _shutters(sheet, look, u, z, width, height)
    kind = look.window
    if kind in ("arched", "segmental"):
        _arched(sheet, look, u, z, width, height, code, rise=width / 2 if kind == "arched" else width * 0.16)
    else:
        sheet.rectangle(u, z, u + width, z + height, shade(look.wall, 0.45))
        glass(sheet, u + 0.04, z, u + width, z + height - 0.06, code)
        _glazing_bars(sheet, look, u, z, width, height)
    sheet.rectangle(u - 0.1, z - 0.12, u + width + 0.1, z, shade(look.trim, 1.05))
    sheet.shadow(u - 0.1, z - 0.24, u + width + 0.12, z - 0.12, 0.35)


def glass(sheet: Sheet, u0: float, z0: float, u1: float, z1: float, code: int) -> None:
    """Fill a rectangle with a pane: sky above, a dark room below, and by lot curtains, a blind or a streak."""
    rng = sheet.rng
    top, bottom = GLASS[rng.integers(len(GLASS))]
    brightness = rng.uniform(0.75, 1.2)
    sheet.gradient(u0, z0, u1, z1, shade(top, brightness), shade(bottom, brightness), code)
    width, height = u1 - u0, z1 - z0
    lot = rng.random()
    curtain = shade(CURTAINS[rng.integers(len(CURTAINS))], 0.82)
    if lot < 0.3:
        hang = rng.uniform(0.14, 0.3) * width
        sheet.gradient(u0, z0, u0 + hang, z1, curtain, shade(curtain, 0.75), code)
        sheet.gradient(u1 - hang, z0, u1, z1, curtain, shade(curtain, 0.75), code)
    elif lot < 0.45:
        drop = rng.choice([0.25, 0.5, 0.85]) * height
        sheet.gradient(u0, z1 - drop, u1, z1, curtain, shade(curtain, 0.85), code)
    elif lot < 0.6:
        lean = rng.uniform(0.2, 0.5) * width
        points = [
            (u0 + 0.1 * width, z0),
            (u0 + 0.4 * width, z0),
            (u0 + 0.4 * width + lean, z1),
            (u0 + 0.1 * width + lean, z1),
        ]
        sheet.polygon([(min(u, u1), z) for u, z in points], shade(top, 1.2), code)


def _bars(
    sheet: Sheet, u: float, z: float, width: float, height: float, columns: int, rows: int, colour: Colour, bar: float
) -> None:
    for column in range(1, columns):
        middle = u + width * column / columns
        sheet.rectangle(middle - bar / 2, z, middle + bar / 2, z + height, colour)
    for row in range(1, rows):
        middle = z + height * row / rows
        sheet.rectangle(u, middle - bar / 2, u + width, middle + bar / 2, colour)


def _glazing_bars(sheet: Sheet, look: Look, u: float, z: float, width: float, height: float) -> None:
    edge = 0.06
    for left, right in ((u, u + edge), (u + width - edge, u + width)):
        sheet.rectangle(left, z, right, z + height, look.frame)
    for low, high in ((z, z + edge), (z + height - edge, z + height)):
        sheet.rectangle(u, low, u + width, high, look.frame)
    # The wall is thick: its upper and left edges throw a narrow shadow on the frame.
    sheet.shadow(u, z + height - 0.1, u + width, z + height, 0.4)
    sheet.shadow(u, z, u + 0.05, z + height, 0.3)
    grids = {"sash": (2, 2), "casement": (2, 3), "french": (2, 4), "industrial": (5, 5), "picture": (2, 1)}
    columns, rows = grids.get(look.window, (2, 1))
    _bars(sheet, u, z, width, height, columns, rows, look.frame, 0.05)
    if look.window == "sash":
        sheet.rectangle(u, z + height / 2 - 0.05, u + width, z + height / 2 + 0.04, look.frame)


def _arched(sheet: Sheet, look: Look, u: float, z: float, width: float, height: float, code: int, rise: float) -> None:
    steps = np.linspace(0, np.pi, 13)

    def outline(grow: float) -> list[tuple[float, float]]:
        half, middle = width / 2 + grow, u + width / 2
        arc = [(middle + half * np.cos(a), z + height - rise + (rise + grow) * np.sin(a)) for a in steps]
        return [(u + width + grow, z), *arc, (u - grow, z)]

    sheet.polygon(outline(0.14), shade(look.trim, 0.95))
    sheet.polygon(outline(0.0), look.frame)
    top, bottom = GLASS[sheet.rng.integers(len(GLASS))]
    sheet.polygon(outline(-0.07), mix(top, bottom, 0.45), code)
    glass(sheet, u + 0.07, z + 0.07, u + width - 0.07, z + height - rise, code)
    _bars(sheet, u, z, width, height - rise, 2, 3, look.frame, 0.05)
    sheet.rectangle(u, z + height - rise - 0.04, u + width, z + height - rise + 0.03, look.frame)


def _frame(sheet: Sheet, look: Look, u: float, z: float, width: float, height: float) -> None:
    sheet.rectangle(u - 0.15, z - 0.1, u + width + 0.15, z + height + 0.18, look.trim)
    sheet.shadow(u + width + 0.15, z - 0.1, u + width + 0.21, z + height + 0.14, 0.25)


def _lintel(sheet: Sheet, look: Look, u: float, z: float, width: float, height: float) -> None:
    sheet.rectangle(u - 0.18, z + height, u + width + 0.18, z + height + 0.28, look.trim)
    sheet.shadow(u - 0.18, z + height - 0.05, u + width + 0.18, z + height, 0.3)


def _keystone(sheet: Sheet, look: Look, u: float, z: float, width: float, height: float) -> None:
    _lintel(sheet, look, u, z, width, height)
    middle = u + width / 2
    corners = [(middle - 0.12, z + height - 0.05), (middle + 0.12, z + height - 0.05), (middle + 0.2, z + height + 0.4)]
    sheet.polygon([*corners, (middle - 0.2, z + height + 0.4)], shade(look.trim, 1.08))


def _pediment(sheet: Sheet, look: Look, u: float, z: float, width: float, height: float) -> None:
    _frame(sheet, look, u, z, width, height)
    low, left, right = z + height + 0.2, u - 0.28, u + width + 0.28
    sheet.rectangle(left, low, right, low + 0.1, shade(look.trim, 1.05))
    sheet.polygon([(left, low + 0.1), (right, low + 0.1), (u + width / 2, low + 0.48)], shade(look.trim, 1.02))
    sheet.polygon(
        [(left + 0.25, low + 0.14), (right - 0.25, low + 0.14), (u + width / 2, low + 0.36)], shade(look.trim, 0.8)
    )
    sheet.shadow(left, low - 0.1, right, low, 0.35)


_SURROUNDS = {"frame": _frame, "lintel": _lintel, "keystone": _keystone, "pediment": _pediment}


def _shutters(sheet: Sheet, look: Look, u: float, z: float, width: float, height: float) -> None:
    leaf = width * 0.48
    for left in (u - leaf - 0.03, u + width + 0.03):
        sheet.rectangle(left, z, left + leaf, z + height, look.accent)
        slats = np.arange(z + 0.1, z + height - 0.05, 0.14)
        for slat in slats:
            sheet.rectangle(left + 0.06, slat, left + leaf - 0.06, slat + 0.05, shade(look.accent, 0.72))
        sheet.shadow(left + leaf, z - 0.05, left + leaf + 0.05, z + height, 0.3)


def draw_door(sheet: Sheet, look: Look, u: float, width: float, height: float, number: int) -> None:
    """Draw a house door with its left post at ``u``: surround, steps, panels, a light above, and a house number."""
    rng = sheet.rng
    paint = PAINTS[rng.integers(len(PAINTS))] if rng.random() < 0.5 else look.accent
    sheet.rectangle(u - 0.22, 0, u + width + 0.22, height + 0.55, look.trim)
    sheet.rectangle(u - 0.34, height + 0.55, u + width + 0.34, height + 0.72, shade(look.trim, 1.06))
    sheet.shadow(u - 0.34, height + 0.45, u + width + 0.34, height + 0.55, 0.4)
    sheet.rectangle(u, 0, u + width, height + 0.4, shade(paint, 0.4))
    glass(sheet, u + 0.05, height + 0.02, u + width - 0.05, height + 0.36, 1 + (number * 7 + 3) % PANES)
    sheet.rectangle(u + 0.05, 0.2, u + width, height - 0.05, paint)
    leaves = 2 if width > 1.3 else 1
    for leaf in range(leaves):
        left = u + 0.05 + leaf * width / leaves
        right = left + width / leaves - 0.1
        for low, high in ((0.35, 0.95), (1.1, height - 0.2)):
            sheet.rectangle(left + 0.1, low, right - 0.05, high, shade(paint, 0.78))
            sheet.rectangle(left + 0.14, low + 0.04, right - 0.05, high, shade(paint, 1.12))
    sheet.ellipse(u + width * 0.8, 1.02, u + width * 0.8 + 0.1, 1.12, (206, 180, 90))
    sheet.rectangle(u - 0.3, 0, u + width + 0.3, 0.18, (150, 146, 140))
    sheet.rectangle(u - 0.15, 0.16, u + width + 0.15, 0.3, (172, 168, 160))
    plate = u + width + 0.3
    sheet.rectangle(plate, 1.7, plate + 0.34, 1.95, (30, 50, 110))
    sheet.text(str(number % 180 + 1), plate + 0.04, 1.73, plate + 0.3, 1.92, (240, 240, 240), code=0)
