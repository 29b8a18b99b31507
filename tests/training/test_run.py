from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import resource
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.precision import Precision
from PIL import Image

from progeo import cli
from progeo.cli.options import load_options
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.devices import choose_precision
from progeo.errors import ProgeoError
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.recall import Evaluation
from progeo.models.loading import load_model
from progeo.training import trainer
from progeo.training.phase import GroupBatches
from progeo.training.run import BEST_MODEL
from progeo.training.trainer import Trainer

from .conftest import MakeOptions


def run_in(name: str, options: TrainOptions) -> tuple[Path, dict[str, Any]]:
    folder = Path(name)
    folder.mkdir()
    return folder, run_training(options, folder)


def losses_of(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def press(number: int) -> None:
    """Give a signal to what handles it in Python; a real one also reaches handlers of C libraries that tests load."""
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, epoch: int, step: int) -> None:
    """Press Ctrl-C while the given step is in flight."""
    train_step = Trainer.train_step

    def pressing(self: Trainer, *arguments: Any) -> torch.Tensor:
        if (self.state.epoch, self.state.step) == (epoch, step):
            press(signal.SIGINT)
        return train_step(self, *arguments)

    monkeypatch.setattr(Trainer, "train_step", pressing)


def test_run_leaves_everything_in_its_folder(make_options: MakeOptions) -> None:
    results = run_training(make_options(save_dir="trial", num_preds_to_save=2))
    (folder,) = Path("logs/trial").iterdir()
    assert {path.name for path in folder.iterdir()} >= {
        *("config.yaml", "log.txt", "metrics.csv", "last_checkpoint.pth", "results.json", "report.html", "preds"),
        BEST_MODEL,
    }
    assert list(folder.glob("events.out.tfevents*"))
    assert len(losses_of(folder)) == 3
    assert results == json.loads((folder / "results.json").read_text())
    assert set(results["recalls"]) == {"R@1", "R@5", "R@10", "R@20"}
    assert "Epoch 3/3: loss" in (folder / "log.txt").read_text()
    model = load_model(str(folder / BEST_MODEL))
    assert (model.backbone_name, model.descriptor_dim, model.preprocessing.image_size) == ("timm:test_resnet", 16, 32)


def test_config_of_a_run_repeats_it(make_options: MakeOptions) -> None:
    folder, _ = run_in("first", make_options())
    again = load_options(TrainOptions, folder / "config.yaml")
    other, _ = run_in("second", again)
    assert losses_of(folder) == losses_of(other)


def test_training_lowers_the_loss_and_finds_places(make_options: MakeOptions) -> None:
    folder, results = run_in("run", make_options(epochs_num=6, iterations_per_epoch=8, groups_num=1, N=1, hue=0.1))
    losses = [float(loss) for loss in losses_of(folder)]
    assert losses[-1] < 0.8 * losses[0]
    assert results["recalls"]["R@1"] >= 75
    log = " ".join((folder / "log.txt").read_text().split())
    assert (
        re.search(r"training images, \d+ of them in (\d+) classes, in 1 group of \1 classes", log)
        and " in 1 group descriptors" in log
    )


@pytest.mark.parametrize("step", [0, 1])
def test_interrupted_run_resumes_to_the_same_result(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = make_options()
    folder, results = run_in("undisturbed", options)
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=1, step=step)
        with pytest.raises(KeyboardInterrupt):
            run_in("interrupted", options)
    assert "progeo train --resume_train interrupted" in " ".join(capsys.readouterr().err.split())
    resumed = run_training(dataclasses.replace(options, resume_train="interrupted"))
    assert losses_of(Path("interrupted")) == losses_of(folder)
    assert resumed["recalls"] == results["recalls"]
    first, second = (
        torch.load(f"{name}/last_checkpoint.pth", weights_only=True) for name in ("undisturbed", "interrupted")
    )
    for name, tensor in first["phase"].items():
        assert torch.equal(tensor, second["phase"][name]), name


