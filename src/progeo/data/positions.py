"""Completing the positions of an image table: UTM from latitude and longitude, and back, on one plane if it must be.

UTM coordinates that are given are kept as they are, whatever their zone: that is how published sets of several far
cities are measured. Only where photos lie on both sides of a border between two zones are they brought into one.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import polars.selectors as cs

from progeo.data.file_names import FORMAT_HINT
from progeo.data.geodesy import (
    Zone,
    choose_zone,
    describe_impossible,
    find_letters,
    find_zone_numbers,
    is_north,
    to_latitude_longitude,
    to_utm,
)
from progeo.data.sphere import measure_distances, to_points
from progeo.errors import ProgeoError

POSITION_COLUMNS = pl.Schema(
    {
        **dict.fromkeys(("latitude", "longitude", "utm_east", "utm_north"), pl.Float64()),
        "utm_zone": pl.Int32(),
        "utm_letter": pl.String(),
    }
)
NO_POSITION = (
    f"no latitude and longitude, and no UTM position with zone and letter ({FORMAT_HINT}; where "
    "only the zone is missing, progeo data convert adds it; metres in a frame of their own, as of a floor plan, are "
    "for a database with `local_frame`)"
)
FAR = 100_000.0
"""Metres from the middle of all at which a photo looks misplaced, if it is one of at most MOST_FAR (share)."""
MOST_FAR = 0.05
CELLS_PER_DEGREE = 100
"""Photos of two zones within one cell, about a kilometre, are taken to be of one town on the border."""


def complete_positions(table: pl.DataFrame, *, one_plane: bool | None = True) -> pl.DataFrame:
    """Fill in the UTM columns where only latitude and longitude are known, and the other way round.

    Args:
        table: any of POSITION_COLUMNS; for one plane every row has UTM coordinates or latitude and longitude.
        one_plane: whether distances between UTM coordinates must mean something; if not, each row gets those of its
            own zone. None: only where the photos do not span more than one plane.

    Returns:
        The table with all POSITION_COLUMNS, and with UTM coordinates in every row that has a position. Latitude and
        longitude are null where the zone or its letter is not known, as for made-up coordinates.

    Raises:
        ProgeoError: the photos span more than two zones, and must lie on one plane.
    """
    columns = [pl.col(name) if name in table.columns else pl.lit(None).alias(name) for name in POSITION_COLUMNS]
    table = table.with_columns(columns).cast(POSITION_COLUMNS)
    table = table.with_columns((cs.by_name(*POSITION_COLUMNS) & cs.float()).fill_nan(None))
    table = _fill_latitude_longitude(table)
    if one_plane is False:
        return _into_own_zones(table)
    try:
        return _into_one_plane(table)
    except ProgeoError as error:
        if one_plane is None:
            return _into_own_zones(table)
        far = table["path"][find_far(table).arg_true()].head(1).to_list() if "path" in table.columns else []
        raise ProgeoError(f"{error} Far from all others: {far[0]}." if far else str(error)) from error


def find_far(table: pl.DataFrame) -> pl.Series:
    """Return which photos (bool) lie more than FAR from the middle of all, where only a few do."""
    degrees = table.select("latitude", "longitude").to_numpy()
    points = to_points(*degrees.T)
    located = np.isfinite(points).all(axis=1)
    distances = np.full(len(table), 0.0)
    if located.any():
        distances[located] = measure_distances(points[located], np.median(points[located], axis=0))
    far = distances > FAR
    return pl.Series(far & (far.sum() <= max(len(table) // 5 and 1, MOST_FAR * len(table))))


def _into_one_plane(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with UTM coordinates that can be compared with each other."""
    only_degrees = table["utm_east"].is_null() | table["utm_north"].is_null()
    if only_degrees.all():
        table = into_zone(table, choose_zone(table["latitude"], table["longitude"]))
    elif only_degrees.any():
        zones = _find_zones(table.filter(~only_degrees))
        if len(zones) != 1:
            raise ProgeoError(
                "Some photos have UTM coordinates and others only latitude and longitude, and the UTM coordinates are "
                f"in {len(zones) or 'unknown'} zones: give all photos the same kind of position."
            )
        table = table.with_row_index("row")
        parts = [table.filter(~only_degrees), into_zone(table.filter(only_degrees), zones[0])]
        table = pl.concat(parts).sort("row").drop("row")
    return _join_zones_at_their_border(table)


def take_located(table: pl.DataFrame, failed: dict[str, str]) -> pl.DataFrame:
    """Return the rows with a usable position, completed each in its own zone; ``failed`` gets why by the others' path.

    Latitude and longitude count where both are given; else they follow from the UTM position, which needs its zone and
    letter.
    """
    table = complete_positions(table, one_plane=False)
    latitude, longitude = pl.col("latitude"), pl.col("longitude")
    problem = (
        pl.when(latitude.is_null() | longitude.is_null())
        .then(pl.lit(NO_POSITION))
        .otherwise(describe_impossible(latitude, longitude))
    )
    failed |= dict(table.select("path", problem.alias("problem")).drop_nulls("problem").iter_rows())
    return table.filter(problem.is_null())


