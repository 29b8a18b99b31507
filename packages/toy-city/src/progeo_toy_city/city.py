"""Writes the toy city: train, val and test districts as folders of pictures named as in SF-XL."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from progeo.console import progress_bar
from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo_toy_city.drive import prepare_drive
from progeo_toy_city.photography import take
from progeo_toy_city.plan import Plan, draw_plan
from progeo_toy_city.scene import Scene, build_scene
from progeo_toy_city.shots import District, Outing, draw_districts, plan_drives, plan_route, plan_walks

MARKER = "toy_city.json"
FORMAT = 1
FOLDERS = ("train", "val/database", "val/queries", "test/database", "test/queries")
CHUNK = 12  # shots that a process takes on at once
DATABASE_SPACING = 10.0


@dataclass(frozen=True)
class CitySizes:
    """How large the city is.

    Attributes:
        image_size: Width and height of the pictures in pixels.
        blocks: Blocks along each side of a district; a block and a street are about 58 m.
        train_places: Places along the streets of the training district; each is seen on every date, in 12 headings.
        train_dates: Dates on which the training district is photographed.
        train_spacing: Metres from one training place to the next; the places of each date are shifted by lot.
        val_places: Places of the validation database, 10 m apart, seen on one date in 12 headings.
        val_queries: Queries of the validation set.
        test_places: Places of the test database, as for validation.
        test_queries: Queries of the test set.
    """

    image_size: int = 320
    blocks: int = 3
    train_places: int = 32
    train_dates: int = 12
    train_spacing: float = 10.0
    val_places: int = 30
    val_queries: int = 100
    test_places: int = 50
    test_queries: int = 200


def make_toy_city(
    out: str | Path,
    *,
    seed: int = 0,
    sizes: CitySizes | None = None,
    workers: int | None = None,
    show_progress: bool = False,
) -> None:
    """Draw a town and write its pictures: ``train``, and ``database`` and ``queries`` in ``val`` and ``test``.

    Each of the three shows a district of its own. The same seed and sizes give the same bytes. A run that was
    interrupted goes on where it was; a finished city is left as it is. Pictures are drawn by ``workers`` processes (by
    default one for each processor; 1 for none beside this one): a script needs ``if __name__ == "__main__":`` then.

    Raises:
        ProgeoError: If ``out`` holds something else, or a city of another seed or size, or cannot be written.
    """
    sizes, out = sizes or CitySizes(), Path(out)
    workers = workers or os.cpu_count() or 1
    towns = _plan_towns(sizes, seed)
    _claim(out, {"format": FORMAT, "seed": seed, **asdict(sizes)})
    with _progress(sum(_count(town.outings) for town in towns), show_progress) as advance, _pool(workers) as draw_all:
        for town in towns:
            missing = _missing(town.outings, out)
            advance(_count(town.outings) - _count(missing))
            if not missing:
                continue
            cameras = {
                (round(shot.x / 4) * 4.0, round(shot.y / 4) * 4.0) for outing in town.outings for shot in outing.shots
            }
            scale = float(np.clip(24 * sizes.image_size / 320, 8, 32))
            scene = build_scene(town.plan, sorted(cameras), scale, (seed, town.district.number), draw_all)
            with _pool(workers, Studio(scene, town.district.rotation, sizes.image_size, out)) as spread:
                for written in spread(_take_outing, missing):
                    advance(written)


@contextmanager
def _progress(total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Give a function to be told how many more pictures there are."""
    if not shown:
        yield lambda count: None
        return
    with progress_bar() as bar:
        yield partial(bar.advance, bar.add_task("Drawing the toy city", total=total))


@dataclass(frozen=True)
class Town:
    """A district with all that is to be photographed in it."""

    district: District
    plan: Plan
    outings: list[Outing]


