"""What is learned: a method is one phase or several, one after the other.

The trainer does the rest. A method of your own is a class with the decorator ``register_method``::

    @register_method("triplet")
    class Triplet(ImagePhase):
        def compute_losses(self, descriptors, labels):
            return {"triplet": weighted_soft_margin_triplet(descriptors, labels)}
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from progeo.errors import ProgeoError, suggest
from progeo.plugins import load_plugins, note_registration
from progeo.training.phase import ImagePhase, Optimizers, Phase, Run
from progeo.training.sampling import check_batch_size
from progeo.training.settings import TrainSettings

__all__ = ["ImagePhase", "Method", "Optimizers", "Phase", "Run", "find_method", "register_method"]

IMAGES_WITH_TRIPLET = 4
"""Images of a class in a batch with the triplet loss, which needs others of the same class."""


class Method:
    """What is learned, in one phase or several.

    Attributes:
        epochs: how many epochs its last phase has where the user says nothing.
        images_per_class: how many images of a class its batches hold where the user says nothing.
        min_images_per_class: how many a class must have where the user says nothing.
        optimizer, schedule: those of the network where the user says nothing.
        uses_text: whether it needs a backbone with a text tower.
        phase: what is trained, or what is trained last.
        results: what a run has come to that trains no network.
    """

    epochs = 50
    images_per_class = 1
    min_images_per_class = 10
    optimizer = "adam"
    schedule = "constant"
    uses_text = False
    phase: Callable[..., Phase]

    def __init__(self, settings: TrainSettings, **arguments: Any) -> None:
        """Keep the arguments that the user gives to a method of their own; TypeError where its phase lacks them."""
        if arguments:
            inspect.signature(self.phase).bind(None, **arguments)
        self.arguments = arguments
        self.results: dict[str, Any] = {}

    def resolve(self, settings: TrainSettings) -> TrainSettings:
        """Return the settings with those filled in that follow from others.

        Raises:
            ProgeoError: settings that do not go together.
        """
        images = settings.images_per_class or (IMAGES_WITH_TRIPLET if settings.soft_triplet else self.images_per_class)
        check_batch_size(settings.batch_size, images)
        epochs = settings.epochs_num or self.epochs
        return dataclasses.replace(
            settings,
            epochs_num=epochs,
            images_per_class=images,
            min_images_per_class=settings.min_images_per_class or self.min_images_per_class,
            optimizer=settings.optimizer or self.optimizer,
            schedule=settings.schedule or self.schedule,
        )

    def check_classes(self, count_images: Callable[[], npt.NDArray[np.int64]]) -> None:
        """Raise ProgeoError where no class of the photos will do; ``count_images`` says how many each has."""

    def prepare(self, run: Run) -> None:
        """Read and check what the method needs, before anything is written."""

    def phases(self, run: Run) -> Iterator[Phase]:
        """Yield the phases one after the other; each has been trained when the next is asked for."""
        yield self.phase(run, **self.arguments)


_METHODS: dict[str, type[Method]] = {}

Registered = TypeVar("Registered", bound=type[Method] | type[Phase])


def register_method(name: str) -> Callable[[Registered], Registered]:
    """Make the decorated class known as method ``name``: a ``Method``, or a ``Phase`` that is one by itself.

    Such a phase may say its ``images_per_class``.
    """

    def decorate(one: Registered) -> Registered:
        note_registration("method", name)
        if issubclass(one, Method):
            _METHODS[name] = one
        else:
            images = getattr(one, "images_per_class", Method.images_per_class)
            _METHODS[name] = type(one.__name__, (Method,), {"phase": one, "images_per_class": images})
        return one

    return decorate


def find_method(name: str) -> type[Method]:
    """Return the class of method ``name``; ProgeoError with the nearest name when there is none."""
    import progeo.training.methods.cosplace
    import progeo.training.methods.metric
    import progeo.training.methods.progeo  # noqa: F401 (all register themselves)

    load_plugins()
    if name not in _METHODS:
        known = ", ".join(sorted(_METHODS))
        raise ProgeoError(f"There is no method '{name}'{suggest(name, _METHODS)}. The methods are: {known}.")
    return _METHODS[name]
