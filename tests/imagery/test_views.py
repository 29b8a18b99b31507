"""Perspective views of panoramas, against py360convert."""

from __future__ import annotations

import numpy as np
import py360convert
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from progeo.errors import ProgeoError
from progeo.imagery.views import cut_view, find_tilt, list_yaws, shrink

from .service import make_frame

FRAME = make_frame(1024)


@pytest.mark.parametrize(
    ("yaw", "pitch", "field_of_view"),
    [(0, 0, 60), (30, 0, 60), (180, 0, 60), (-170, 10, 90), (90, 85, 60), (45, -88, 90), (0, 90, 60), (123, -90, 100)],
    ids=lambda value: str(value),
)
def test_views_are_those_of_py360convert(yaw: float, pitch: float, field_of_view: float) -> None:
    """Ahead, across the seam, and at the poles."""
    expected = py360convert.e2p(FRAME, field_of_view, yaw, pitch, (96, 96), mode="bilinear")
    view = cut_view(FRAME, yaw, field_of_view=field_of_view, size=96, pitch=pitch)
    assert np.abs(view.astype(float) - expected.astype(float)).max() <= 1.0


def test_a_view_shows_its_direction() -> None:
    """The colours of the frame are directions: x to the right, y down, z forward."""
    for yaw in list_yaws(12):
        middle = cut_view(FRAME, yaw, size=33)[16, 16] / 127.5 - 1
        expected = [np.sin(np.radians(yaw)), 0, np.cos(np.radians(yaw))]
        assert middle == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (8, 0), (0, -12), (15, 20), (-5, 3)])
def test_tilt_is_undone(pitch: float, roll: float) -> None:
    """A tilted camera's frame gives the same views as a level one's."""
    height, width = FRAME.shape[:2]
    longitude = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height)[:, None] * np.pi
    ones = np.ones_like(latitude * longitude)
    rays = np.stack(
        [np.cos(latitude) * np.sin(longitude), -np.sin(latitude) * ones, np.cos(latitude) * np.cos(longitude)], axis=-1
    )
    # Where the axes of the camera point in the level world: forward is lifted, and then right is lowered.
    up, side = np.radians(pitch), np.radians(roll)
    forward = np.array([0, -np.sin(up), np.cos(up)])
    right_level, down_level = np.array([1.0, 0, 0]), np.array([0, np.cos(up), np.sin(up)])
    right = np.cos(side) * right_level + np.sin(side) * down_level
    down = np.cos(side) * down_level - np.sin(side) * right_level
    tilted = ((rays @ np.stack([right, down, forward]) + 1) * 127.5).round().astype(np.uint8)
    for yaw in (0, 100, 250):
        view = cut_view(tilted, yaw, size=64, camera_pitch=pitch, camera_roll=roll)
        assert np.abs(view.astype(float) - cut_view(FRAME, yaw, size=64)).max() <= 2.0


@pytest.mark.parametrize(("heading", "pitch", "roll"), [(0, 0, 0), (30, 10, 5), (200, -8, -20)])
def test_tilt_of_a_rotation(heading: float, pitch: float, roll: float) -> None:
    to, up, side = np.radians([heading, pitch, roll])
    forward = np.array([np.sin(to) * np.cos(up), np.cos(to) * np.cos(up), np.sin(up)])  # east, north, up
    level = np.array([np.cos(to), -np.sin(to), 0])
    below = np.cross(forward, level)
    camera = [np.cos(side) * level + np.sin(side) * below, np.cos(side) * below - np.sin(side) * level, forward]
    rotation = Rotation.from_matrix(np.stack(camera)).as_rotvec()
    assert find_tilt(tuple(rotation.tolist())) == pytest.approx((pitch, roll), abs=1e-6)


def test_large_frames_are_made_smaller_first() -> None:
    image = Image.new("RGB", (4096, 2048))
    needed = 64 / 2 / np.tan(np.radians(30)) * 2 * np.pi
    assert needed <= shrink(image, 60, 64).shape[1] <= 2 * needed
    assert shrink(image, 60, 512).shape == (2048, 4096, 3)


def test_cropped_frames_are_refused() -> None:
    with pytest.raises(ProgeoError, match="1000 x 400 pixels.*not twice as wide"):
        shrink(Image.new("RGB", (1000, 400)), 60, 64)