def _plan_towns(sizes: CitySizes, seed: int) -> list[Town]:
    """Plan the three districts and all that is photographed in them."""
    plans = [draw_plan(sizes.blocks, np.random.default_rng([seed, number, 0])) for number in range(3)]
    towns = []
    for district, plan in zip(draw_districts(seed, plans[0].extent), plans, strict=True):
        rng = np.random.default_rng([seed, district.number, 7])
        if district.name == "train":
            route = plan_route(plan, sizes.train_places, sizes.train_spacing, rng)
            outings = plan_drives(district, plan, route, "train", sizes.train_dates, sizes.train_spacing, seed)
        else:
            val = district.name == "val"
            route = plan_route(plan, sizes.val_places if val else sizes.test_places, DATABASE_SPACING, rng)
            queries = sizes.val_queries if val else sizes.test_queries
            outings = plan_drives(district, plan, route, f"{district.name}/database", 1, DATABASE_SPACING, seed)
            outings += plan_walks(district, plan, route, f"{district.name}/queries", queries, seed)
        towns.append(Town(district, plan, outings))
    return towns


def _count(outings: Iterable[Outing]) -> int:
    return sum(len(shot.names) for outing in outings for shot in outing.shots)


def _missing(outings: Iterable[Outing], out: Path) -> list[Outing]:
    """Return what is not there yet, in small portions."""
    portions = []
    for outing in outings:
        there = _names_in(out / outing.folder)
        shots = [shot for shot in outing.shots if not there.issuperset(shot.names)]
        for first in range(0, len(shots), CHUNK):
            portions.append(replace(outing, shots=tuple(shots[first : first + CHUNK])))
    return portions


def _names_in(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except FileNotFoundError:
        return set()


def _claim(out: Path, settings: dict[str, object]) -> None:
    """Make sure that ``out`` is ours: new, empty, or a city with the same settings."""
    marker = out / MARKER
    try:
        if marker.is_file():
            found = json.loads(marker.read_text(encoding="utf-8"))
            if found != settings:
                raise ProgeoError(
                    f"{out} holds a toy city made with other settings ({marker} says {found}, asked was {settings})."
                    " Choose another folder, or delete that one first."
                )
            return
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ProgeoError(
                f"{out} is not empty and holds no toy city (no {MARKER}). Choose a new or an empty folder."
            )
        with atomic_write(marker) as part:
            part.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    except ValueError as error:
        raise ProgeoError(f"{marker} is damaged ({error}). Delete {out} and make the city again.") from error
    except OSError as error:
        raise ProgeoError(
            f"Cannot make the toy city in {out}: {error}. Choose a folder that can be written."
        ) from error


@dataclass(frozen=True)
class Studio:
    """What a process needs at hand to take pictures."""

    scene: Scene
    rotation: float
    image_size: int
    out: Path


_studio: list[Studio] = []


def _open_studio(studio: Studio | None, interruptible: bool) -> None:
    """Make a process ready; Ctrl-C is then left to the process that waits for it."""
    if not interruptible:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _studio[:] = [studio] if studio else []


@contextmanager
def _pool(workers: int, studio: Studio | None = None) -> Iterator[Callable[..., Iterable[Any]]]:
    """Give a ``map`` that spreads work over processes, or works in this one if there is one worker."""
    if workers == 1:
        _open_studio(studio, interruptible=True)
        try:
            yield map
        finally:
            _studio.clear()
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_open_studio, initargs=(studio, False))
    try:
        yield pool.map
    except BrokenProcessPool as error:
        raise ProgeoError(
            "A process that draws the toy city has died, perhaps for want of memory. Close other programs and run the "
            "command again: it goes on where it was."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _take_outing(outing: Outing) -> int:
    """Take and write the pictures of one portion; return how many."""
    studio = _studio[0]
    drive = prepare_drive(studio.scene, outing.conditions, studio.rotation, np.random.default_rng(outing.seed))
    for shot in outing.shots:
        views = take(studio.scene, drive, shot, studio.rotation, studio.image_size)
        for name, view in zip(shot.names, views, strict=True):
            with atomic_write(studio.out / outing.folder / name) as part:
                view.save(part, "JPEG", quality=shot.sensor.quality)
    return _count([outing])
