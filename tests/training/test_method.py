"""Methods: one of one's own, schedules and optimisers, and training from Python."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

import progeo.training.method as methods
from progeo.data.table import read_photos
from progeo.errors import ProgeoError
from progeo.files import write_csv
from progeo.models.building import create_model
from progeo.models.features import Features, FeatureShapes
from progeo.models.files import save_model
from progeo.models.heads import registry
from progeo.training import ImagePhase, Method, Phase, Run, register_method, train
from progeo.training.losses import weighted_soft_margin_triplet
from progeo.training.method import find_method
from progeo.training.phase import schedule
from progeo.training.settings import make_settings

SETTINGS: dict[str, Any] = {
    **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4},
    **{"batch_size": 4, "epochs_num": 2, "iterations_per_epoch": 2, "image_size": 32, "num_workers": 0},
    **{"device": "cpu", "lr": 1e-3, "backbone_weights": "none", "fc_output_dim": 16},
}
BACKBONE = "timm:test_resnet"


@pytest.fixture(autouse=True)
def _own_methods(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Forget what a test registers, and write nowhere else."""
    find_method("cosplace")  # those of the package register when the first is looked for
    own = {name: methods._METHODS[name] for name in ("cosplace", "metric", "progeo")}
    monkeypatch.setattr(methods, "_METHODS", own)
    monkeypatch.chdir(tmp_path)


def test_a_method_of_ones_own_is_one_class(tiny_city: Path) -> None:
    @register_method("triplet")
    class Triplet(ImagePhase):
        images_per_class = 2

        def __init__(self, run: Run, weight: float = 1.0) -> None:
            super().__init__(run)
            self.weight = weight

        def compute_losses(self, descriptors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            assert torch.unique(labels, return_counts=True)[1].tolist() == [2, 2]
            return {"triplet": self.weight * weighted_soft_margin_triplet(descriptors, labels)}

    sets = {"val": tiny_city / "val", "test": tiny_city / "test"}
    result = train(BACKBONE, tiny_city / "train", method="triplet", **sets, **SETTINGS)
    heavier = {**SETTINGS, "method_arguments": {"weight": 2.0}}
    second = train(BACKBONE, tiny_city / "train", method="triplet", **heavier)
    assert second.history[0]["loss"] == pytest.approx(2 * result.history[0]["loss"], rel=0.2)
    assert result.model is not None and result.model.encode(torch.rand(3, 40, 40)).shape == (1, 16)
    assert set(result.results["recalls"]) == {"R@1", "R@5", "R@10", "R@20"}
    assert "validation_R@1" in result.history[-1] and "validation_R@1" not in second.history[-1]
    assert result.folder is None and not list(Path().iterdir())
    with pytest.raises(ProgeoError, match="`method` triplet does not take `method_arguments`.*margin"):
        train(BACKBONE, tiny_city / "train", method="triplet", **SETTINGS, method_arguments={"margin": 1})


def test_a_method_of_several_phases_resumes_in_each(tiny_city: Path) -> None:
    class Scalar(Phase):
        name = "scalar"

        def __init__(self, run: Run) -> None:
            super().__init__(run)
            self.value = torch.nn.Parameter(torch.zeros((), device=run.device))
            self.optimizers = [torch.optim.SGD([self.value], lr=1.0)]

        def batches(self, epoch: int, step: int) -> Iterator[int]:
            yield from range(step, self.steps(epoch))

        def forward(self, batch: int) -> dict[str, torch.Tensor]:
            return {"first": (self.value - batch) ** 2, "second": self.value.abs()}

    @register_method("two")
    class Two(Method):
        epochs = 3

        def phases(self, run: Run) -> Iterator[Phase]:
            phase = Scalar(run)
            yield phase
            values.append((len(phase.history), float(phase.value.detach())))
            yield methods.find_method("cosplace").phase(run)

    values: list[tuple[int, float]] = []
    settings = {**SETTINGS, "epochs_num": None}
    first = train(BACKBONE, tiny_city / "train", method="two", folder="run", **settings)
    again = train(BACKBONE, tiny_city / "train", method="two", folder="run", **settings)
    assert values[0] == values[1] and values[0][0] == 3
    assert len(first.history) == 3 and again.history == first.history
    header, *rows = Path("run/scalar_metrics.csv").read_text().splitlines()
    assert header == "epoch,group,loss,loss_first,loss_second,seconds" and len(rows) == 3


def test_unknown_methods_are_refused_with_the_nearest() -> None:
    with pytest.raises(
        ProgeoError, match=r"no method 'cosplac' \(did you mean cosplace\?\).*are: cosplace, metric, progeo"
    ):
        find_method("cosplac")


def test_schedules_are_those_of_pytorch() -> None:
    total, warmup = 20, 5
    for kind in ("cosine", "linear"):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        falling = (
            CosineAnnealingLR(optimizer, total - warmup)
            if kind == "cosine"
            else LinearLR(optimizer, 1.0, 0.0, total - warmup)
        )
        for step in range(warmup, total):
            assert schedule(kind, step, total, warmup) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
            optimizer.step()
            falling.step()
    assert [schedule("constant", step, total, warmup) for step in range(7)] == [0.2, 0.4, 0.6, 0.8, 1, 1, 1]


def test_paths_are_settings_too() -> None:
    assert make_settings({"prompts": Path("a") / "prompts.safetensors"}).prompts == str(Path("a/prompts.safetensors"))


def test_a_table_of_figures_has_the_columns_of_all_rows() -> None:
    write_csv(Path("table.csv"), [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "seconds": 3.0}])
    assert Path("table.csv").read_text(encoding="utf-8").splitlines() == ["epoch,loss,seconds", "1,2.0,", "2,,3.0"]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "weight_decay": 0.5},
        {"schedule": "cosine"},
        {"schedule": "linear", "warmup_steps": 2},
        {"clip_gradients": 1e-4},
        {"augmentation": "published"},
        {"unfreeze": 1},
        {"train_all_layers": True},
    ],
)
def test_settings_change_the_training(tiny_city: Path, changes: dict[str, Any]) -> None:
    settings = {**SETTINGS, "groups_num": 1, "N": 1, "lr": 1e-2}
    plain = train(BACKBONE, tiny_city / "train", **settings)
    changed = train(BACKBONE, tiny_city / "train", **{**settings, **changes})
    assert changed.history[-1]["loss"] != plain.history[-1]["loss"]


