"""The two stages of ProGEO through ``progeo train``, with a CLIP of a few random layers on eight places."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from progeo import cli
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.data.table import read_photos
from progeo.errors import ProgeoError
from progeo.models.encoder import Encoder
from progeo.search import store
from progeo.training.groups import make_groups
from progeo.training.methods import text_targets
from progeo.training.methods.image_features import FEATURES
from progeo.training.methods.progeo import TEXT_TARGETS, TextPhase
from progeo.training.methods.prompt_file import PROMPTS, load_prompts
from progeo.training.methods.prompt_learning import PromptPhase, split_features

MakeOptions = Callable[..., TrainOptions]


@pytest.fixture()
def make_options(
    tiny_city: Path, tiny_clips: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeOptions:
    monkeypatch.chdir(tmp_path)

    def make(**changes: Any) -> TrainOptions:
        settings: dict[str, Any] = {
            **{name: str(tiny_city / name.split("_")[0]) for name in ("train_set_folder", "val_set_folder")},
            **{"test_set_folder": str(tiny_city / "test"), "backbone": tiny_clips["rn"], "backbone_weights": "none"},
            **{"M": 10, "alpha": 360, "N": 2, "L": 1, "groups_num": 2, "min_images_per_class": 4},
            **{"batch_size": 4, "epochs_num": 2, "iterations_per_epoch": 2, "image_size": 64, "num_workers": 1},
            **{"batch_size_stage1": 8, "epochs_num_stage1": 6, "device": "cpu", "lr": 1e-3},
        }
        return TrainOptions(**(settings | changes))

    return make


def run_in(name: str, options: TrainOptions) -> dict[str, Any]:
    Path(name).mkdir(exist_ok=True)
    return run_training(options, Path(name))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_one_command_runs_both_stages_and_the_test(make_options: MakeOptions) -> None:
    results = run_in("run", make_options())
    assert results["fc_output_dim"] == 48 and "R@1" in results["recalls"]
    losses = [float(row["loss"]) for row in rows_of(Path("run/stage1_metrics.csv"))]
    assert len(losses) == 6 and losses[-1] < losses[1]
    log = " ".join(Path("run/log.txt").read_text(encoding="utf-8").split())
    for said in (
        "both towers are random, so that prompts and results mean nothing",
        "Stage 1, prompts:",
        "Prompts find the held-out image of their own class",
        "Training the image encoder:",
        "compared with their classes and the texts of these",
    ):
        assert said in log
    prompts = load_prompts("run/prompts.safetensors")
    assert [len(tokens) for tokens in prompts.tokens] == [len(classes) for classes in prompts.classes]
    assert load_file(Path("run") / TEXT_TARGETS)["0"].dtype == torch.float16


def test_lite_clip_learns_in_both_stages(make_options: MakeOptions) -> None:
    steps = {"epochs_num": 3, "iterations_per_epoch": 5, "batch_size": 8, "epochs_num_stage1": 8, "lr_stage1": 0.03}
    mild = {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.0, "random_resized_crop": 0.1}
    one_group = {"N": 1, "groups_num": 1}
    run_in("run", make_options(backbone="LiteCLIP", backbone_weights="default", **steps, **mild, **one_group))
    for table in ("stage1_metrics.csv", "metrics.csv"):
        losses = [float(row["loss"]) for row in rows_of(Path("run", table))]
        assert losses[-1] < 0.8 * losses[0]


def test_stages_run_apart_give_the_same(make_options: MakeOptions) -> None:
    run_in("whole", make_options())
    first = run_in("first", make_options(stage=1))
    assert not Path("first/best_model.safetensors").exists()
    run_in("second", make_options(stage=2, prompts=first["prompts"]))
    assert rows_of(Path("second/metrics.csv")) == rows_of(Path("whole/metrics.csv"))
    assert not Path("second", FEATURES).exists()


def stop_in(
    monkeypatch: pytest.MonkeyPatch, owner: Any, function: str, calls_before: int, options: TrainOptions
) -> None:
    """Start a run in the folder ``stopped``, and interrupt it in a call of a function."""
    original = getattr(owner, function)
    calls = 0

    def stopping(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > calls_before:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(owner, function, stopping)
        with pytest.raises(KeyboardInterrupt):
            run_in("stopped", options)


@pytest.mark.parametrize("stop", ["extraction", "prompts", "between", "encoder"])
def test_a_run_stopped_anywhere_resumes_to_the_same_result(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    places: dict[str, tuple[Any, str, int]] = {
        "extraction": (store, "write_json", 1),
        "prompts": (PromptPhase, "forward", 9),
        "between": (text_targets, "compute_text_features", 0),
        "encoder": (TextPhase, "forward", 3),
    }
    monkeypatch.setattr("progeo.search.store.ROWS_AT_ONCE", 8)
    monkeypatch.setattr("progeo.training.methods.prompt_learning.PromptPhase.seconds_between_checkpoints", 0)
    run_in("undisturbed", make_options())
    stop_in(monkeypatch, *places[stop], make_options())
    run_training(make_options(resume_train="stopped"))
    for table in ("stage1_metrics.csv", "metrics.csv"):
        assert rows_of(Path("stopped", table)) == rows_of(Path("undisturbed", table))


def test_features_made_anew_do_not_count_as_done_before_they_are(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in("undisturbed", make_options(stage=1))
    run_in("stopped", make_options(stage=1))
    for name in (FEATURES, PROMPTS, "stage1_checkpoint.pth"):
        Path("stopped", name).unlink()
    again = make_options(stage=1, resume_train="stopped")
    stop_in(monkeypatch, Encoder, "encode_readable", 0, again)
    run_training(again)
    assert rows_of(Path("stopped/stage1_metrics.csv")) == rows_of(Path("undisturbed/stage1_metrics.csv"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"M": 20}, r"run stopped was started with `M` 10 \(now 20\)"),
        ({"epochs_num_stage1": 8}, r"`epochs_num_stage1` 6 \(now 8\)"),
        ({"prompt_template": "A X."}, r"`prompt_template` A photo of a X X X X street. \(now A X.\)"),
        ({"prompts": "other/prompts.safetensors"}, r"`prompts` None \(now other/prompts.safetensors\)"),
        ({"text_targets": "class_mean"}, r"`text_targets` prompts \(now class_mean\)"),
        ({"seed": 1}, r"`seed` 0 \(now 1\)"),
    ],
)
def test_a_resume_that_is_refused_leaves_the_run_as_it_was(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    stop_in(monkeypatch, PromptPhase, "forward", 9, make_options(stage=1))
    before = Path("stopped/config.yaml").read_text(encoding="utf-8")
    with pytest.raises(ProgeoError, match=message):
        run_training(make_options(resume_train="stopped", **changes))
    assert Path("stopped/config.yaml").read_text(encoding="utf-8") == before


def test_stage1_goes_on_with_smaller_batches_and_rates(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progeo.training.methods.prompt_learning.PromptPhase.seconds_between_checkpoints", 0)
    with monkeypatch.context() as patch:
        patch.setattr("progeo.training.methods.prompt_learning.contrast_images_and_texts", run_out_of_memory)
        with pytest.raises(ProgeoError, match="lower `batch_size_stage1`.*continue with: progeo train --resume_train"):
            run_in("run", make_options(stage=1))
    with pytest.raises(ProgeoError, match="Lower `lr_stage1`.*continue with: progeo train --resume_train run"):
        run_in("run", make_options(stage=1, resume_train="run", lr_stage1=1e36))
    run_training(make_options(stage=1, resume_train="run", lr_stage1=0.001, batch_size_stage1=4))
    assert Path("run", PROMPTS).is_file()


def test_stage1_goes_on_with_smaller_batches_inside_an_epoch(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in(monkeypatch, PromptPhase, "forward", 1, make_options(stage=1))
    run_training(make_options(stage=1, resume_train="stopped", batch_size_stage1=4))
    assert np.isfinite([float(row["loss"]) for row in rows_of(Path("stopped/stage1_metrics.csv"))]).all()


def run_out_of_memory(*_arguments: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_run_of_stage1_goes_on_with_stage2(make_options: MakeOptions) -> None:
    run_in("whole", make_options())
    run_in("apart", make_options(stage=1))
    run_training(make_options(stage=2, resume_train="apart"))
    assert rows_of(Path("apart/metrics.csv")) == rows_of(Path("whole/metrics.csv"))


def test_prompts_and_weights_are_not_needed_once_texts_are_computed(
    make_options: MakeOptions, tiny_clip_weights: dict[str, Path]
) -> None:
    shutil.copy(tiny_clip_weights["rn"], "rn.safetensors")
    first = run_in("first", make_options(stage=1, backbone_weights="rn.safetensors"))
    options = {"stage": 2, "prompts": first["prompts"], "backbone_weights": "rn.safetensors"}
    run_in("second", make_options(**options, epochs_num=1))
    Path(first["prompts"]).unlink()
    Path("rn.safetensors").unlink()
    run_training(make_options(**options, resume_train="second"))
    assert len(rows_of(Path("second/metrics.csv"))) == 2


def test_the_first_estimate_is_that_of_a_batch_drawn_at_random(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = []
    original = PromptPhase.forward

    def note(self: PromptPhase, batch: Any) -> dict[str, torch.Tensor]:
        classes.append(len(np.unique(batch[1])))
        return original(self, batch)

    monkeypatch.setattr(PromptPhase, "forward", note)
    run_in("run", make_options(stage=1, batch_size_stage1=4, held_out_images=0))
    assert classes[0] > 1  # of four classes with four photos each, one after the other


def test_controls_draw_to_what_they_say(make_options: MakeOptions) -> None:
    first = run_in("prompts", make_options(stage=1))
    for kind in ("prompts", "shuffled", "class_mean", "none"):
        given = {"prompts": first["prompts"]} if kind in ("prompts", "shuffled") else {}
        run_in(kind, make_options(text_targets=kind, epochs_num=1, **given))
    texts, shuffled, means = (
        load_file(Path(kind) / TEXT_TARGETS)["0"] for kind in ("prompts", "shuffled", "class_mean")
    )
    assert sorted(map(tuple, texts.tolist())) == sorted(map(tuple, shuffled.tolist()))
    assert not (texts == shuffled).all(dim=1).any()
    features = np.load(Path("prompts", FEATURES))
    np.testing.assert_allclose(means[0], features[:4].astype(np.float32).mean(axis=0), rtol=1e-2, atol=1e-3)
    assert not Path("none", TEXT_TARGETS).exists()
    losses = {kind: rows_of(Path(kind, "metrics.csv"))[0]["loss"] for kind in ("prompts", "shuffled", "none")}
    assert len(set(losses.values())) == 3


def test_seeds_share_the_image_features(make_options: MakeOptions) -> None:
    run_in("seeds", make_options(seeds=[0, 1], epochs_num=1, stage=1))
    results = run_training(make_options(seeds=[0, 1], epochs_num=1, stage=2, resume_train="seeds"))
    assert len(results["recalls"]["R@1"]) == 2
    assert Path("seeds", FEATURES).is_file() and not Path("seeds/seed_0", FEATURES).exists()
    assert not torch.equal(*(load_prompts(f"seeds/seed_{seed}/{PROMPTS}").tokens[0] for seed in (0, 1)))


def test_soft_triplet_batches_hold_images_of_each_class(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def note(descriptors: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(labels)
        return descriptors.sum() * 0

    monkeypatch.setattr("progeo.training.methods.cosplace.weighted_soft_margin_triplet", note)
    options = {"soft_triplet": True, "text_targets": "none", "batch_size": 8, "epochs_num": 1}
    run_in("triplet", make_options(**options))
    assert all(count == 4 for labels in seen for count in torch.unique(labels, return_counts=True)[1].tolist())
    seen.clear()
    run_in("published", make_options(**options, images_per_class=1))
    assert all(len(torch.unique(labels)) == 4 for labels in seen)


def test_held_out_images_are_not_learned_from(make_options: MakeOptions, tiny_city: Path) -> None:
    table = read_photos(tiny_city / "train")
    groups = make_groups(table, M=10, alpha=360, N=2, L=1, min_images_per_class=4, groups_num=2)
    images = sum(len(group.images) for group in groups)
    features = np.arange(images, dtype=np.float16)[:, None]
    features[5] = np.nan
    for share, group in zip(split_features(features, groups, 1000, seed=0), groups, strict=True):
        assert not set(share.training) & set(share.held_out)
        assert len(np.unique(share.labels[share.held_out])) == len(share.held_out)
        assert not np.isnan(share.features[share.training]).any()
        # The class that lost an image has three left, too few to hold one out.
        complete = np.bincount(share.labels[~np.isnan(share.features[:, 0])], minlength=len(group)) >= 4
        assert len(share.held_out) == complete.sum()
    assert sum(len(share.held_out) for share in split_features(features, groups, 0, seed=0)) == 0


def test_prompts_show_lists_words(make_options: MakeOptions, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_in("first", make_options(stage=1))
    assert cli.main(["prompts", "show", first["prompts"], "--backbone_weights", "none", "--classes", "3"]) == 0
    shown = capsys.readouterr().out
    assert "token 4" in shown and "5 more classes" in shown and "500000" in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backbone": "vit"},
            r"learned with `backbone` open_clip:progeo-tiny-rn \(now open_clip:progeo-tiny-vit\)",
        ),
        ({"M": 20}, r"were learned with `M` 10 \(now 20\)"),
        ({"min_images_per_class": 3}, r"`min_images_per_class` 4 \(now 3\)"),
        ({"prompt_template": "A X X X X."}, r"`prompt_template` A photo of a X X X X street. \(now A X X X X.\)"),
    ],
)
def test_prompts_of_other_settings_are_refused(
    make_options: MakeOptions, tiny_clips: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    first = run_in("first", make_options(stage=1))
    if "backbone" in changes:
        changes = {"backbone": tiny_clips[changes["backbone"]]}
    with pytest.raises(ProgeoError, match=message):
        run_training(make_options(stage=2, prompts=first["prompts"], **changes))
    assert not Path("logs").exists()


def test_prompts_of_other_classes_or_weights_are_refused(
    make_options: MakeOptions,
    tiny_city: Path,
    tiny_clip_weights: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = run_in("first", make_options(stage=1))
    shutil.copytree(tiny_city / "train", "fewer")
    for photo in list(Path("fewer").iterdir())[:1]:
        photo.unlink()
    with pytest.raises(ProgeoError, match=r"0 have no prompt, and 1 prompts have no class|those of other classes"):
        run_training(make_options(stage=2, prompts=first["prompts"], train_set_folder="fewer"))
    weights = str(tiny_clip_weights["rn"])
    with pytest.raises(ProgeoError, match=r"first/prompts\.safetensors were learned with other weights of open_clip:"):
        run_training(make_options(stage=2, prompts=first["prompts"], backbone_weights=weights))
    assert cli.main(["prompts", "show", first["prompts"], "--backbone_weights", weights]) == 2
    assert "learned with other weights" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(ProgeoError, match="There are no prompts missing"):
        run_training(make_options(stage=2, prompts="missing.safetensors"))
    assert not Path("logs").exists()


def test_damaged_prompts_are_refused(make_options: MakeOptions) -> None:
    first = run_in("first", make_options(stage=1))
    tensors = load_file(first["prompts"])
    with safe_open(first["prompts"], framework="pt") as file:
        metadata = file.metadata()
    card = json.loads(metadata["card"])
    damaged: dict[str, tuple[dict[str, torch.Tensor], dict[str, str]]] = {
        "it lacks 'tokens.1'": ({name: value for name, value in tensors.items() if name != "tokens.1"}, metadata),
        "it lacks 'options, model, measured'": (
            tensors,
            metadata | {"card": json.dumps({"template": card["template"]})},
        ),
        "format 9, this version reads 1": (tensors, metadata | {"format_version": "9"}),
        r"tokens \(2, 4, \d+\) of classes \(4, 3\)": (tensors | {"tokens.0": tensors["tokens.0"][:2]}, metadata),
    }
    for message, (content, texts) in damaged.items():
        save_file(content, "damaged.safetensors", texts)
        with pytest.raises(ProgeoError, match=f"damaged.safetensors holds no prompts.*{message}"):
            run_training(make_options(stage=2, prompts="damaged.safetensors"))
    save_file(tensors, "damaged.safetensors", metadata | {"card": "[" * 100_000})
    with pytest.raises(ProgeoError, match=r"damaged.safetensors holds no prompts.*nested too deep"):
        load_prompts("damaged.safetensors")
    Path("damaged.safetensors").write_text("nothing")
    with pytest.raises(ProgeoError, match="damaged.safetensors holds no prompts"):
        run_training(make_options(stage=2, prompts="damaged.safetensors"))


def test_features_that_do_not_belong_are_refused(
    make_options: MakeOptions, tiny_city: Path, tiny_clip_weights: dict[str, Path]
) -> None:
    shared = {"cache_feature_folder": "features", "stage": 1}
    run_in("first", make_options(**shared))
    features = Path("features", FEATURES)
    with pytest.raises(ProgeoError, match="those of another backbone or other weights"):
        run_in("other_weights", make_options(**shared, backbone_weights=str(tiny_clip_weights["rn"])))
    with pytest.raises(ProgeoError, match=r"those of other photos \(32, now 16\).*Remove"):
        run_in("other_photos", make_options(**shared, groups_num=1))
    shutil.copytree(tiny_city / "train", "same_names")
    for photo in Path("same_names").iterdir():
        ImageOps.invert(Image.open(photo)).save(photo)
    with pytest.raises(ProgeoError, match=r"those of other photos \(32, now 32\)"):
        run_in("same_names_run", make_options(**shared, train_set_folder="same_names"))
    whole = features.read_bytes()
    features.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ProgeoError, match="cut short or damaged"):
        run_in("truncated", make_options(**shared))
    features.write_bytes(whole)
    note = Path("features", f"{FEATURES}.json")
    note.write_text(json.dumps({"model": "?"}))
    with pytest.raises(ProgeoError, match="is damaged"):
        run_in("note", make_options(**shared))


def test_unreadable_images_are_left_out_up_to_a_limit(make_options: MakeOptions, tiny_city: Path) -> None:
    shutil.copytree(tiny_city / "train", "damaged")
    for photo in sorted(Path("damaged").iterdir())[:2]:
        photo.write_bytes(photo.read_bytes()[:100])
    run_in("first", make_options(stage=1, train_set_folder="damaged"))
    assert np.isnan(np.load(Path("first", FEATURES))[:, 0]).sum() == 2
    strict = make_options(stage=1, train_set_folder="damaged", max_unreadable_images=1)
    for _ in range(2):  # the second time the features are there
        with pytest.raises(ProgeoError, match="2 training images cannot be read, more than `max_unreadable_images` 1"):
            run_in("strict", strict)
    for photo in sorted((tiny_city / "train").iterdir())[:2]:
        shutil.copy(photo, "damaged")
    run_training(dataclasses.replace(strict, resume_train="strict"))
    assert not np.isnan(np.load(Path("strict", FEATURES))).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"fc_output_dim": 64},
            r"`fc_output_dim` 64 does not fit.*use `fc_output_dim` 48.*1024 fits CLIP-RN50",
        ),
        (
            {"backbone": "ResNet18", "text_targets": "prompts"},
            "needs a backbone with a text tower",
        ),
        ({"stage": 2}, "`stage` 2 needs the prompts of stage 1: `prompts`"),
        ({"stage": 1, "text_targets": "none"}, "`stage` 1 learns prompts, but `text_targets` none uses none"),
        ({"stage": 1, "prompts": "x"}, "takes no `prompts`"),
        ({"prompts": "x", "text_targets": "class_mean"}, "uses no prompts"),
        ({"prompt_template": "A street."}, "has 0 places for learned tokens"),
        ({"prompt_template": "X " * 77}, "with 77 learned tokens a prompt has 79 tokens, but the text tower reads 77"),
        ({"epochs_num_stage1": 1}, "`epochs_num_stage1` 1: each of the 2 groups needs an epoch of its own"),
        ({"backbone_weights": "openai"}, "`backbone_weights` openai: there are none of OpenAI for open_clip:"),
        ({"backbone_weights": "none.pt"}, "`backbone_weights` none.pt: there is no such file"),
        ({"backbone": "vit", "image_size": 100}, "`image_size` 100 is no multiple of 16"),
        ({"soft_triplet": True, "batch_size": 6}, "`batch_size` 6 is no multiple of `images_per_class` 4"),
    ],
)
def test_options_that_do_not_go_together_are_refused_at_start(
    make_options: MakeOptions, tiny_clips: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    changes = changes | {"backbone": tiny_clips.get(changes.get("backbone", "rn"), changes.get("backbone"))}
    with pytest.raises(ProgeoError, match=message):
        run_training(make_options(**changes))
    assert not Path("logs").exists()


def test_learned_prompts_do_not_depend_on_where_a_batch_repeats_classes(
    make_options: MakeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = PromptPhase.forward
    repeats = []

    def compare(self: PromptPhase, batch: tuple[Any, Any]) -> dict[str, torch.Tensor]:
        features, labels = batch
        losses = forward(self, batch)
        turned = forward(self, (features[::-1].copy(), labels[::-1].copy()))
        torch.testing.assert_close(losses, turned)
        repeats.append(len(labels) - len(np.unique(labels)))
        return losses

    monkeypatch.setattr(PromptPhase, "forward", compare)
    run_in("run", make_options(stage=1, epochs_num_stage1=2))
    assert max(repeats) > 0


def test_prompts_are_measured_on_held_out_images(make_options: MakeOptions) -> None:
    first = run_in("first", make_options(stage=1))
    assert load_prompts(first["prompts"]).card["measured"]["held_out_images"] == 8
