"""The plan of a district: crooked streets, blocks cut into lots with buildings, and what stands along the kerbs.

All in metres, x to the right and y up, seen from above; headings are compass degrees with y as north.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from progeo_toy_city.looks import Look, draw_look

Points = NDArray[np.float64]
PITCH = 58.0  # metres from one crossing to the next, about


@dataclass(frozen=True)
class Street:
    """A street: its centre line ``(K, 2)`` through K crossings, half its width from wall to wall, and its pavements."""

    line: Points
    half_width: float
    pavement: float

    @property
    def length(self) -> float:
        """Length of the centre line."""
        return float(np.linalg.norm(np.diff(self.line, axis=0), axis=1).sum())

    def locate(self, distance: float, aside: float = 0.0) -> tuple[float, float, float]:
        """Return x, y and heading of the street ``distance`` metres from its start, ``aside`` metres right of it."""
        steps = np.linalg.norm(np.diff(self.line, axis=0), axis=1)
        ends = np.cumsum(steps)
        piece = min(int(np.searchsorted(ends, distance)), len(steps) - 1)
        direction = (self.line[piece + 1] - self.line[piece]) / steps[piece]
        x, y = (
            self.line[piece + 1]
            + direction * (distance - ends[piece])
            + aside * np.array([direction[1], -direction[0]])
        )
        return float(x), float(y), float(np.degrees(np.arctan2(direction[0], direction[1])) % 360)

    @property
    def crossings(self) -> Points:
        """Distances from the start at which other streets meet this one."""
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.line, axis=0), axis=1))])


@dataclass(frozen=True)
class Wall:
    """One wall, from ``start`` to ``end`` with the outside on its right; ``role`` is front, corner, side or hedge."""

    start: tuple[float, float]
    end: tuple[float, float]
    building: int
    role: str


@dataclass(frozen=True)
class Item:
    """Something that stands on the ground: what it is, where, its heading, and a number that picks its variant."""

    kind: str
    x: float
    y: float
    heading: float
    variant: int


@dataclass
class Plan:
    """A whole district."""

    blocks: int
    streets: list[Street]
    looks: list[Look] = field(default_factory=list)
    walls: list[Wall] = field(default_factory=list)
    footprints: list[tuple[Points, float]] = field(default_factory=list)
    gardens: list[Points] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    parking: list[Item] = field(default_factory=list)

    @property
    def extent(self) -> float:
        """Side of the square, beginning at (-30, -30), that holds the district."""
        return self.blocks * PITCH + 60.0


def draw_plan(blocks: int, rng: np.random.Generator) -> Plan:
    """Draw the plan of a district with ``blocks`` by ``blocks`` blocks by lot."""
    count = blocks + 1
    nodes = np.stack(np.meshgrid(np.arange(count), np.arange(count), indexing="ij"), axis=-1) * PITCH
    nodes = nodes + rng.uniform(-6, 6, nodes.shape)
    widths = rng.uniform(7.2, 9.6, (2, count))
    upright = [Street(nodes[i], widths[0, i], rng.uniform(2.4, 3.2)) for i in range(count)]
    level = [Street(nodes[:, j], widths[1, j], rng.uniform(2.4, 3.2)) for j in range(count)]
    plan = Plan(blocks, upright + level)
    garden = tuple(rng.integers(0, blocks, 2))
    for i in range(blocks):
        for j in range(blocks):
            corners = np.array([nodes[i, j], nodes[i + 1, j], nodes[i + 1, j + 1], nodes[i, j + 1]])
            insets = np.array([widths[1, j], widths[0, i + 1], widths[1, j + 1], widths[0, i]])
            block = _inset(corners, insets)
            if (i, j) == garden and blocks > 1:
                _lay_garden(plan, block, rng)
            else:
                _build_block(plan, block, rng)
    centre = nodes.mean(axis=(0, 1))
    for i in range(blocks):
        # Rows of houses close the district: beyond the outermost streets, facing them.
        for first, second, width in (
            (nodes[i + 1, 0], nodes[i, 0], widths[1, 0]),
            (nodes[i, -1], nodes[i + 1, -1], widths[1, -1]),
            (nodes[0, i], nodes[0, i + 1], widths[0, 0]),
            (nodes[-1, i + 1], nodes[-1, i], widths[0, -1]),
        ):
            along = (second - first) / np.linalg.norm(second - first)
            outwards = np.array([-along[1], along[0]])
            # At the corners of the district the rows reach far enough to meet.
            reach = [13.0 if np.abs(node - centre).min() > 0.4 * blocks * PITCH else 1.0 for node in (first, second)]
            start, end = first + outwards * width - along * reach[0], second + outwards * width + along * reach[1]
            _build_row(plan, start, end, rng, gaps=0.0)
    for street in plan.streets:
        _furnish(plan, street, rng)
    return plan


def _inset(corners: Points, insets: Points) -> Points:
    """Return the corners of the block that streets leave of the quadrilateral ``corners`` (counterclockwise)."""
    along = np.roll(corners, -1, axis=0) - corners
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    inwards = np.stack([-along[:, 1], along[:, 0]], axis=1)
    starts = corners + inwards * insets[:, None]
    result = np.empty_like(corners)
    for k in range(4):
        before = k - 1
        system = np.stack([along[before], -along[k]], axis=1)
        steps = np.linalg.solve(system, starts[k] - starts[before])
        result[k] = starts[before] + along[before] * steps[0]
    return result


def _add_building(plan: Plan, look: Look, footprint: Points, roles: tuple[str, ...]) -> None:
    building = len(plan.looks)
    plan.looks.append(look)
    plan.footprints.append((footprint, look.eaves))
    for k, role in enumerate(roles):
        start, end = footprint[k], footprint[(k + 1) % len(footprint)]
        plan.walls.append(Wall((start[0], start[1]), (end[0], end[1]), building, role))


def _build_block(plan: Plan, block: Points, rng: np.random.Generator) -> None:
    """Build houses around a block: one at each corner, lots between them."""
    along = np.roll(block, -1, axis=0) - block
    lengths = np.linalg.norm(along, axis=1)
    along /= lengths[:, None]
    after, before = rng.uniform(8, 12, 4), rng.uniform(8, 12, 4)
    for k in range(4):
        first = block[k] - along[k - 1] * before[k]
        last = block[k] + along[k] * after[k]
        inner = first + last - block[k]
        _add_building(
            plan, draw_look(rng), np.array([first, block[k], last, inner]), ("front", "corner", "side", "side")
        )
    for k in range(4):
        end = block[(k + 1) % 4] - along[k] * before[(k + 1) % 4]
        _build_row(plan, block[k] + along[k] * after[k], end, rng)


def _build_row(plan: Plan, start: Points, end: Points, rng: np.random.Generator, gaps: float = 0.06) -> None:
    """Build houses from ``start`` to ``end`` that face the street on the right; ``gaps`` is the share of yards."""
    along = end - start
    length = float(np.linalg.norm(along))
    along = along / length
    inwards = np.array([-along[1], along[0]])
    lots = max(round(length / rng.uniform(7.5, 11)), 1)
    shares = rng.uniform(0.7, 1.4, lots)
    edges = np.concatenate([[0], np.cumsum(shares)]) * length / shares.sum()
    for left, right in itertools.pairwise(edges):
        setback = rng.choice([0.0, 0.0, 0.0, 0.15, 0.3, 0.6])
        if rng.random() < gaps and lots > 2:
            _yard(plan, start + along * left, start + along * right, inwards, rng)
            continue
        front = start + inwards * setback
        depth = inwards * rng.uniform(9, 12)
        footprint = np.array([front + along * left, front + along * right])
        footprint = np.concatenate([footprint, footprint[::-1] + depth])
        _add_building(plan, draw_look(rng), footprint, ("front", "side", "side", "side"))


def _yard(plan: Plan, left: Points, right: Points, inwards: Points, rng: np.random.Generator) -> None:
    """Leave a lot empty but for a wall along the street and trees behind it."""
    corners = np.array([left, right, right + inwards * 0.4, left + inwards * 0.4])
    building = len(plan.looks)
    plan.looks.append(draw_look(rng))
    plan.footprints.append((corners, 1.8))
    plan.walls.append(Wall((left[0], left[1]), (right[0], right[1]), building, "hedge"))
    for share in (0.3, 0.75):
        x, y = left + (right - left) * share + inwards * rng.uniform(3, 6)
        plan.items.append(Item("tree", x, y, 0.0, int(rng.integers(1000))))


def _lay_garden(plan: Plan, block: Points, rng: np.random.Generator) -> None:
    """Make the block a park: hedge, trees, benches."""
    plan.gardens.append(block)
    building = len(plan.looks)
    plan.looks.append(draw_look(rng))
    centre = block.mean(axis=0)
    for k in range(4):
        start, end = block[k], block[(k + 1) % 4]
        # An entrance is left in the middle of each side; hedges are seen from both sides.
        for low, high in ((0.0, 0.44), (0.56, 1.0)):
            first, second = start + (end - start) * low, start + (end - start) * high
            plan.walls.append(Wall((first[0], first[1]), (second[0], second[1]), building, "hedge"))
            plan.walls.append(Wall((second[0], second[1]), (first[0], first[1]), building, "hedge"))
    for _ in range(26):
        weights = rng.dirichlet(np.ones(4))
        x, y = centre + (weights @ block - centre) * 1.5
        plan.items.append(Item("tree", x, y, 0.0, int(rng.integers(1000))))
    for turn in range(6):
        x, y = centre + 6 * np.array([np.sin(turn), np.cos(turn)])
        plan.items.append(Item("bench", x, y, float(np.degrees(turn)) % 360, 0))


def _furnish(plan: Plan, street: Street, rng: np.random.Generator) -> None:
    """Put trees, lamps, signs and benches along both kerbs of a street, and mark where cars may park."""
    kerb = street.half_width - street.pavement
    leafy, lamps = rng.random() < 0.55, int(rng.integers(3))
    species = int(rng.integers(1000))
    for side in (-1, 1):
        distance = 11.0 + rng.uniform(0, 6)
        while distance < street.length - 10:
            clear = float(np.abs(street.crossings - distance).min())
            x, y, heading = street.locate(distance, side * (kerb + 0.55))
            facing = (heading - 90 * side) % 360
            lot = rng.random()
            if clear > 14 and leafy and lot < 0.5:
                plan.items.append(Item("tree", x, y, facing, species + int(rng.integers(3))))
            elif clear > 10 and lot < 0.85:
                kinds = (
                    "bench",
                    "bin",
                    "sign",
                    "postbox",
                    "planter",
                    "bollard",
                    "bicycle",
                    "kiosk",
                    "shelter",
                    "plate",
                )
                chances = np.array([2, 2, 3, 1, 2, 2, 3, 0.6, 0.8, 2])
                kind = kinds[rng.choice(len(kinds), p=chances / chances.sum())]
                plan.items.append(Item(kind, x, y, facing, int(rng.integers(1000))))
            distance += rng.uniform(4.5, 9)
        for distance in np.arange(9.0 + 5 * (side > 0), street.length - 6, 23):
            if np.abs(street.crossings - distance).min() > 8.5:
                x, y, heading = street.locate(float(distance), side * (kerb + 0.4))
                plan.items.append(Item("lamp", x, y, (heading - 90 * side) % 360, lamps))
        for distance in np.arange(4.0, street.length - 4, 5.6):
            if np.abs(street.crossings - distance).min() > street.half_width + 5:
                x, y, heading = street.locate(float(distance), side * (kerb - 1.05))
                plan.parking.append(Item("car", x, y, (heading + 180 * (side < 0)) % 360, 0))
    for crossing in street.crossings:
        for side in (-1, 1):
            x, y, heading = street.locate(float(crossing) - side * (street.half_width + 0.6), side * (kerb + 0.4))
            if rng.random() < 0.5 and 0 < crossing < street.length:
                plan.items.append(Item("signal", x, y, (heading + 180 * (side > 0)) % 360, int(rng.integers(1000))))
