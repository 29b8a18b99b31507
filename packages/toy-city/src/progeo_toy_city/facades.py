"""Whole facades: wall, rows of windows, ground floor, crown and weathering, drawn on one sheet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from progeo_toy_city.crowns import crown_height, draw_crown
from progeo_toy_city.ground_floors import draw_ground_floor
from progeo_toy_city.looks import Look
from progeo_toy_city.materials import Colour, cloud_noise, mix, shade
from progeo_toy_city.openings import draw_window, glass
from progeo_toy_city.relief import Relief
from progeo_toy_city.sheet import PANES, Sheet

LEVELS = 6


@dataclass(frozen=True)
class Facade:
    """A drawn wall: packed texels ``(height, width)`` at ``LEVELS`` sizes, each half of the one before.

    ``scale`` is texels per metre of the first, ``height`` the height in metres; ``relief`` stands out from the wall.
    """

    levels: list[NDArray[np.uint32]]
    scale: float
    height: float
    relief: list[Relief]


def draw_facade(look: Look, width: float, scale: float, rng: np.random.Generator, entrance: bool = True) -> Facade:
    """Draw the street front of a building ``width`` metres wide, at ``scale`` texels per metre."""
    height = look.eaves + crown_height(look, width)
    sheet = Sheet(width, height, 2 * scale, rng)
    sheet.material(look.material, look.wall, 0, 0, width, look.eaves)
    if look.style == "timbered":
        _timbers(sheet, look)
    relief = _storeys(sheet, look)
    relief += draw_ground_floor(sheet, look, entrance)
    relief += draw_crown(sheet, look)
    _ornaments(sheet, look)
    _weather(sheet, look)
    return Facade(sheet.levels(LEVELS), scale, height, relief)


def draw_side(look: Look, width: float, scale: float, rng: np.random.Generator) -> Facade:
    """Draw a wall that looks onto a neighbour's plot: plain, with a few small windows and stains."""
    sheet = Sheet(width, look.eaves, 2 * scale, rng)
    material = "plaster" if look.material == "ashlar" else look.material
    sheet.material(material, mix(look.wall, (150, 140, 130), 0.35), 0, 0, width, look.eaves)
    for floor in range(1, look.floors):
        for u in np.arange(1.2, width - 1.6, 2.8):
            if rng.random() < 0.3:
                low = look.ground_height + (floor - 1) * look.floor_height + 0.9
                sheet.rectangle(u - 0.06, low - 0.06, u + 0.86, low + 1.16, look.frame)
                glass(sheet, float(u), low, float(u) + 0.8, low + 1.1, 1 + int(rng.integers(PANES)))
    _weather(sheet, look)
    return Facade(sheet.levels(LEVELS), scale, look.eaves, [])


def draw_hedge(look: Look, width: float, scale: float, rng: np.random.Generator) -> Facade:
    """Draw what closes a garden or an empty lot: a low hedge or a wall, with leaves hanging over it."""
    height = 1.5
    sheet = Sheet(width, height, 2 * scale, rng)
    if look.style in ("townhouse", "palace", "warehouse", "apartments"):
        sheet.material(look.material, look.wall, 0, 0, width, 1.15)
        sheet.rectangle(0, 1.05, width, 1.2, look.trim)
    else:
        sheet.rectangle(0, 0, width, 1.2, (40, 58, 34))
        for _ in range(int(width * 60)):
            u, z, size = rng.uniform(0, width), rng.uniform(0, 1.25), rng.uniform(0.04, 0.11)
            sheet.ellipse(u, z, u + size, z + size, shade((70, 98, 48), rng.uniform(0.6, 1.3)))
    return Facade(sheet.levels(LEVELS), scale, height, [])


