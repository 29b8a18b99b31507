"""What a check finds out about a set: its figures, and what of them is a problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy.spatial import cKDTree

from progeo.checking.classes import Recommendation, Setting, count_classes, recommend
from progeo.console import format_count
from progeo.data.faults import Faults
from progeo.data.positions import FAR, find_far
from progeo.data.tools.blocks import PARTS, TRAIN
from progeo.data.tools.duplicates import Duplicates, find_duplicates
from progeo.data.tools.looks import Looks
from progeo.data.zones import read_points

SECTOR = 30
POSITIVES = ((0, 0), (1, 1), (2, 5), (6, 10), (11, None))
"""Ranges of positives per query that are counted."""
EXAMPLES = 20


@dataclass(frozen=True)
class Finding:
    """Something the check has found, with the photos that it is about."""

    is_problem: bool
    text: str
    photos: list[str] = field(default_factory=list)
    pictured: bool = False
    """Whether the page shows them as pictures."""


@dataclass(frozen=True, eq=False)
class Result:
    """The figures of a set."""

    source: str
    table: pl.DataFrame
    parts: pl.Series
    """(I,) string: what each photo is for, such as ``train`` or ``test database``; ``photos`` where nothing says it."""
    counts: dict[str, int]
    headings: dict[str, int]
    """Photos by the sector of their heading, from north on, then those without."""
    positives: dict[str, dict[str, int]]
    """For each part with queries, how many of them have how many positives."""
    settings: list[Setting]
    recommendation: Recommendation | None
    training_images: int
    memory: str | None
    time: str | None
    """What training with the recommended settings takes; None where nothing is recommended."""
    way_out: str | None
    """What to do where that is too long for this machine."""
    duplicates: Duplicates
    findings: list[Finding]
    to_locate: bool = False
    """Whether the photos are to be located: then they need no position, and nothing is learned from them."""

    @property
    def has_problems(self) -> bool:
        """Whether anything found should be mended before the set is used."""
        return any(finding.is_problem for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        best = self.recommendation
        return {
            "source": self.source,
            "photos": len(self.table),
            "parts": self.counts,
            "headings": self.headings,
            "positives_per_query": self.positives,
            "exact_duplicates": len(self.duplicates.exact),
            "near_duplicates": len(self.duplicates.near),
            "classes": [vars(setting) for setting in self.settings],
            "recommendation": best and {**best.settings, "largest_group": best.largest_group, "why": best.why},
            "training_images": self.training_images,
            "training_steps": best and best.steps,
            "memory": self.memory,
            "time": self.time,
            "way_out": self.way_out,
            "findings": [vars(finding) for finding in self.findings],
            "fine": not self.has_problems,
        }


def examine(
    source: str,
    table: pl.DataFrame,
    faults: Faults,
    looks: Looks,
    radius: float,
    backbone: str | None = None,
    image_size: int | None = None,
) -> Result:
    """Work out the figures of a set.

    Args:
        source: its folder or manifest.
        table: the image table of the photos that have a position.
        faults: the photos that have none, and rows without a file.
        looks: what was read of the photos of ``table``.
        radius: metres within which a database photo is a positive.
        backbone, image_size: what will be trained; see ``recommend``.
    """
    parts = name_parts(table)
    training = _take_training_images(table, parts)
    duplicates = find_duplicates(looks)
    settings = count_classes(training)
    recommendation = recommend(training, settings, backbone, image_size)
    positives, findings = _count_positives(table, parts, radius)
    return Result(
        source=source,
        table=table,
        parts=parts,
        counts=dict(parts.value_counts().sort(parts.name).iter_rows()),
        headings=_count_headings(table),
        positives=positives,
        settings=settings,
        recommendation=recommendation,
        training_images=len(training),
        memory=None,
        time=None,
        way_out=None,
        duplicates=duplicates,
        findings=[
            *_describe_faults(faults),
            *_describe_unreadable(table, looks),
            *_describe_duplicates(table, parts, duplicates),
            *findings,
            *_describe_overlap(table, radius),
            *_describe_far(table),
            *_describe_positions(table),
            *_describe_headings(table),
        ],
    )


def examine_unplaced(source: str, paths: list[str], looks: Looks) -> Result:
    """Work out what matters of photos that are to be located: which cannot be read, and which are there twice.

    Args:
        source: their folder.
        paths: of the photos.
        looks: what was read of them.
    """
    table, duplicates = pl.DataFrame({"path": paths}), find_duplicates(looks)
    parts = name_parts(table)
    return Result(
        source=source,
        table=table,
        parts=parts,
        counts={"photos": len(paths)},
        headings={},
        positives={},
        settings=[],
        recommendation=None,
        training_images=0,
        memory=None,
        time=None,
        way_out=None,
        duplicates=duplicates,
        findings=[*_describe_unreadable(table, looks), *_describe_duplicates(table, parts, duplicates)],
        to_locate=True,
    )


def name_parts(table: pl.DataFrame) -> pl.Series:
    """Return what each photo is for: its split and role."""
    names = [table[name] for name in ("split", "role") if name in table.columns]
    if not names:
        return pl.repeat("photos", len(table), eager=True).alias("part")
    return pl.select(
        pl.concat_str(*names, separator=" ", ignore_nulls=True).replace("", "no part").alias("part")
    ).to_series()


def _take_training_images(table: pl.DataFrame, parts: pl.Series) -> pl.DataFrame:
    """Return what a training would learn from: train where there are splits, else the database, else all."""
    for wanted in ("train", "database"):
        rows = parts.str.starts_with(wanted)
        if rows.any():
            return table.filter(rows)
    return table


def _describe_far(table: pl.DataFrame) -> list[Finding]:
    """Name photos that are likely to have a wrong position, as they lie far from all others."""
    far = table.filter(find_far(table))
    if far.is_empty():
        return []
    photos = [
        f"{path}: latitude {latitude:.4f}, longitude {longitude:.4f}"
        for path, latitude, longitude in far.select("path", "latitude", "longitude").iter_rows()
    ]
    where = f"more than {FAR / 1000:.0f} km from the middle of all"
    return [Finding(True, f"{format_count(len(far), 'photo')} {where}, first {photos[0]}", photos)]


def _describe_faults(faults: Faults) -> list[Finding]:
    """Group photos that cannot be used by what is wrong with them."""
    wordings = {
        "position": (True, "photo", "without a possible position"),
        "file": (True, "row", "without a file"),
        "row": (False, "photo", "without a row"),
    }
    findings = []
    for kind, (is_problem, noun, wording) in wordings.items():
        photos = [f"{fault.path}: {fault.problem}" for fault in faults if fault.kind == kind]
        if photos:
            text = f"{format_count(len(photos), noun)} {wording}, first: {photos[0]}"
            findings.append(Finding(is_problem, text, photos))
    swapped = sum("swapped" in fault.problem for fault in faults)
    if swapped:
        findings.append(Finding(True, f"latitude and longitude look swapped in {swapped:,} of them"))
    return findings


def _describe_unreadable(table: pl.DataFrame, looks: Looks) -> list[Finding]:
    bad = looks.problems.is_not_null()
    names = [f"{path}: {why}" for path, why in zip(table["path"].filter(bad), looks.problems.filter(bad), strict=True)]
    if not names:
        return []
    return [Finding(True, f"{format_count(len(names), 'photo')} that cannot be read, first: {names[0]}", names)]


def _describe_duplicates(table: pl.DataFrame, parts: pl.Series, duplicates: Duplicates) -> list[Finding]:
    """Say which photos are there twice: in two parts a problem if they are the same file, else worth a look."""
    path = table["path"]
    findings = []
    for pairs, is_exact, wording in (
        (duplicates.exact, True, "the same file as another"),
        (duplicates.near, False, "nearly the same picture as another"),
    ):
        rows = pl.DataFrame(pairs, schema=["one", "other"], orient="row").with_columns(
            first=parts.gather(pairs[:, 0]), second=parts.gather(pairs[:, 1])
        )
        for (first, second), group in sorted(rows.group_by("first", "second"), key=lambda item: -len(item[1])):
            across = first != second and "no part" not in (first, second)
            within = f", within {first}" if parts.n_unique() > 1 else ""
            where = f", in {first} and {second}" if first != second else within
            names = [f"{path[one]} = {path[other]}" for one, other in group.select("one", "other").iter_rows()]
            text = f"{format_count(len(group), 'photo')} {wording}{where}"
            findings.append(Finding(across and is_exact, text, names, pictured=True))
    return findings


def _count_positives(
    table: pl.DataFrame, parts: pl.Series, radius: float
) -> tuple[dict[str, dict[str, int]], list[Finding]]:
    """Count for each part with queries how many database photos of its split lie near each of them."""
    points = read_points(table)
    counted, findings = {}, []
    for part in parts.unique().sort():
        split, found, _ = part.rpartition("queries")
        if not found or not (parts == f"{split}database").any():
            continue
        database = cKDTree(points[(parts == f"{split}database").to_numpy()])
        queries = (parts == part).to_numpy()
        near = np.asarray(database.query_ball_point(points[queries], radius, return_length=True))
        counted[part] = {
            str(low) if low == high else f"{low} to {high}" if high else f"{low} or more": int(
                ((near >= low) & (near <= (high if high is not None else near.max(initial=low)))).sum()
            )
            for low, high in POSITIVES
        }
        alone = table["path"].filter(pl.Series(queries)).filter(pl.Series(near == 0)).to_list()
        if alone:
            text = (
                f"{len(alone):,} of {len(near):,} {part} without a database photo within {radius:g} m, counted as "
                f"missed, first: {alone[0]}"
            )
            findings.append(Finding(len(alone) == len(near), text, alone))
    return counted, findings


def _describe_overlap(table: pl.DataFrame, radius: float) -> list[Finding]:
    """Say which photos of val and test stand near photos of train: what is measured with them flatters the model."""
    if "split" not in table.columns or not (table["split"] == "train").any():
        return []
    points = read_points(table)
    train = cKDTree(points[(table["split"] == "train").fill_null(False).to_numpy()])
    findings = []
    for part in PARTS[TRAIN + 1 :]:
        rows = np.flatnonzero((table["split"] == part).fill_null(False))
        distances, _ = train.query(points[rows], distance_upper_bound=radius)
        near = table["path"].gather(rows[np.isfinite(distances)]).to_list()
        if near:
            text = (
                f"{len(near):,} of {format_count(len(rows), f'{part} photo')} less than {radius:g} m from a train "
                f"photo, first: {near[0]}"
            )
            findings.append(Finding(False, text, near))
    return findings


def _describe_positions(table: pl.DataFrame) -> list[Finding]:
    unknown = table["latitude"].null_count()
    if unknown:
        total = format_count(len(table), "photo")
        text = f"{unknown:,} of {total} with UTM coordinates but without a zone: made up, or only relative"
        return [Finding(False, text)]
    return []


def _count_headings(table: pl.DataFrame) -> dict[str, int]:
    """Return how many photos look which way."""
    known = table["heading"].drop_nulls().to_numpy() % 360
    counts = np.bincount((known // SECTOR).astype(int), minlength=360 // SECTOR)
    names = [f"{start}° to {start + SECTOR}°" for start in range(0, 360, SECTOR)]
    return {**dict(zip(names, counts.tolist(), strict=True)), "unknown": table["heading"].null_count()}


def _describe_headings(table: pl.DataFrame) -> list[Finding]:
    known = table["heading"].drop_nulls()
    missing = len(table) - len(known)
    findings = []
    if missing:
        advice = "`alpha` 360 makes classes by position alone, `heading_from` track takes the course"
        text = f"{missing:,} of {format_count(len(table), 'photo')} without a heading: {advice}"
        findings.append(Finding(False, text))
    if len(known) > 1 and known.n_unique() == 1:
        findings.append(Finding(False, f"all headings are {known[0]:g}°: perhaps none was measured"))
    has_reference = "heading_reference" in table.columns
    magnetic = len(table.filter(pl.col("heading_reference") == "magnetic")) if has_reference else 0
    if magnetic:
        text = f"{format_count(magnetic, 'heading')} against magnetic north: true north differs by the declination"
        findings.append(Finding(False, text))
    return findings
