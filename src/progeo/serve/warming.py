"""A database and a model that are warm: the first photo is answered as fast as all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from progeo.serve.batching import Descriptors
from progeo.serve.decoding import CAN_FORK, forker

if TYPE_CHECKING:
    from progeo.places.database import PlaceDatabase


def run_model(database: PlaceDatabase) -> Descriptors:
    """Load the model and run it once; return what it makes of a black photo, (1, D)."""
    encoder = database.encoder
    size = encoder.preprocessing.image_size
    ((_, descriptors),) = encoder.encode_pixels([(0, np.zeros((size, size, 3), dtype=np.uint8))])
    return descriptors


def warm_up(database: PlaceDatabase) -> None:
    """Run the model once, read the index into memory, search once, and start to decode.

    Raises:
        ProgeoError: the database is empty or cannot be read.
    """
    database.check_ready()
    descriptors = run_model(database)
    database.warm_up()
    database.locate_descriptors(descriptors)
    if CAN_FORK:
        forker.start()