def _storeys(sheet: Sheet, look: Look) -> list[Relief]:
    """Draw the windows of the upper floors, bay by bay, with bands between the floors."""
    if look.window in ("curtain", "strip", "fins"):
        _glazed_storeys(sheet, look)
        return []
    relief: list[Relief] = []
    margin = 0.35
    bays = max(round((sheet.width - 2 * margin) / look.bay), 1)
    bay = (sheet.width - 2 * margin) / bays
    width = min(look.window_width, bay * (0.42 if look.shutters else 0.62))
    with_balcony = sheet.rng.random(bays) < (0.75 if look.style == "apartments" else 0.45)
    number = int(sheet.rng.integers(1000))
    for floor in range(1, look.floors):
        low = look.ground_height + (floor - 1) * look.floor_height
        sill = low + (0.3 if look.window == "french" else 0.85 if look.style != "timbered" else 0.75)
        # Windows of higher floors are lower, as in most old houses.
        height = min(look.window_height * (1 - 0.05 * (floor - 1)), look.floor_height - (sill - low) - 0.45)
        if look.bands and floor > 1:
            sheet.rectangle(0, low - 0.1, sheet.width, low + 0.08, look.trim)
            sheet.shadow(0, low - 0.2, sheet.width, low - 0.1, 0.3)
        for index in range(bays):
            left = margin + bay * (index + 0.5) - width / 2
            number += 1
            draw_window(sheet, look, left, sill, width, height, number * 37)
            if look.balconies != "none" and with_balcony[index] and sheet.width > 4:
                reach = min(bay * 0.92, width + 0.9)
                middle = margin + bay * (index + 0.5)
                depth = 1.1 if look.style == "apartments" else 0.6
                foot = low + (0.1 if look.style == "apartments" else 0.16)
                relief.append(
                    Relief(look.balconies, middle - reach / 2, foot, reach, 0.95, depth, look.accent, look.trim)
                )
    return relief


def _glazed_storeys(sheet: Sheet, look: Look) -> None:
    """Draw floors of offices: a curtain of glass, strips, or windows between upright fins."""
    number = int(sheet.rng.integers(1000))
    tint: Colour = [(90, 130, 150), (80, 120, 110), (120, 130, 140), (130, 110, 80), (60, 80, 110)][
        sheet.rng.integers(5)
    ]
    spandrel = mix(look.accent, look.wall, 0.4) if sheet.rng.random() < 0.5 else shade(look.wall, 0.75)
    panes = max(round((sheet.width - 0.6) / look.bay), 1)
    step = (sheet.width - 0.6) / panes
    for floor in range(1, look.floors):
        low = look.ground_height + (floor - 1) * look.floor_height
        foot, head = {"curtain": (0.55, 0.06), "strip": (1.0, 0.55), "fins": (0.5, 0.3)}[look.window]
        if look.window == "curtain":
            sheet.rectangle(0.3, low, sheet.width - 0.3, low + look.floor_height, spandrel)
        for index in range(panes):
            left, right = 0.3 + index * step, 0.3 + (index + 1) * step
            number += 1
            code = 1 + number * 37 % PANES
            light = sheet.rng.uniform(0.85, 1.15)
            top, bottom = mix(shade(tint, 1.35), (170, 190, 205), 0.3), shade(tint, 0.62)
            sheet.gradient(
                left, low + foot, right, low + look.floor_height - head, shade(top, light), shade(bottom, light), code
            )
            if sheet.rng.random() < 0.25:
                drop = sheet.rng.uniform(0.3, 0.9)
                upper = low + look.floor_height - head
                sheet.gradient(left, upper - drop, right, upper, (200, 198, 190), (180, 178, 172), code)
            sheet.rectangle(left - 0.05, low + foot, left + 0.05, low + look.floor_height - head, look.frame)
            if look.window == "fins":
                sheet.rectangle(left - 0.22, low, left + 0.12, low + look.floor_height, shade(look.wall, 1.06))
                sheet.shadow(left + 0.12, low, left + 0.26, low + look.floor_height, 0.35)
        sheet.rectangle(0.3, low + foot - 0.06, sheet.width - 0.3, low + foot, look.frame)


