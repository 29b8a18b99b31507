"""The best model of a run: measured on the validation set, kept in a file, and tested in the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from progeo.errors import ProgeoError
from progeo.evaluation.evaluate import evaluate, resize_as_published, with_preprocessing
from progeo.evaluation.evaluation_set import EvaluationSet
from progeo.evaluation.recall import Evaluation
from progeo.evaluation.report import EXAMPLES
from progeo.evaluation.results import make_title, save_results
from progeo.models.encoder import Descriptors, Encoder
from progeo.models.files import save_model
from progeo.models.network import PlaceNetwork
from progeo.models.spec import ModelSpec
from progeo.models.state_dicts import read_tensors
from progeo.pixels.recipe import Preprocessing
from progeo.search.methods import NONE
from progeo.training import ranks
from progeo.training.method import Run
from progeo.training.settings import TrainSettings

if TYPE_CHECKING:
    from progeo.pixels.recipe import Source

BEST_MODEL = "best_model.safetensors"
START_MODEL = "start_model.safetensors"
"""The model before its first step, which ``keep_start`` mixes with what training makes of it."""

PHOTOS_AT_ONCE = 512
"""Photos of a validation or test that a rank encodes before the ranks meet again."""

Tensors = dict[str, torch.Tensor]


class BestModel:
    """What a run gives: of the start and the models after each epoch the best one, or the last without validation.

    With ``keep_start`` these are the means, weight by weight, of the start and the trained network; the training itself
    goes on from the trained one. Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """

    def __init__(self, run: Run, validation_set: EvaluationSet | None, *, resumed: bool) -> None:
        """Keep the start of a new run, or read that of a run that goes on.

        Raises:
            ProgeoError: the start of a run that goes on is gone.
        """
        self.run, self.validation_set = run, validation_set
        self.path = run.folder / BEST_MODEL
        self.start: Tensors = {}
        if run.settings.keep_start:
            self.start = self._read_start() if resumed else self._write_start()

    def _write_start(self) -> Tensors:
        if self.run.fabric.is_global_zero:
            save_model(self.run.folder / START_MODEL, self.run.network)
        return {name: tensor.detach().clone() for name, tensor in self.run.network.state_dict().items()}

    def _read_start(self) -> Tensors:
        path = (self.run.earlier or self.run.folder) / START_MODEL
        if not path.is_file():
            raise ProgeoError(f"`keep_start` needs the model that the run started from, but there is no {path}.")
        return read_tensors(path)[0]

    @contextmanager
    def blend(self) -> Iterator[PlaceNetwork]:
        """Give the network the weights that are measured and kept; in the end it has its own again, bit by bit."""
        network, share = self.run.network, self.run.settings.keep_start
        if not self.start:
            yield network
            return
        own = network.state_dict()
        trained = {name: tensor.detach().clone() for name, tensor in own.items()}
        with torch.no_grad():
            for name, tensor in own.items():
                if tensor.is_floating_point():
                    tensor.lerp_(self.start[name].to(tensor.device, tensor.dtype), share)
        try:
            yield network
        finally:
            with torch.no_grad():
                for name, tensor in own.items():
                    tensor.copy_(trained[name])

    def validate(self, description: str) -> dict[int, float]:
        """Return R@N by N on the validation set."""
        assert self.validation_set is not None
        with self.blend() as network:
            return evaluate_network(network, self.validation_set, self.run, description).recalls

    def keep(self, figures: dict[str, float]) -> None:
        """Write the model as the best so far; one process does."""
        if self.run.fabric.is_global_zero:
            with self.blend() as network:
                save_model(self.path, network, training=dataclasses.asdict(self.run.settings), metrics=figures)

    def load(self) -> PlaceNetwork:
        """Return the run's network with the weights of the best model, in evaluation mode."""
        ranks.wait()  # until the first rank has written it
        tensors, entries = read_tensors(self.path)
        self.run.network.load_state_dict(tensors)
        if "spec" in entries:
            self.run.network.spec = ModelSpec.from_json(entries["spec"], self.path)
        return self.run.network.eval()

    def test(self, test_set: EvaluationSet, name: str | None, measured: dict[str, Any]) -> dict[str, Any]:
        """Test the best model; write and return its results.

        Args:
            test_set: on which.
            name: of the test set, as it was given.
            measured: what else the results say of the run.
        """
        run, settings, best = self.run, self.run.settings, self.load()
        evaluation = evaluate_network(best, test_set, run, "Testing", explain=EXAMPLES)
        described = {
            "model": str(self.path),
            "backbone": settings.backbone,
            "fc_output_dim": best.descriptor_dim,
            "test_set_folder": name,
            "image_size": "native" if wants_native_size(best, settings) else settings.image_size,
            "seed": settings.seed,
            **measured,
        }
        return ranks.ask_first(
            lambda: save_results(
                evaluation,
                test_set,
                run.folder,
                title=make_title(best.spec, test_set.folder),
                settings=described,
                spec=best.spec.to_dict(),
                num_preds_to_save=settings.num_preds_to_save,
                save_only_wrong_preds=settings.save_only_wrong_preds,
            )
        )


class SharedEncoder(Encoder):
    """An encoder that leaves photos to all ranks.

    Attributes:
        share_out: has all ranks encode some photos; returns the descriptors of each.
    """

    share_out: Callable[[Sequence[tuple[Preprocessing, Source]]], list[Descriptors]]

    def encode(
        self,
        photos: Sequence[Source],
        *,
        description: str | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> Descriptors:
        """Describe photos, a good many at a time."""
        size = PHOTOS_AT_ONCE * ranks.count()
        found = []
        for first in range(0, len(photos), size):
            some = photos[first : first + size]
            found += self.share_out([(self.preprocessing, photo) for photo in some])
            if advance:
                advance(len(some))
        return np.concatenate(found)


def evaluate_network(
    network: PlaceNetwork, evaluation_set: EvaluationSet, run: Run, description: str, explain: int = 0
) -> Evaluation:
    """Evaluate a network on the device as the settings ask for; all ranks encode, the first one does the rest.

    For ``explain`` see ``evaluate``.
    """
    settings = run.settings
    arguments: dict[str, Any] = {"batch_size": settings.infer_batch_size, "num_workers": settings.num_workers}
    kind = Encoder if ranks.count() == 1 else SharedEncoder
    encoder = kind.create(network.eval(), device=str(run.device), **arguments)
    if settings.resize_test_imgs:
        encoder.preprocessing = resize_as_published(network.preprocessing, network.backbone_name)

    def encode(photos: Sequence[tuple[Preprocessing, Source]]) -> Descriptors:
        if not photos:
            return np.empty((0, encoder.descriptor_dim), dtype=np.float32)
        return Encoder.encode(with_preprocessing(encoder, photos[0][0]), [photo for _, photo in photos])

    def lead(share_out: Callable[[Sequence[tuple[Preprocessing, Source]]], list[Descriptors]]) -> Evaluation:
        if isinstance(encoder, SharedEncoder):
            encoder.share_out = share_out
        return evaluate(
            encoder,
            evaluation_set,
            native=wants_native_size(network, settings),
            positive_dist_threshold=settings.positive_dist_threshold,
            k=max(20, settings.num_preds_to_save),
            description=description,
            explain=explain,
            rerank=NONE,  # the network is what is judged
        )

    return ranks.lead(lead, encode)


def wants_native_size(network: PlaceNetwork, settings: TrainSettings) -> bool | None:
    """Tell whether photos keep their size in validation and test; None leaves it to the protocol."""
    if settings.resize_test_imgs is None or network.preprocessing.square:
        return None
    return not settings.resize_test_imgs
