"""``progeo calibrate``: learning from labelled queries how sure the estimates of a database are."""

from __future__ import annotations

import numpy as np

from progeo.cli.calibrate import CalibrateOptions
from progeo.console import console
from progeo.data.located import measure_distances, read_photos, take_located, to_points
from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration, cross_validate, fit_calibration, measure_calibration_error
from progeo.locating.estimate import RIGHT_WITHIN, weigh_evidence
from progeo.places.database import PlaceDatabase
from progeo.places.describing import describing_settings
from progeo.places.ingest import describe_failures


def run_calibration(options: CalibrateOptions) -> Calibration:
    """Run ``progeo calibrate``: learn, store with the database, say how good it is, and return it.

    Raises:
        ProgeoError: there are too few queries with a position, or no database.
    """
    failed: dict[str, str] = {}
    table = take_located(read_photos(options.queries, options, "queries", failed), failed)
    if table.is_empty():
        raise ProgeoError(f"No query in {options.queries} has a position, {describe_failures(failed)}")
    with PlaceDatabase.open(options.database, **describing_settings(options)) as database:
        described, failures = database.describe_photos(table["path"].to_list())
        failed |= failures
        if failed:
            text = f"Left out: {describe_failures(failed)}"
            console.print(text, style="yellow", markup=False, soft_wrap=True)
        stored = database.find_stored(described)
        if stored:
            text = f"Left out: {len(stored)} photos that the database holds, since they would find themselves"
            console.print(text, style="yellow", soft_wrap=True)
        table = table.filter(table["path"].is_in([path for path in described if path not in stored]))
        if table.is_empty():
            raise ProgeoError(
                f"No query in {options.queries} can be used: each is damaged or a photo of the database itself. Give "
                "others of known position, taken at other times."
            )
        matches = database.search(np.stack([described[path] for path in table["path"]]))
        evidence = [weigh_evidence(of_query) for of_query in matches]
        truth = to_points(table["latitude"].to_numpy(), table["longitude"].to_numpy())
        errors = measure_distances(np.stack([item.point for item in evidence]), truth)
        features = np.stack([item.features for item in evidence])
        radii = np.array([item.radius for item in evidence])
        calibration = fit_calibration(features, errors, radii, RIGHT_WITHIN)
        database.store_calibration(calibration)
    right = errors <= RIGHT_WITHIN
    probabilities = cross_validate(features, errors, radii, RIGHT_WITHIN)
    console.print(
        f"Learned from {len(right)} queries, of which {right.sum()} were located within {RIGHT_WITHIN:g} m. On "
        "queries not learned from, stated and true probability differ by "
        f"{100 * measure_calibration_error(probabilities, right):.1f} percentage points on average; before, by "
        f"{100 * measure_calibration_error(np.array([item.agreement for item in evidence]), right):.1f}.",
        soft_wrap=True,
    )
    return calibration
