"""From a picture of all directions to true perspective views.

An equirectangular frame has longitude across and latitude down. A view is a pinhole camera in its middle: for each of
its pixels the ray is turned into the frame, and the frame is sampled there bilinearly, across its seam and its poles.
Axes are x to the right, y down, z forward, which is the middle of the frame.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from progeo.errors import ProgeoError

Floats = NDArray[np.float64]
Frame = NDArray[np.uint8]


def list_yaws(views: int) -> list[float]:
    """Return the directions of so many views, in degrees to the right of the middle of the frame."""
    return [360 * number / views for number in range(views)]


def shrink(image: Image.Image, field_of_view: float, size: int) -> Frame:
    """Return a frame as an array (H, W, 3), made smaller where it has more than twice the pixels that a view needs.

    Raises:
        ProgeoError: it is not twice as wide as high, and so no full panorama.
    """
    if abs(image.width - 2 * image.height) > 2:
        raise ProgeoError(f"The panorama has {image.width} x {image.height} pixels: it is not twice as wide as high.")
    needed = 2 * math.pi * size / 2 / math.tan(math.radians(field_of_view) / 2)
    factor = int(image.width / needed)
    return np.asarray((image.reduce(factor) if factor >= 2 else image).convert("RGB"))


def cut_view(
    frame: Frame,
    yaw: float,
    *,
    field_of_view: float = 60.0,
    size: int = 512,
    pitch: float = 0.0,
    camera_pitch: float = 0.0,
    camera_roll: float = 0.0,
) -> Frame:
    """Return one view (size, size, 3) of a frame (H, W, 3).

    Args:
        frame: equirectangular, twice as wide as high.
        yaw: degrees to the right of the middle of the frame.
        field_of_view: degrees across the view, under 180.
        size: of the view in pixels.
        pitch: degrees upwards.
        camera_pitch: by how many degrees the camera of the frame looked up; it is undone.
        camera_roll: by how many degrees its right side was lower; it is undone.
    """
    focal_length = size / 2 / math.tan(math.radians(field_of_view) / 2)
    steps = (np.arange(size) + 0.5 - size / 2) / focal_length
    rays = np.stack([*np.broadcast_arrays(steps, steps[:, None]), np.ones((size, size))], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    turn = _about_y(yaw) @ _about_x(pitch)  # from the view to a level frame
    tilt = _about_x(camera_pitch) @ _about_z(camera_roll)  # from the frame's camera to a level frame
    x, y, z = np.moveaxis(rays @ (tilt.T @ turn).T, -1, 0)
    height, width = frame.shape[:2]
    u = (np.arctan2(x, z) / (2 * math.pi) + 0.5) * width - 0.5
    v = (0.5 - np.arcsin(np.clip(-y, -1, 1)) / math.pi) * height - 0.5
    return _sample(frame, u, v)


def _sample(frame: Frame, u: Floats, v: Floats) -> Frame:
    """Return the frame at columns and rows (S, S), bilinear; beyond a pole lies the other side of the globe."""
    height, width = frame.shape[:2]
    column, row = np.floor(u).astype(np.intp), np.floor(v).astype(np.intp)
    right, lower = (u - column).astype(np.float32)[..., None], (v - row).astype(np.float32)[..., None]

    def take(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        beyond = (rows < 0) | (rows >= height)
        columns = np.where(beyond, columns + width // 2, columns) % width
        return frame[np.clip(rows, 0, height - 1), columns].astype(np.float32)

    upper_pixels = take(row, column) * (1 - right) + take(row, column + 1) * right
    lower_pixels = take(row + 1, column) * (1 - right) + take(row + 1, column + 1) * right
    sampled: Frame = (upper_pixels * (1 - lower) + lower_pixels * lower + 0.5).astype(np.uint8)
    return sampled


def _about_x(degrees: float) -> Floats:
    """Return the rotation that lifts what is in front; y points down."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def _about_y(degrees: float) -> Floats:
    """Return the rotation that turns what is in front to the right."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def _about_z(degrees: float) -> Floats:
    """Return the rotation that lowers what is on the right."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def find_tilt(axis_angle: tuple[float, float, float]) -> tuple[float, float]:
    """Return pitch and roll in degrees of a camera whose rotation from the world (east, north, up) is an axis-angle.

    The camera's axes are those of this module.
    """
    vector = np.asarray(axis_angle, float)
    angle = float(np.linalg.norm(vector))
    x, y, z = vector / angle if angle else (0.0, 0.0, 1.0)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    to_camera = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    right, down, forward = to_camera  # as vectors of the world
    return math.degrees(math.asin(np.clip(forward[2], -1, 1))), math.degrees(math.atan2(-right[2], -down[2]))
