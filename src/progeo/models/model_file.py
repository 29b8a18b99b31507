"""Names that are at home in ``files``; to be removed when their callers have moved."""

from progeo.models.files import identify, load_model_file, save_model

__all__ = ["identify", "load_model_file", "save_model"]
