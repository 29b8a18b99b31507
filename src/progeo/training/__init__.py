"""Training: methods and their phases, the trainer that runs them, and the run that ends with a test."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from progeo.training.method import ImagePhase, Method, Phase, Run, register_method
    from progeo.training.run import TrainResult, train

__all__ = ["ImagePhase", "Method", "Phase", "Run", "TrainResult", "register_method", "train"]


def __getattr__(name: str) -> Any:
    """Import the names when they are first used, so that the command line has the settings without PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module 'progeo.training' has no attribute {name!r}")
    return getattr(import_module("progeo.training." + ("run" if name.lower().startswith("train") else "method")), name)
