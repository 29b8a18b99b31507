"""A database and a model that are warm: the first photo is answered as fast as all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from progeo.errors import ProgeoError
from progeo.serve.batching import Descriptors
from progeo.serve.decoding import CAN_FORK, forker

if TYPE_CHECKING:
    from progeo.places.database import PlaceDatabase


def check_not_empty(database: PlaceDatabase) -> None:
    """Refuse to serve where there is nothing to compare a photo with.

    Raises:
        ProgeoError: the database has no photos.
    """
    if len(database) == 0:
        raise ProgeoError(
            f"The place database {database.address} is empty. Add photos with: progeo index PHOTOS `database` "
            f"{database.address}"
        )


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
    check_not_empty(database)
    descriptors = run_model(database)
    database.warm_up()
    database.locate_descriptors(descriptors)
    if CAN_FORK:
        forker.start()
