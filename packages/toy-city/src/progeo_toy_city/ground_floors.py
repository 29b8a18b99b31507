"""Ground floors: shops with lettering, house doors, arcades, garages, lobbies, and walls with posters on them."""

from __future__ import annotations

import numpy as np

from progeo_toy_city.looks import Look
from progeo_toy_city.materials import Colour, mix, shade
from progeo_toy_city.openings import draw_door, draw_window, glass
from progeo_toy_city.palette import GOODS, NAMES, PAINTS, TRADES
from progeo_toy_city.relief import Relief
from progeo_toy_city.sheet import SHOP_PANE, SIGN, Sheet


def draw_ground_floor(sheet: Sheet, look: Look, entrance: bool) -> list[Relief]:
    """Draw the storey at street level over the whole width of the sheet and return what stands out from it.

    ``entrance`` says whether this wall has the house door (a corner building has it on one side only).
    """
    relief: list[Relief] = []
    u, number = 0.3, int(sheet.rng.integers(1000))
    if look.base in ("doors", "wall") or (entrance and sheet.rng.random() < 0.6):
        u = _house_door(sheet, look, u, number) if entrance else u
    fillers = {
        "shop": _shops,
        "arcade": _arcade,
        "garage": _garages,
        "lobby": _lobby,
        "doors": _windows,
        "wall": _blank,
    }
    relief += fillers[look.base](sheet, look, u, sheet.width - 0.3, number)
    if look.bands or look.base == "shop":
        top = look.ground_height
        sheet.rectangle(0, top - 0.16, sheet.width, top + 0.1, look.trim)
        sheet.shadow(0, top - 0.32, sheet.width, top - 0.16, 0.3)
    return relief


def _house_door(sheet: Sheet, look: Look, u: float, number: int) -> float:
    width = float(sheet.rng.choice([1.0, 1.1, 1.6]))
    draw_door(sheet, look, u + 0.5, width, min(2.25, look.ground_height - 1.2), number)
    return u + width + 1.4


def _shops(sheet: Sheet, look: Look, u0: float, u1: float, number: int) -> list[Relief]:
    relief: list[Relief] = []
    shops = max(round((u1 - u0) / sheet.rng.uniform(5.0, 8.5)), 1)
    edges = np.linspace(u0, u1, shops + 1)
    for index in range(shops):
        relief += _shop(sheet, look, float(edges[index]), float(edges[index + 1]) - 0.2, number + index)
    return relief


def _shop(sheet: Sheet, look: Look, u0: float, u1: float, number: int) -> list[Relief]:
    rng = sheet.rng
    paint = PAINTS[rng.integers(len(PAINTS))]
    paint = mix(paint, (20, 20, 20), 0.15)
    letters = (244, 236, 214) if sum(paint) < 380 else (40, 30, 30)
    letters = [letters, (236, 196, 90), letters][rng.integers(3)] if sum(paint) < 380 else letters
    top = look.ground_height - 0.25
    fascia = top - rng.uniform(0.6, 0.85)
    sheet.rectangle(u0, 0, u1, top, paint)
    for post in (u0, u1 - 0.22):
        sheet.rectangle(post, 0, post + 0.22, fascia, shade(paint, 1.2))
        sheet.rectangle(post + 0.05, 0.3, post + 0.17, fascia - 0.2, shade(paint, 0.8))
    _sign(sheet, u0, fascia, u1, top, paint, letters)
    door_at = u0 + 0.3 if rng.random() < 0.5 else u1 - 1.4
    if u1 - u0 > 6 and rng.random() < 0.5:
        door_at = (u0 + u1) / 2 - 0.55
    sill = rng.choice([0.35, 0.5, 0.75])
    head = fascia - 0.12
    for left, right in ((u0 + 0.26, door_at - 0.08), (door_at + 1.18, u1 - 0.26)):
        if right - left > 0.5:
            _display(sheet, left, sill, right, head, paint)
    sheet.rectangle(door_at, 0, door_at + 1.1, head, shade(paint, 0.7))
    glass(sheet, door_at + 0.14, 0.5, door_at + 0.96, 2.2, SHOP_PANE + number % 10)
    if head > 2.5:
        glass(sheet, door_at + 0.14, 2.34, door_at + 0.96, head - 0.05, SHOP_PANE + number % 10)
    relief: list[Relief] = []
    if rng.random() < 0.5:
        second = (240, 236, 226) if rng.random() < 0.7 else shade(paint, 0.6)
        relief.append(
            Relief("awning", u0 + 0.1, fascia - 0.75, u1 - u0 - 0.2, 0.85, rng.uniform(0.9, 1.4), paint, second)
        )
    if rng.random() < 0.4:
        at = u0 + 0.1 if rng.random() < 0.5 else u1 - 0.2
        colour = PAINTS[rng.integers(len(PAINTS))]
        relief.append(
            Relief("blade", at, top + 0.2, 0.12, rng.uniform(0.7, 1.5), rng.uniform(0.6, 0.9), colour, letters)
        )
    return relief