def test_a_schedule_goes_on_where_it_was(tiny_city: Path) -> None:
    settings = {**SETTINGS, "epochs_num": 3, "schedule": "linear", "warmup_steps": 1, "optimizer": "adamw"}
    whole = train(BACKBONE, tiny_city / "train", folder="whole", **settings)
    content = torch.load("whole/last_checkpoint.pth", weights_only=True)
    assert (content["spec"]["backbone"], content["spec"]["descriptor_dim"]) == (BACKBONE, 16)
    assert content["optimizers"][0]["param_groups"][0]["lr"] == pytest.approx(1e-3 * (1 - 4 / 5))
    with pytest.MonkeyPatch.context() as patch:

        def stop(self: ImagePhase, epoch: int) -> Any:
            raise KeyboardInterrupt

        original = ImagePhase.start_epoch
        patch.setattr(ImagePhase, "start_epoch", lambda self, epoch: stop(self, epoch) if epoch else original(self, 0))
        with pytest.raises(KeyboardInterrupt):
            train(BACKBONE, tiny_city / "train", folder="stopped", **settings)
    content = torch.load("stopped/last_checkpoint.pth", weights_only=True)
    del content["spec"]  # as written before there was one
    torch.save(content, "stopped/last_checkpoint.pth")
    resumed = train(BACKBONE, tiny_city / "train", folder="stopped", **settings)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_unfreeze_alone_says_what_is_trained(tiny_city: Path) -> None:
    for other in ({"train_all_layers": True}, {"freeze_cnn": 0}, {"freeze_trans": 6}):
        with pytest.raises(ProgeoError, match=f"`unfreeze` says what is trained, and so does `{next(iter(other))}`"):
            train(BACKBONE, tiny_city / "train", **SETTINGS, unfreeze=1, **other)


def test_nothing_to_train_is_refused(tiny_city: Path) -> None:
    settings = {**SETTINGS, "head": "cls", "fc_output_dim": 64, "unfreeze": 0}
    with pytest.raises(ProgeoError, match="`unfreeze` 0 leaves nothing to train: the head cls has no weights"):
        train("timm:test_vit", tiny_city / "train", **settings)