def test_interrupted_while_validating_resumes_with_validation(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = make_options()
    folder, _ = run_in("undisturbed", options)

    def interrupted(*arguments: Any, description: str, **others: Any) -> Evaluation:
        if description == "Validating":
            raise KeyboardInterrupt
        return evaluate(*arguments, description=description, **others)

    with monkeypatch.context() as patch:
        patch.setattr("progeo.training.best.evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_in("interrupted", options)
    run_training(dataclasses.replace(options, resume_train="interrupted/last_checkpoint.pth"))
    assert losses_of(Path("interrupted")) == losses_of(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_testing_repeats_only_the_test(
    make_options: MakeOptions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    number: signal.Signals,
) -> None:
    ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)  # parallel test workers ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, ctrl_c))
    options = make_options(seeds=[0], epochs_num=1)
    _, undisturbed = run_in("undisturbed", options)
    described = []

    def interrupt_test(*arguments: Any, description: str, **others: Any) -> Evaluation:
        if description == "Testing":
            press(number)
        described.append(description)
        return evaluate(*arguments, description=description, **others)

    with monkeypatch.context() as patch:
        patch.setattr("progeo.training.best.evaluate", interrupt_test)
        with pytest.raises(KeyboardInterrupt):
            run_in("interrupted", options)
    assert described == ["Validating the start", "Validating"]
    output = " ".join(capsys.readouterr().err.split())
    assert "The training is done, only the test is left. Continue with: progeo train --resume_train inter" in output
    before = Path("interrupted/seed_0/last_checkpoint.pth").read_bytes()
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("trained again"))
    resumed = run_training(dataclasses.replace(options, resume_train="interrupted"))
    assert "The training is done: only the test is repeated" in " ".join(capsys.readouterr().err.split())
    assert resumed == undisturbed
    assert Path("interrupted/seed_0/last_checkpoint.pth").read_bytes() == before
    assert Path("interrupted/seed_0/report.html").is_file()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_errors_of_validation_and_test_say_how_to_go_on(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at(part: str, error: Exception) -> None:
        def failing(*arguments: Any, description: str, **others: Any) -> Evaluation:
            if description == part:
                raise error
            return evaluate(*arguments, description=description, **others)

        monkeypatch.setattr("progeo.training.best.evaluate", failing)

    fail_at("Validating", MemoryError())
    with pytest.raises(
        ProgeoError, match=r"too little memory: .*\)\. The checkpoint before is kept.*--resume_train run$"
    ):
        run_in("run", make_options(epochs_num=1))
    fail_at("Testing", ProgeoError("The image a.jpg cannot be read."))
    with pytest.raises(ProgeoError, match=r"a\.jpg cannot be read\. The training is done.*--resume_train run$"):
        run_training(make_options(epochs_num=1, resume_train="run"))


def test_second_interruption_stops_at_once(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    train_step = Trainer.train_step

    def impatient(self: Trainer, *arguments: Any) -> torch.Tensor:
        press(signal.SIGINT)
        press(signal.SIGINT)
        return train_step(self, *arguments)

    run_in("run", make_options(epochs_num=1))
    before = Path("run/last_checkpoint.pth").read_bytes()
    monkeypatch.setattr(Trainer, "train_step", impatient)
    with pytest.raises(KeyboardInterrupt):
        run_training(make_options(resume_train="run"))
    assert Path("run/last_checkpoint.pth").read_bytes() == before  # a step that is half done is not kept


def test_weights_that_are_not_finite_are_not_kept(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in("run", make_options(epochs_num=1))
    before = Path("run/last_checkpoint.pth").read_bytes()
    train_step = Trainer.train_step

    def breaking(self: Trainer, *arguments: Any) -> torch.Tensor:
        loss = train_step(self, *arguments)
        next(self.phase.parameters()).data.fill_(float("nan"))
        return loss.nan_to_num()

    monkeypatch.setattr(Trainer, "train_step", breaking)
    with pytest.raises(ProgeoError, match=r"weights are no longer finite .*checkpoint before is kept"):
        run_training(make_options(resume_train="run"))
    assert Path("run/last_checkpoint.pth").read_bytes() == before


def test_finished_run_can_be_trained_longer(make_options: MakeOptions) -> None:
    folder, _ = run_in("long", make_options(epochs_num=3))
    run_in("short", make_options(epochs_num=2))
    run_training(make_options(epochs_num=3, resume_train="short"))
    assert losses_of(Path("short")) == losses_of(folder)


def test_early_stopping(make_options: MakeOptions) -> None:
    folder, _ = run_in("run", make_options(lr=0.0, epochs_num=9, patience=2, train_all_layers=True))
    # Batch statistics move even at rate 0, so the best epoch may be any, but two worse ones end the run.
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    recalls = [float(row["validation_R@1"]) for row in rows]
    start = json.loads((folder / "results.json").read_text())["start_validation_R@1"]
    assert len(rows) < 9
    assert max(recalls[-2:]) <= max([start, *recalls[:-2]])


def test_seeds_report_mean_and_deviation_and_skip_what_is_done(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, summary = run_in("seeds", make_options(seeds=[0, 1], epochs_num=1))
    singles = [json.loads((folder / f"seed_{seed}" / "results.json").read_text())["recalls"]["R@1"] for seed in (0, 1)]
    assert summary["recalls"]["R@1"] == singles
    assert summary["recalls_mean"]["R@1"] == pytest.approx(sum(singles) / 2)
    assert losses_of(folder / "seed_0") != losses_of(folder / "seed_1")
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("trained again"))
    assert run_training(make_options(seeds=[0, 1], epochs_num=1, resume_train="seeds")) == summary


def test_mixed_precision_trains_as_float32_does(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    # Also on a processor that has no instructions for it, which otherwise takes float32.
    monkeypatch.setattr(trainer, "choose_precision", lambda name, device: {"half": "bf16"}.get(name, name))
    settings = {"images_per_class": 2, "epochs_num": 2, "iterations_per_epoch": 3, "hue": 0.1}
    losses = []
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "amp": {"use_amp16": True},
        "bf16": {"precision": "bf16"},
        "float32": {"use_amp16": True, "precision": "float32"},
    }
    for name, way in ways.items():
        folder, _ = run_in(name, make_options(**way, **settings))
        losses.append([float(loss) for loss in losses_of(folder)])
    plain, amp, bf16, float32 = losses
    assert plain != amp
    assert amp == pytest.approx(plain, rel=0.05)
    assert (bf16, float32) == (amp, plain)


def test_without_instructions_for_it_the_precision_is_float32_and_one_line(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    choose_precision.cache_clear()
    monkeypatch.setattr("progeo.devices.has_bf16_instructions", lambda: False)
    for name, use_amp16 in (("fp16", False), ("bf16", False), (None, True)):
        caplog.clear()
        fabric = trainer.create_fabric(torch.device("cpu"), use_amp16, name)
        assert type(fabric.strategy.precision) is Precision
        assert len(caplog.messages) == 1 and "float32" in caplog.text
    choose_precision.cache_clear()
    with pytest.raises(ProgeoError, match="`precision` is 'int8'; it must be one of float32, half, bf16, fp16"):
        run_in("int8", make_options(precision="int8"))


def test_compiled_it_trains_the_same(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"epochs_num": 1, "iterations_per_epoch": 3}
    plain, _ = run_in("plain", make_options(**settings))
    # All of PyTorch's compiler but for the making of C++ code, which takes a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled, _ = run_in("compiled", make_options(compile=True, **settings))
    assert [float(loss) for loss in losses_of(compiled)] == pytest.approx([float(loss) for loss in losses_of(plain)])
    assert load_model(compiled / "best_model.safetensors").descriptor_dim == 16


def test_compiler_that_fails_is_one_clear_error(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fail))
    with pytest.raises(
        ProgeoError, match=r"cannot compile this network here: .*no compiler found.*without one leave out `compile`"
    ):
        run_in("failed", make_options(compile=True, epochs_num=1, iterations_per_epoch=3))


def test_training_on_photos_of_any_size_and_colour_mode(
    make_options: MakeOptions, odd_photos: dict[str, Path], tiny_city: Path, tmp_path: Path
) -> None:
    train = tmp_path / "mixed"
    train.mkdir()
    for number, path in enumerate(sorted((tiny_city / "train").iterdir())):
        with Image.open(path) as image:
            image.resize((20 + 7 * (number % 9), 90 - 8 * (number % 7))).save(train / path.name)
    for path in odd_photos.values():
        (train / path.name.replace("500005", "500105")).write_bytes(path.read_bytes())
    folder, _ = run_in("run", make_options(train_set_folder=str(train), max_unreadable_images=0, epochs_num=2))
    assert all(math.isfinite(float(loss)) for loss in losses_of(folder))
    assert "40 training images" in (folder / "log.txt").read_text()


def test_starting_from_a_trained_model(make_options: MakeOptions) -> None:
    folder, _ = run_in("first", make_options(epochs_num=1))
    second, _ = run_in("second", make_options(epochs_num=1, lr=0.0, resume_model=str(folder / BEST_MODEL)))
    weights = [load_model(str(run / BEST_MODEL)).state_dict()["aggregation.3.weight"] for run in (folder, second)]
    assert torch.equal(*weights)


def test_unreadable_training_images_are_skipped_up_to_the_limit(
    make_options: MakeOptions, tiny_city: Path, tmp_path: Path
) -> None:
    train = tmp_path / "damaged"
    train.mkdir()
    for number, path in enumerate(sorted((tiny_city / "train").iterdir())):
        (train / path.name).write_bytes(path.read_bytes()[: 100 if number % 4 == 0 else None])
    folder, _ = run_in("run", make_options(train_set_folder=str(train), iterations_per_epoch=6))
    assert "Skipped: The image" in (folder / "log.txt").read_text()
    with pytest.raises(ProgeoError, match="training images cannot be read, more than `max_unreadable_images` 1"):
        run_in("strict", make_options(train_set_folder=str(train), iterations_per_epoch=6, max_unreadable_images=1))


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Trainer.train_step

    def exploding(self: Trainer, *arguments: Any) -> torch.Tensor:
        loss = train_step(self, *arguments)
        return loss * float("nan") if self.state.epoch == 1 else loss

    monkeypatch.setattr(Trainer, "train_step", exploding)
    with pytest.raises(
        ProgeoError, match=r"loss is nan at step 1 of epoch 2\. Lower `lr` .*checkpoint before is kept"
    ) as error:
        run_in("run", make_options())
    assert "--resume_train run" in str(error.value)
    checkpoint = torch.load("run/last_checkpoint.pth", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["step"]) == (1, 0)


def test_a_run_out_of_memory_continues_with_smaller_batches(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Trainer.train_step
    sizes = []

    def step_on_a_small_device(self: Trainer, batch: GroupBatches, *others: Any) -> torch.Tensor:
        ((_, photos, _),) = batch
        if len(photos.images) > 2 and self.state.epoch == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        sizes.append(len(photos.images))
        return train_step(self, batch, *others)

    monkeypatch.setattr(Trainer, "train_step", step_on_a_small_device)
    with pytest.raises(ProgeoError, match="lower `batch_size`.*--resume_train run"):
        run_in("run", make_options())
    run_training(make_options(resume_train="run", batch_size=2))
    assert sizes == [4, 4, 2, 2, 2, 2]
    assert len(losses_of(Path("run"))) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"M": 20}, r"started with `M` 10 \(now 20\)"),
        ({"backbone": "ResNet50"}, r"started with `backbone` timm:test_resnet \(now ResNet50\)"),
        ({"fc_output_dim": 8, "seed": 3}, r"`fc_output_dim` 16 \(now 8\), `seed` 0 \(now 3\)"),
    ],
)
def test_resuming_with_other_options_says_which(
    make_options: MakeOptions, changes: dict[str, Any], message: str
) -> None:
    run_in("run", make_options(epochs_num=1))
    with pytest.raises(ProgeoError, match=message):
        run_training(make_options(resume_train="run", min_images_per_class=1 if "M" in changes else 4, **changes))
    run_training(make_options(resume_train="run", epochs_num=1))  # which the refused options did not spoil


def test_resuming_with_other_images(make_options: MakeOptions, tiny_city: Path, tmp_path: Path) -> None:
    run_in("run", make_options(epochs_num=1))
    train = tmp_path / "grown"
    train.mkdir()
    for path in (tiny_city / "train").iterdir():
        (train / path.name).write_bytes(path.read_bytes())
        (train / path.name.replace("@@0@", "@x@0@")).write_bytes(path.read_bytes())
    with pytest.raises(ProgeoError, match="written with other classes: the training images have changed"):
        run_training(make_options(train_set_folder=str(train), resume_train="run"))


def test_damaged_missing_and_foreign_checkpoints(make_options: MakeOptions, tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match=r"There is no checkpoint nowhere"):
        run_training(make_options(resume_train="nowhere"))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "last_checkpoint.pth").write_bytes(b"damaged")
    with pytest.raises(ProgeoError, match="no checkpoint of this program, or a damaged one"):
        run_training(make_options(resume_train=str(folder)))
    torch.save({"weights": torch.zeros(2)}, folder / "last_checkpoint.pth")
    with pytest.raises(ProgeoError, match="no checkpoint of this program.*`resume_model`"):
        run_training(make_options(resume_train=str(folder)))


def test_full_disk_keeps_the_checkpoint_before(make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in("run", make_options(epochs_num=1))
    before = Path("run/last_checkpoint.pth").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ProgeoError, match=r"Cannot write run/last_checkpoint\.pth: .*written before is kept"):
            run_training(make_options(epochs_num=2, resume_train="run"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Path("run/last_checkpoint.pth").read_bytes() == before
    assert not list(Path("run").glob(".*.tmp"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="speaks of machines without a GPU")
def test_gpu_asked_for_where_there_is_none(make_options: MakeOptions, capsys: pytest.CaptureFixture[str]) -> None:
    options = make_options()
    folders = [
        f"--{name}={getattr(options, name)}" for name in ("train_set_folder", "val_set_folder", "test_set_folder")
    ]
    assert cli.main(["train", *folders, "--augmentation_device", "cuda"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--augmentation_device cuda: PyTorch finds no such device here" in said and "--device cuda" not in said
    assert cli.main(["train", *folders, "--batch_size", "3", "--images_per_class", "2"]) == 2
    assert cli.main(["train", *folders, "--device", "cuda"]) == 2
    assert "--device cuda: PyTorch finds no such device here. Available: cpu" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not Path("logs").exists()
