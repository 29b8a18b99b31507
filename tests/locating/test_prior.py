"""What is known beforehand: the condition on the database, and messages for what cannot be."""

from __future__ import annotations

from datetime import date, datetime

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from progeo.data.sphere import measure_distances, to_points
from progeo.errors import ProgeoError
from progeo.locating.prior import Prior

CENTRES = [(45.4432, 9.2179), (-17.7134, 179.999), (-33.8688, 151.2093), (89.99, 20.0)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Photos around the centres, some without heading or time, as a Lance table has them."""
    generator = np.random.default_rng(0)
    latitude, longitude, heading, times = [], [], [], []
    for centre in CENTRES:
        latitude += (centre[0] + generator.uniform(-0.01, 0.01, 50)).clip(-90, 90).tolist()
        longitude += ((centre[1] + generator.uniform(-0.01, 0.01, 50) + 180) % 360 - 180).tolist()
        heading += [None if number % 5 == 0 else float(generator.uniform(0, 360)) for number in range(50)]
        times += [None if number % 7 == 0 else datetime(2020, 1 + number % 12, 15, 12) for number in range(50)]
    table = pa.table(
        {
            "number": list(range(len(latitude))),
            "latitude": latitude,
            "longitude": longitude,
            "heading": pa.array(heading, pa.float64()),
            "timestamp": pa.array(times, pa.timestamp("us")),
        }
    )
    connection = lancedb.connect(tmp_path_factory.mktemp("rows"))
    return connection.create_table("photos", table)


def select(rows: pa.Table, prior: Prior) -> list[dict[str, object]]:
    condition = prior.to_filter()
    assert condition is not None
    found: list[dict[str, object]] = rows.search().where(condition).limit(1000).to_list()
    return found


@pytest.mark.parametrize("centre", CENTRES, ids=str)
@pytest.mark.parametrize("within", [250.0, 700.0, 5_000_000.0])
def test_near_takes_exactly_what_lies_within(rows: pa.Table, centre: tuple[float, float], within: float) -> None:
    everything = rows.to_arrow()
    points = to_points(everything["latitude"].to_numpy(), everything["longitude"].to_numpy())
    distances = measure_distances(points, to_points(np.array(centre[0]), np.array(centre[1])))
    # Straight through the earth instead of along its surface.
    reach = 2 * 6_371_008.8 * np.sin(within / 2 / 6_371_008.8)
    expected = np.flatnonzero(distances <= reach).tolist()
    assert sorted(row["number"] for row in select(rows, Prior(near=centre, within=within))) == expected
    assert 0 < len(expected) < 200


@pytest.mark.parametrize("heading", [0.0, 350.0, 180.0, -10.0, 725.0])
def test_heading_takes_45_degrees_on_both_sides_and_what_is_not_known(rows: pa.Table, heading: float) -> None:
    expected = [
        number
        for number, own in enumerate(rows.to_arrow()["heading"].to_pylist())
        if own is None or abs((own - heading + 180) % 360 - 180) <= 45
    ]
    assert sorted(row["number"] for row in select(rows, Prior(heading=heading))) == expected


def test_dates_take_whole_days_and_what_is_not_known(rows: pa.Table) -> None:
    found = select(rows, Prior(after=date(2020, 3, 15), before=date(2020, 5, 15)))
    times = {row["timestamp"] for row in found}
    assert times == {None, datetime(2020, 3, 15, 12), datetime(2020, 4, 15, 12), datetime(2020, 5, 15, 12)}
    assert {row["timestamp"] for row in select(rows, Prior(after=date(2020, 12, 16)))} == {None}


def test_several_conditions_hold_together(rows: pa.Table) -> None:
    prior = Prior(near=CENTRES[0], within=700.0, heading=90.0, before=date(2020, 6, 30))
    both = {row["number"] for row in select(rows, prior)}
    each = [Prior(near=CENTRES[0], within=700.0), Prior(heading=90.0), Prior(before=date(2020, 6, 30))]
    assert both == set.intersection(*({row["number"] for row in select(rows, one)} for one in each))
    assert prior.describe() == (
        "within 700 m of 45.4432, 9.2179, looking towards 90 degrees, taken on 2020-06-30 or earlier"
    )


def test_nothing_known_is_no_condition() -> None:
    assert Prior().to_filter() is None


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"near": (45.0, 9.0)}, "`near` LAT,LON and `within` METRES belong together"),
        ({"within": 100.0}, "`near` LAT,LON and `within` METRES belong together"),
        ({"near": (95.0, 9.0), "within": 1.0}, r"`near` 95.0,9.0 is no place on earth: first the latitude"),
        ({"near": (9.0, float("nan")), "within": 1.0}, "`near` 9.0,nan is no place on earth"),
        ({"near": (45.0, 9.0), "within": 0.0}, "`within` must be a number of metres above 0, not 0"),
        ({"near": (45.0, 9.0), "within": float("inf")}, "`within` must be a number of metres above 0, not inf"),
        ({"heading": float("nan")}, "`heading` must be a number of degrees"),
        ({"after": date(2021, 1, 2), "before": date(2021, 1, 1)}, "`after` 2021-01-02 comes later than `before`"),
    ],
)
def test_impossible_knowledge_is_refused(known: dict[str, object], message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        Prior(**known)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    numbers = np.array([45.25, -9.5, 80.0, 370.0])
    latitude, longitude, within, heading = numbers
    expected = Prior(near=(45.25, -9.5), within=80, heading=10).to_filter()
    assert Prior(near=(latitude, longitude), within=within, heading=heading).to_filter() == expected