def assume_zone(table: pl.DataFrame, zone: Zone) -> pl.DataFrame:
    """Take UTM coordinates of which the zone or its letter is not known to be in ``zone``; the others stay.

    Returns:
        The table with zone, letter, latitude and longitude in every row.

    Raises:
        ProgeoError: coordinates lie outside any UTM zone.
    """
    unknown = table["utm_zone"].is_null() | table["utm_letter"].is_null()
    rows = table.with_row_index("row")
    assumed = rows.filter(unknown)
    latitude, longitude = to_latitude_longitude(assumed["utm_east"], assumed["utm_north"], zone)
    assumed = assumed.with_columns(
        utm_zone=pl.lit(zone.number, pl.Int32),
        utm_letter=pl.Series(find_letters(latitude, zone), dtype=pl.String),
        latitude=pl.Series(latitude),
        longitude=pl.Series(longitude),
    )
    problem = assumed.select(describe_impossible(pl.col("latitude"), pl.col("longitude"))).to_series()
    if problem.is_not_null().any():
        path, east, north = assumed.filter(problem.is_not_null()).select("path", "utm_east", "utm_north").row(0)
        raise ProgeoError(f"{path}: UTM east {east} and north {north} are no place in zone {zone}.")
    return pl.concat([rows.filter(~unknown), assumed]).sort("row").drop("row")


def match_zone(table: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """Bring ``table`` into the zone of ``reference``, where both have one zone each and these are not the same.

    A database and its queries are read one by one, and near a border their centres may be in different zones.
    """
    zones, reference_zones = _find_zones(table), _find_zones(reference)
    if len(zones) != 1 or len(reference_zones) != 1 or zones == reference_zones:
        return table
    choose_zone(*(pl.concat([table[name], reference[name]]).drop_nulls() for name in ("latitude", "longitude")))
    return into_zone(table, reference_zones[0])


def into_zone(table: pl.DataFrame, zone: Zone) -> pl.DataFrame:
    """Return the table with UTM coordinates in ``zone``, computed from latitude and longitude."""
    east, north = to_utm(table["latitude"], table["longitude"], zone)
    return table.with_columns(
        utm_east=pl.Series(east),
        utm_north=pl.Series(north),
        utm_zone=pl.lit(zone.number, pl.Int32),
        utm_letter=pl.Series(find_letters(table["latitude"], zone), dtype=pl.String),
    )


def _into_own_zones(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with UTM coordinates in each row's own zone; rows without a possible position keep theirs."""
    rows = table.with_row_index("row")
    is_possible = describe_impossible(pl.col("latitude"), pl.col("longitude")).is_null()
    parts = [rows.filter(~is_possible)]
    possible = rows.filter(is_possible)
    numbers = pl.Series("number", find_zone_numbers(possible["latitude"], possible["longitude"]))
    for (number, north), part in possible.group_by(numbers, pl.col("latitude") >= 0):
        parts.append(into_zone(part, Zone(number, north)))
    return pl.concat(parts).sort("row").drop("row")


def _find_zones(table: pl.DataFrame) -> list[Zone]:
    """Return the zones that the table's UTM coordinates are in, without those that are not known completely."""
    pairs = table.select("utm_zone", "utm_letter").unique().drop_nulls().sort("utm_zone", "utm_letter").iter_rows()
    return list(dict.fromkeys(Zone(number, is_north(letter)) for number, letter in pairs if 1 <= number <= 60))


def _fill_latitude_longitude(table: pl.DataFrame) -> pl.DataFrame:
    """Compute latitude and longitude where they are missing and the zone of the UTM coordinates is known."""
    missing = (table["latitude"].is_null() | table["longitude"].is_null()) & table["utm_east"].is_not_null()
    if not missing.any():
        return table
    latitude, longitude = (table[name].to_numpy(writable=True) for name in ("latitude", "longitude"))
    number, north = table["utm_zone"], table["utm_letter"].str.to_uppercase() >= "N"
    for zone in _find_zones(table.filter(missing)):
        rows = (missing & (number == zone.number) & (north == zone.is_north)).fill_null(False).to_numpy()
        latitude[rows], longitude[rows] = to_latitude_longitude(
            table["utm_east"].filter(rows), table["utm_north"].filter(rows), zone
        )
    return table.with_columns(latitude=pl.Series(latitude), longitude=pl.Series(longitude)).with_columns(
        pl.when(pl.col(name).is_finite()).then(name) for name in ("latitude", "longitude")
    )


def _join_zones_at_their_border(table: pl.DataFrame) -> pl.DataFrame:
    """Bring the photos into one zone where those of two zones lie side by side.

    Raises:
        ProgeoError: there are further zones beside those two.
    """
    zones = _find_zones(table)
    if len(zones) < 2:
        return table
    # Borders run along whole degrees: rounding, unlike cutting, puts them into the middle of a cell.
    cell = [(pl.col(name) * CELLS_PER_DEGREE).round() for name in ("latitude", "longitude")]
    zone = pl.struct("utm_zone", pl.col("utm_letter") >= "N")
    located = table.lazy().filter(pl.all_horizontal(pl.col("latitude", "longitude", "utm_zone").is_not_null()))
    shared = located.group_by(cell).agg(zones=zone.n_unique()).filter(pl.col("zones") > 1).collect()
    if shared.is_empty():
        return table
    if len(zones) > 2 or table["latitude"].null_count():
        latitude, longitude, _ = (np.round(value / CELLS_PER_DEGREE, 2) for value in shared.row(0))
        raise ProgeoError(
            f"Photos near latitude {latitude} and longitude {longitude} have UTM coordinates of different zones, and "
            f"the set lies in {len(zones)} zones ({', '.join(map(str, zones))}): distances between them mean nothing. "
            "Split the set by region, one for each."
        )
    return into_zone(table, choose_zone(table["latitude"], table["longitude"]))
