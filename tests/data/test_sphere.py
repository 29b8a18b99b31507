"""Points of the earth as a sphere, and the distances between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from progeo.data.sphere import measure_distances, to_degrees, to_points


@given(st.floats(-89, 89), st.floats(-180, 180))
def test_points_keep_positions(latitude: float, longitude: float) -> None:
    back = to_degrees(to_points(np.array(latitude), np.array(longitude)))
    assert back[0] == pytest.approx(latitude, abs=1e-9)
    assert abs((back[1] - longitude + 180) % 360 - 180) < 1e-9


def test_distances_on_the_ground() -> None:
    points = to_points(np.array([45.0, 45.001, -17.0, -17.0]), np.array([9.0, 9.0, 179.9995, -179.9995]))
    assert measure_distances(points[0], points[1]) == pytest.approx(111.2, abs=0.1)
    assert measure_distances(points[2], points[3]) == pytest.approx(106.3, abs=0.1)  # across the date line