def test_a_network_is_trained_as_it_is_and_stays_so(tiny_city: Path) -> None:
    network = create_model(BACKBONE, descriptor_dim=8, weights="none", unfreeze=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settings = {name: value for name, value in SETTINGS.items() if name not in ("fc_output_dim", "backbone_weights")}
    provenance = {**network.spec.provenance, "untrained": True, "also_known_as": "another"}
    network.spec = dataclasses.replace(network.spec, provenance=provenance)
    result = train(network, tiny_city / "train", **settings)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert network.spec.provenance == provenance
    assert result.model is not None and not {"untrained", "also_known_as"} & result.model.spec.provenance.keys()
    for name, parameter in result.model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("backbone."), name
    with pytest.raises(ProgeoError, match="`fc_output_dim` 16 was asked for"):
        train(network, tiny_city / "train", **settings, fc_output_dim=16)


def test_a_head_with_arguments_that_computes_in_its_constructor_is_trained(
    tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_HEADS", dict(registry._HEADS))

    @registry.register_head("computing")
    class Computing(torch.nn.Module):
        def __init__(self, shapes: FeatureShapes, descriptor_dim: int, scale: float) -> None:
            super().__init__()
            self.scale = scale + torch.zeros(1).item()
            self.projection = torch.nn.Linear(shapes.map or 0, descriptor_dim)

        def forward(self, features: Features) -> torch.Tensor:
            assert features.map is not None
            return torch.nn.functional.normalize(self.projection(self.scale * features.map.mean(dim=(2, 3))), dim=1)

    network = create_model(BACKBONE, head="computing", descriptor_dim=8, weights="none", head_arguments={"scale": 2.0})
    save_model("model.safetensors", network)
    settings = {name: value for name, value in SETTINGS.items() if name != "fc_output_dim"}
    result = train("model.safetensors", tiny_city / "train", **settings)
    assert result.model is not None and result.model.aggregation.scale == 2
    assert result.model.spec.head_arguments == {"scale": 2.0}


def test_places_of_a_table_are_classes(tiny_city: Path) -> None:
    table = read_photos(tiny_city / "train").with_columns(place=pl.col("utm_east").floor().cast(pl.String))
    settings = {name: value for name, value in SETTINGS.items() if name not in ("M", "alpha", "N", "L")}
    result = train(BACKBONE, table, **settings)
    assert [row["group"] for row in result.history] == [0, 1]
    with pytest.raises(ProgeoError, match="column place.*leave out `M`, `alpha`, `N`, `L`"):
        train(BACKBONE, table, **SETTINGS)


def test_trains_in_a_thread(tiny_city: Path) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(train(BACKBONE, tiny_city / "train", **SETTINGS)))
    state = torch.get_rng_state()
    thread.start()
    thread.join()
    assert len(results[0].history) == 2
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch_num": 2}, "no setting `epoch_num`. Did you mean `epochs_num`?"),
        ({"batch_size": 0}, "`batch_size` is 0; it must be at least 1"),
        ({"lr": float("nan")}, "`lr` is nan; it must be at least 0"),
        ({"hue": 0.6}, "`hue` is 0.6; it must be at most 0.5"),
        ({"M": 2.5}, "`M` is 2.5; it must be a whole number"),
        ({"train_all_layers": 1}, "`train_all_layers` is 1; it must be True or False"),
        ({"optimizer": "lion"}, "`optimizer` is 'lion'; it must be one of adam, adamw, sgd"),
        ({"patience": 2}, "`patience` waits for a better R@1 on a validation set, but there is none"),
        ({"method": "progeo"}, "needs a backbone with a text tower"),
        ({"text_targets": "prompts"}, "`method` cosplace does not go with `text_targets` prompts"),
        ({"device": "tpu"}, "`device`"),
    ],
)
def test_settings_are_checked_as_on_the_command_line(tiny_city: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgeoError) as error:
        train(BACKBONE, tiny_city / "train", **{**SETTINGS, **changes})
    assert message in str(error.value)
    assert not list(Path().iterdir())
