"""Colours of the town, and the words on its signs."""

from __future__ import annotations

from progeo_toy_city.materials import Colour

BRICKS: list[Colour] = [
    (150, 72, 52), (168, 92, 62), (122, 62, 50), (186, 140, 92), (198, 172, 128), (106, 74, 62), (140, 104, 82),
]  # fmt: skip
PLASTERS: list[Colour] = [
    (236, 218, 176), (228, 190, 130), (226, 160, 120), (216, 132, 104), (200, 216, 190), (188, 206, 222),
    (238, 232, 220), (240, 206, 190), (196, 184, 166), (170, 190, 176), (222, 204, 100), (150, 176, 200),
    (206, 120, 110), (176, 160, 190),
]  # fmt: skip
STONES: list[Colour] = [
    (200, 188, 164), (184, 176, 160), (168, 160, 150), (206, 196, 180), (174, 150, 122), (150, 148, 146),
]  # fmt: skip
BOARDS: list[Colour] = [
    (96, 132, 150), (150, 60, 56), (214, 196, 140), (112, 140, 100), (224, 222, 214), (160, 120, 160), (72, 92, 120),
    (206, 140, 90),
]  # fmt: skip
CONCRETES: list[Colour] = [
    (178, 176, 170), (150, 150, 148), (196, 190, 180), (128, 134, 138), (170, 150, 130), (206, 206, 204),
]  # fmt: skip
HALF_TIMBERED: list[Colour] = [(240, 230, 206), (232, 208, 160), (214, 150, 110), (240, 238, 230), (196, 206, 180)]
BEAMS: list[Colour] = [(70, 48, 36), (100, 60, 40), (48, 42, 40), (110, 44, 36)]
TRIMS: list[Colour] = [
    (240, 236, 226), (226, 216, 196), (206, 200, 190), (176, 168, 156), (120, 84, 64), (90, 96, 100),
]  # fmt: skip
PAINTS: list[Colour] = [
    (30, 70, 54), (22, 48, 92), (120, 26, 30), (60, 40, 30), (28, 30, 34), (196, 160, 60), (70, 110, 130),
    (236, 232, 222), (150, 80, 40), (90, 40, 90), (20, 110, 110), (200, 80, 50), (60, 120, 60), (226, 130, 150),
]  # fmt: skip
FRAMES: list[Colour] = [
    (244, 242, 236), (236, 230, 214), (60, 50, 44), (36, 40, 44), (96, 66, 44), (44, 74, 60),
]  # fmt: skip
ROOFS: list[Colour] = [(92, 96, 106), (70, 74, 82), (150, 84, 60), (172, 98, 66), (120, 70, 56), (84, 100, 96)]
GOODS: list[Colour] = [
    (214, 70, 60), (240, 200, 90), (80, 150, 110), (70, 110, 180), (236, 230, 220), (190, 120, 70), (150, 90, 150),
    (60, 60, 70),
]  # fmt: skip
NAMES = [
    "Aurora", "Bruni", "Carrow", "Delmar", "Estrela", "Fenn", "Galli", "Holt", "Ivers", "Jansen", "Kestrel", "Lumen",
    "Marlow", "Nadir", "Orlo", "Pavone", "Quill", "Rossi", "Sorel", "Tamsin", "Ulmer", "Verdi", "Wren", "Yarrow",
    "Zeno", "Belmont", "Corvo", "Daria", "Elba", "Finch", "Garland", "Hazel", "Indigo", "Juno", "Lark", "Mosaic",
    "Noor", "Opal",
]  # fmt: skip
TRADES = [
    "Bakery", "Books", "Café", "Pharmacy", "Flowers", "Tailor", "Wines", "Optician", "Bistro", "Records", "Shoes",
    "Hotel", "Grocer", "Barber", "Gallery", "Toys", "Cheese", "Tea", "Bank", "Fish", "Hats", "Pizzeria", "Antiques",
    "Bicycles", "Lamps", "Florist", "Butcher", "Jewels", "Maps", "Ramen", "Tapas", "Laundry", "Pianos", "Paints",
    "Travel",
]  # fmt: skip
WALL_SIGNS = ["TOBACCO", "CORN & SEED", "PRINT WORKS", "COFFEE", "SOAP", "PIANOS", "HOTEL", "ICE", "MILL No 4"]