def _timbers(sheet: Sheet, look: Look) -> None:
    """Draw the beams of a half-timbered wall: posts, rails, and braces in a pattern of this house's own."""
    beam, bays = 0.17, max(round(sheet.width / look.bay), 1)
    step = sheet.width / bays
    pattern = sheet.rng.integers(3)
    for floor in range(1, look.floors):
        low = look.ground_height + (floor - 1) * look.floor_height
        high = low + look.floor_height
        for z in (low, low + 0.7, high - 0.15):
            sheet.rectangle(0, z - beam / 2, sheet.width, z + beam / 2, look.trim)
        for index in range(bays):
            left, right = index * step, (index + 1) * step
            if pattern == 0 or (pattern == 1 and index % 2 == 0):
                sheet.line([(left, low), (right, low + 0.7)], look.trim, beam * 0.8)
                sheet.line([(left, low + 0.7), (right, low)], look.trim, beam * 0.8)
            else:
                lean = (left, right) if index % 2 else (right, left)
                sheet.line([(lean[0], low), ((left + right) / 2, high)], look.trim, beam * 0.8)
            sheet.rectangle(left - beam / 2, low, left + beam / 2, high, look.trim)
        sheet.rectangle(sheet.width - beam, low, sheet.width, high, look.trim)


def _ornaments(sheet: Sheet, look: Look) -> None:
    """Add what houses gather: a drainpipe, air conditioners, creepers, a sign painted on the wall."""
    rng = sheet.rng
    if rng.random() < 0.6 and look.style != "office":
        side = rng.choice([0.08, sheet.width - 0.22])
        sheet.rectangle(side, 0, side + 0.12, look.eaves, mix(look.trim, (90, 90, 90), 0.6))
        sheet.shadow(side + 0.12, 0, side + 0.2, look.eaves, 0.3)
    if rng.random() < 0.2 and look.floors > 2:
        for _ in range(rng.integers(1, 4)):
            u = rng.uniform(0.3, max(sheet.width - 1.1, 0.4))
            z = look.ground_height + rng.integers(0, look.floors - 1) * look.floor_height + 0.1
            sheet.rectangle(u, z, u + 0.8, z + 0.55, (206, 206, 202))
            sheet.ellipse(u + 0.08, z + 0.06, u + 0.5, z + 0.48, (120, 122, 124))
            sheet.shadow(u, z - 0.15, u + 0.85, z, 0.3)
    if rng.random() < 0.14 and look.style in ("cottage", "townhouse", "warehouse", "stucco", "wooden"):
        _creeper(sheet, look)
    if rng.random() < 0.1 and look.style in ("warehouse", "townhouse", "gabled") and sheet.width > 5:
        words = ["TOBACCO", "CORN & SEED", "PRINT WORKS", "COFFEE", "SOAP", "PIANOS", "HOTEL", "ICE", "MILL No 4"][
            rng.integers(9)
        ]
        top = look.eaves - 0.15
        sheet.rectangle(0.4, top - 1.0, sheet.width - 0.4, top, mix(look.wall, (240, 230, 210), 0.55))
        sheet.text(words, 0.6, top - 0.88, sheet.width - 0.6, top - 0.12, shade(look.wall, 0.4), code=0)


def _creeper(sheet: Sheet, look: Look) -> None:
    rng = sheet.rng
    root = rng.uniform(0.1, 0.9) * sheet.width
    reach, top = rng.uniform(1.0, 2.6), rng.uniform(0.5, 0.95) * look.eaves
    for _ in range(900):
        z = top * rng.random() ** 0.8
        u = root + rng.normal(0, reach * (0.2 + 0.25 * z / top))
        size = rng.uniform(0.1, 0.24)
        green = shade((70, 104, 46), rng.uniform(0.6, 1.35))
        if 0 < u < sheet.width - size:
            sheet.ellipse(u, z, u + size, z + size * 0.8, green)


def _weather(sheet: Sheet, look: Look) -> None:
    """Darken the foot and the parts below the eaves, and add broad stains, so that no wall is evenly lit."""
    columns, rows = sheet.colours.size
    z = (np.arange(rows, dtype=np.float32)[::-1] + 0.5) / sheet.scale
    light = 1 - 0.28 * np.exp(-z / 0.5) - 0.22 * np.exp(-np.abs(look.eaves - z) / 0.45) * (z < look.eaves)
    stains = cloud_noise(rows, columns, 4 * sheet.scale, sheet.rng, 2) * 0.1
    sheet.lighten(light[:, None] + stains)