def _sign(sheet: Sheet, u0: float, z0: float, u1: float, z1: float, paint: Colour, letters: Colour) -> None:
    rng = sheet.rng
    board = [shade(paint, 0.85), shade(paint, 1.25), (240, 234, 220), (40, 40, 44)][rng.integers(4)]
    if sum(board) > 500 and sum(letters) > 500:
        letters = shade(paint, 0.7)
    if sum(board) < 300 and sum(letters) < 300:
        letters = (240, 230, 210)
    sheet.rectangle(u0, z0, u1, z1, shade(board, 0.7))
    sheet.rectangle(u0 + 0.06, z0 + 0.06, u1 - 0.06, z1 - 0.06, board, SIGN + 1)
    name, trade = NAMES[rng.integers(len(NAMES))], TRADES[rng.integers(len(TRADES))]
    phrases = [
        f"{name} {trade}",
        f"{trade} {name}",
        f"{trade}",
        f"{name}'s",
        f"{name} & {NAMES[rng.integers(len(NAMES))]}",
    ]
    words = phrases[rng.integers(len(phrases))]
    words = words.upper() if rng.random() < 0.55 else words
    sheet.text(words, u0 + 0.25, z0 + 0.12, u1 - 0.25, z1 - 0.1, letters, slant=rng.choice([0.0, 0.0, 0.25]))


def _display(sheet: Sheet, u0: float, z0: float, u1: float, z1: float, paint: Colour) -> None:
    """A shop window: panes, a lit inside, shelves or figures with goods, and posters by lot."""
    rng = sheet.rng
    code = SHOP_PANE + int(rng.integers(10))
    sheet.gradient(u0, z0, u1, z1, (110, 118, 124), (74, 66, 60), code)
    floor = z0 + 0.12
    shelves = rng.integers(1, 4)
    base = GOODS[rng.integers(len(GOODS))]
    for shelf in range(shelves):
        low = floor + shelf * (z1 - z0) * 0.8 / shelves
        sheet.rectangle(u0, low - 0.05, u1, low, (120, 100, 80), code)
        u = u0 + 0.1
        while u < u1 - 0.3:
            width, height = rng.uniform(0.1, 0.4), rng.uniform(0.15, 0.62 * (z1 - z0) / shelves)
            goods = mix(GOODS[rng.integers(len(GOODS))], base, 0.4)
            if rng.random() < 0.3:
                sheet.ellipse(u, low, u + width, low + height, shade(goods, 0.85), code)
            else:
                sheet.rectangle(u, low, u + width, low + height, shade(goods, 0.8), code)
                sheet.rectangle(u, low + height * 0.8, u + width, low + height, shade(goods, 0.95), code)
            u += width + rng.uniform(0.05, 0.5)
    if rng.random() < 0.35:
        left = rng.uniform(u0, max(u1 - 0.8, u0 + 0.01))
        poster = GOODS[rng.integers(len(GOODS))]
        sheet.rectangle(left, z0 + 0.5, min(left + 0.7, u1), z0 + 1.4, poster)
        sheet.text(
            ["SALE", "-30%", "OPEN", "NEW"][rng.integers(4)],
            left,
            z0 + 0.8,
            min(left + 0.7, u1),
            z0 + 1.1,
            (250, 250, 246),
        )
    mullions = max(round((u1 - u0) / 1.5), 1)
    for index in range(mullions + 1):
        middle = u0 + (u1 - u0) * index / mullions
        sheet.rectangle(middle - 0.05, z0, middle + 0.05, z1, shade(paint, 1.1))
    sheet.shadow(u0, z1 - 0.18, u1, z1, 0.45)
    lean = [
        (u0 + (u1 - u0) * 0.55, z0),
        (u0 + (u1 - u0) * 0.62, z0),
        (u0 + (u1 - u0) * 0.8, z1),
        (u0 + (u1 - u0) * 0.73, z1),
    ]
    sheet.polygon(lean, (124, 132, 138), code)


def _windows(sheet: Sheet, look: Look, u0: float, u1: float, number: int) -> list[Relief]:
    count = max(int((u1 - u0 - 0.4) / look.bay), 1)
    bay = (u1 - u0) / count
    sill = 0.95
    height = min(look.window_height, look.ground_height - sill - 0.55)
    width = min(look.window_width, bay * 0.6)
    for index in range(count):
        draw_window(sheet, look, u0 + bay * (index + 0.5) - width / 2, sill, width, height, number + 11 * index)
    return []


