"""The result of locating photos: a table for people, JSON, GeoJSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from progeo.cli.locate import LocateOptions
from progeo.console import console
from progeo.locating.estimate import Located, Match
from progeo.locating.output.map_page import write_map
from progeo.places.database import PlaceDatabase

CSV_COLUMNS = (
    *("photo", "known", "latitude", "longitude", "radius_metres", "probability", "calibrated"),
    *("match", "match_latitude", "match_longitude", "match_distance_metres", "match_descriptor_distance"),
)
WIDTH_OF_FILES = 200


def print_results(results: list[Located], database: PlaceDatabase, options: LocateOptions) -> None:
    """Print the results on stdout in the form that the options ask for, and write the map."""
    if options.json:
        print_json([describe_result(result, options.num_matches) for result in results])
    elif options.geojson:
        features = [make_feature(result, options.num_matches) for result in results]
        print_json({"type": "FeatureCollection", "features": features})
    elif options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows(make_line(result) for result in results)
    else:
        print_table(results, options.num_matches)
    if options.map is not None:
        write_map(
            results,
            options.map,
            positions=database.positions(),
            thumbnail=database.thumbnail,
            num_matches=options.num_matches,
        )
        console.print(f"The map is in {options.map}", markup=False, soft_wrap=True)


def print_json(content: Any) -> None:
    """Print a value as JSON."""
    json.dump(content, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def describe_result(result: Located, num_matches: int) -> dict[str, Any]:
    """Return a result as plain values, with its first matches."""
    content = {"photo": result.path, **result.estimate.to_dict()}
    content["matches"] = content["matches"][:num_matches]
    return content


def make_feature(result: Located, num_matches: int) -> dict[str, Any]:
    """Return a result as a GeoJSON feature: the point of the estimate, and the rest as properties."""
    properties = describe_result(result, num_matches)
    coordinates = [properties.pop("longitude"), properties.pop("latitude")]
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": coordinates},
        "properties": properties,
    }


def make_line(result: Located) -> list[Any]:
    """Return the CSV_COLUMNS of a result; the match is the first."""
    estimate, match = result.estimate, result.estimate.matches[0]
    return [
        *(result.path, estimate.known, estimate.latitude, estimate.longitude, estimate.radius_metres),
        *(estimate.probability, estimate.calibrated),
        *(match.path, match.latitude, match.longitude, match.distance_metres, match.descriptor_distance),
    ]


def print_table(results: list[Located], num_matches: int) -> None:
    """Print the results for people."""
    table = Table()
    table.add_column("photo", overflow="fold", ratio=2)
    for name in ("latitude", "longitude", "radius", "right within 25 m"):
        table.add_column(name, justify="right", no_wrap=name != "right within 25 m")
    table.add_column("best matches: difference in looks, distance from the estimate", no_wrap=True, ratio=3)
    for result in results:
        estimate = result.estimate
        position = [f"{estimate.latitude:.6f}", f"{estimate.longitude:.6f}", f"{estimate.radius_metres:.0f} m"]
        table.add_row(
            Path(result.path).name,
            *(position if estimate.known else ["unknown place", "", ""]),
            f"{100 * estimate.probability:.0f} %",
            "\n".join(describe_match(match) for match in estimate.matches[:num_matches]),
        )
    if results and not results[0].estimate.calibrated:
        table.caption = "The probabilities are not calibrated; progeo calibrate `help` says how to do that."
    terminal = Console(file=sys.stdout)
    if not terminal.is_terminal:
        terminal = Console(file=sys.stdout, width=WIDTH_OF_FILES)
    terminal.print(table)


def describe_match(match: Match) -> str:
    """Return a match in a few words."""
    return f"{match.descriptor_distance:.3f}, {match.distance_metres:.0f} m: {Path(match.path).name}"
