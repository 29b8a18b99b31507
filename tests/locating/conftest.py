"""The fixtures of the place database serve here too."""

from ..places.conftest import database, filled, model_file, no_reader_is_waited_for, photos, read_photos

__all__ = ["database", "filled", "model_file", "no_reader_is_waited_for", "photos", "read_photos"]