def _blank(sheet: Sheet, look: Look, u0: float, u1: float, number: int) -> list[Relief]:
    """A wall with few windows, and with posters or scribbles."""
    rng = sheet.rng
    colour = shade(look.wall, 0.72)
    sheet.material("ashlar" if look.material in ("brick", "ashlar") else look.material, colour, 0, 0, sheet.width, 1.1)
    if rng.random() < 0.5:
        _windows(sheet, look, u0, u0 + (u1 - u0) * 0.5, number)
        u0 += (u1 - u0) * 0.55
    lot = rng.random()
    if lot < 0.45:
        for _ in range(rng.integers(2, 6)):
            left = rng.uniform(u0, max(u1 - 0.8, u0 + 0.1))
            low = rng.uniform(0.9, 1.3)
            sheet.rectangle(left, low, left + 0.65, low + 0.95, GOODS[rng.integers(len(GOODS))])
            sheet.rectangle(left + 0.08, low + 0.4, left + 0.57, low + 0.85, GOODS[rng.integers(len(GOODS))])
            sheet.text(
                NAMES[rng.integers(len(NAMES))].upper(),
                left + 0.05,
                low + 0.1,
                left + 0.6,
                low + 0.3,
                (30, 30, 30),
                code=0,
            )
    elif lot < 0.75:
        colour = GOODS[rng.integers(len(GOODS))]
        low = rng.uniform(0.5, 1.0)
        width = min(u1 - u0, rng.uniform(1.5, 3.5))
        sheet.text(NAMES[rng.integers(len(NAMES))], u0, low, u0 + width, low + 1.1, colour, code=0, slant=0.3)
    return []


def _arcade(sheet: Sheet, look: Look, u0: float, u1: float, number: int) -> list[Relief]:
    """Round arches with shop windows in their depth."""
    count = max(round((u1 - u0) / 2.9), 1)
    bay = (u1 - u0) / count
    half, spring = bay * 0.36, look.ground_height - 0.55 - bay * 0.36
    angles = np.linspace(0, np.pi, 15)
    for index in range(count):
        middle = u0 + bay * (index + 0.5)
        for grow, colour, code in (
            (0.16, look.trim, 0),
            (0.0, shade(look.wall, 0.3), 0),
            (-0.25, (70, 66, 62), SHOP_PANE + index % 10),
        ):
            arc = [(middle + (half + grow) * np.cos(a), spring + (half + grow) * np.sin(a)) for a in angles]
            sheet.polygon([(middle + half + grow, 0), *arc, (middle - half - grow, 0)], colour, code)
        _display(
            sheet, middle - half + 0.25, 0.4, middle + half - 0.25, spring - 0.1, PAINTS[(number + index) % len(PAINTS)]
        )
    return []


def _garages(sheet: Sheet, look: Look, u0: float, u1: float, number: int) -> list[Relief]:
    """A wide gate, and windows where there is room left."""
    rng = sheet.rng
    width = min(rng.uniform(2.4, 3.4), u1 - u0 - 0.3)
    top = min(look.ground_height - 0.7, 2.9)
    paint = PAINTS[rng.integers(len(PAINTS))]
    sheet.rectangle(u0 + 0.15, 0, u0 + width + 0.15, top + 0.15, look.trim)
    sheet.rectangle(u0 + 0.3, 0, u0 + width, top, shade(paint, 0.9))
    slats = 0.28 if rng.random() < 0.5 else 0.6
    for low in np.arange(0.1, top - 0.1, slats):
        sheet.rectangle(u0 + 0.3, float(low), u0 + width, float(low) + 0.05, shade(paint, 0.65))
    sheet.shadow(u0 + 0.3, top - 0.25, u0 + width, top, 0.5)
    if u1 - u0 - width > look.bay:
        _windows(sheet, look, u0 + width + 0.4, u1, number)
    return []


def _lobby(sheet: Sheet, look: Look, u0: float, u1: float, number: int) -> list[Relief]:
    """A glazed entrance hall with a canopy and the building's name."""
    rng = sheet.rng
    top = look.ground_height - 0.6
    panes = max(round((u1 - u0) / 1.7), 2)
    step = (u1 - u0) / panes
    for index in range(panes):
        left = u0 + index * step
        sheet.rectangle(left, 0, left + step, top, look.frame)
        glass(sheet, left + 0.06, 0.12, left + step - 0.06, top - 0.7, SHOP_PANE + (number + index) % 10)
        glass(sheet, left + 0.06, top - 0.62, left + step - 0.06, top - 0.08, SHOP_PANE + (number + index) % 10)
    middle = (u0 + u1) / 2
    words = (
        f"{NAMES[rng.integers(len(NAMES))]} {['House', 'Centre', 'Court', 'Plaza', 'Works'][rng.integers(5)]}".upper()
    )
    sheet.text(words, middle - 2.2, top + 0.1, middle + 2.2, top + 0.5, shade(look.frame, 0.8), SIGN)
    canopy = Relief("canopy", middle - 1.6, top - 0.1, 3.2, 0.18, 1.5, look.frame, look.accent)
    return [canopy] if rng.random() < 0.7 and sheet.width > 5 else []
