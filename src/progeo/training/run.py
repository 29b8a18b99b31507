"""A training run: groups, prompts where the method has them, the image encoder, and the test of the best model."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from progeo.cli.options import save_options
from progeo.cli.train import TrainOptions
from progeo.console import format_count, log_to, logger
from progeo.data.table import read_photos
from progeo.devices import choose_device, derive_seed
from progeo.errors import ProgeoError
from progeo.evaluation.evaluation_set import EvaluationSet, read_evaluation_set
from progeo.evaluation.results import save_results
from progeo.files import CONFIG, REPORT, RESULTS, create_run_folder, write_json
from progeo.models.backbones.create import find_backbone
from progeo.models.network import PlaceNetwork, create_network
from progeo.models.published import load_model
from progeo.training.checkpoint import TrainingState, find_run, load_checkpoint
from progeo.training.continuing import check_kept_options, say_how_to_continue
from progeo.training.encoder import EncoderTraining, create_state
from progeo.training.fabric import create_fabric
from progeo.training.groups import Group, make_groups
from progeo.training.interrupt import interrupt_on_termination
from progeo.training.methods.prompt_file import PROMPTS, PromptFile, check_prompts, load_prompts
from progeo.training.resolve import check_epochs, resolve_options, uses_text, warn_of_random_weights
from progeo.training.stage1 import TEXT_TARGETS, create_model, learn_prompts, prepare_text_targets
from progeo.training.stage2 import BEST_MODEL, evaluate_network, train_encoder


@dataclass(frozen=True)
class Inputs:
    """What a run reads before anything is written, so that a command that cannot start leaves nothing behind."""

    device: torch.device
    table: pl.DataFrame
    groups: list[Group]
    validation_set: EvaluationSet
    test_set: EvaluationSet
    prompts: PromptFile | None


def run_training(options: TrainOptions, folder: Path | None = None) -> dict[str, Any]:
    """Run ``progeo train`` and return the results of the test; everything else is in the run folder.

    That is a new folder below ``logs``, the folder that ``resume_train`` names, or ``folder``, which exists.
    """
    options = resolve_options(options)
    if options.resume_train:
        resumed, _ = find_run(options.resume_train)
        check_kept_options(options, resumed)
        folder = folder or resumed
    inputs = read_inputs(options)
    with interrupt_on_termination():
        if options.seeds:
            return _run_seeds(options, options.seeds, inputs, folder or create_run_folder(options.save_dir))
        return _run_once(options, inputs, folder)


def read_inputs(options: TrainOptions) -> Inputs:
    """Read the three sets and make the groups."""
    device = choose_device(options.device)
    if options.augmentation_device:
        choose_device(options.augmentation_device)
    reading: dict[str, Any] = {"cache_folder": options.cache_folder, "columns": options.columns}
    assert options.val_set_folder is not None and options.test_set_folder is not None
    table = read_photos(options.train_set_folder, **reading, split="train", heading_from=options.heading_from)
    if options.train_set_folder in (options.val_set_folder, options.test_set_folder) and "split" not in table.columns:
        raise ProgeoError(
            f"{options.train_set_folder} has no column split that tells training from validation and test photos. "
            "progeo data split makes one."
        )
    groups = make_groups(
        table,
        M=options.M,
        alpha=options.alpha,
        N=options.N,
        L=options.L,
        min_images_per_class=options.min_images_per_class,
        groups_num=options.groups_num,
    )
    check_epochs(options, len(groups))
    return Inputs(
        device=device,
        table=table,
        groups=groups,
        validation_set=read_evaluation_set(options.val_set_folder, **reading, split="val"),
        test_set=read_evaluation_set(options.test_set_folder, **reading, queries_folder=options.queries_folder),
        prompts=_load_prompts(options, groups),
    )


def _load_prompts(options: TrainOptions, groups: list[Group]) -> PromptFile | None:
    """Return the prompts that the options name; None where there are none, or a resumed run is done with them."""
    if not options.prompts or (options.resume_train and (find_run(options.resume_train)[0] / TEXT_TARGETS).is_file()):
        return None
    prompts = load_prompts(options.prompts)
    check_prompts(prompts, options.prompts, options, groups)
    return prompts


def _run_seeds(options: TrainOptions, seeds: list[int], inputs: Inputs, folder: Path) -> dict[str, Any]:
    """Train once per seed, skipping and resuming what an earlier start has done, and report mean and spread."""
    save_options(dataclasses.replace(options, resume_train=None), folder / CONFIG)
    # What all seeds see alike is extracted once.
    features = options.cache_feature_folder or str(folder)
    results = []
    for seed in seeds:
        seed_folder = folder / f"seed_{seed}"
        seed_folder.mkdir(exist_ok=True)
        if (seed_folder / RESULTS).is_file() and (options.stage == 1 or (seed_folder / REPORT).is_file()):
            results.append(json.loads((seed_folder / RESULTS).read_text(encoding="utf-8")))
            continue
        started = (seed_folder / CONFIG).is_file()
        seed_options = dataclasses.replace(
            options,
            seeds=None,
            seed=seed,
            resume_train=str(seed_folder) if started else None,
            cache_feature_folder=features,
        )
        try:
            results.append(_run_once(seed_options, inputs, seed_folder))
        except KeyboardInterrupt:
            logger.info(f"Or continue with all seeds: progeo train `resume_train` {folder}")
            raise
    if options.stage == 1:
        log_to(folder)
        logger.info(
            f"Prompts of {len(seeds)} seeds are learned. Go on with: progeo train `resume_train` {folder} `stage` 2"
        )
        return {"seeds": seeds, "prompts": [result["prompts"] for result in results]}
    recalls = {rank: [result["recalls"][rank] for result in results] for rank in results[0]["recalls"]}
    means = {rank: statistics.mean(values) for rank, values in recalls.items()}
    deviations = {rank: statistics.stdev(values) if len(values) > 1 else 0.0 for rank, values in recalls.items()}
    summary = {"seeds": seeds, "recalls": recalls, "recalls_mean": means, "recalls_standard_deviation": deviations}
    write_json(folder / RESULTS, summary)
    log_to(folder)
    figures = ", ".join(f"{rank}: {means[rank]:.1f} ± {deviations[rank]:.1f}" for rank in recalls)
    logger.info(f"Test, mean ± standard deviation over {len(seeds)} seeds: {figures}")
    return summary


def _run_once(options: TrainOptions, inputs: Inputs, folder: Path | None) -> dict[str, Any]:
    """Train with one seed, from where ``resume_train`` has come to, then test the best model."""
    checkpoint = find_run(options.resume_train)[1] if options.resume_train else None
    fabric = create_fabric(inputs.device, options.use_amp16)
    network = create_run_network(options, resumed=checkpoint is not None)
    state = create_state(network, inputs.groups, options, fabric)
    if checkpoint:
        load_checkpoint(state, checkpoint, options, inputs.groups)
    model = create_model(options, inputs.prompts, folder, inputs.device) if uses_text(options) else None
    folder = folder or create_run_folder(options.save_dir)
    log_to(folder)
    save_options(dataclasses.replace(options, resume_train=None), folder / CONFIG)
    _describe_inputs(options, folder, inputs)
    if warning := warn_of_random_weights(options):
        logger.warning(warning)

    with say_how_to_continue(folder):
        if options.stage == 1:
            assert model is not None
            prompts = learn_prompts(options, inputs.table, inputs.groups, folder, inputs.device, model)
            results = {"prompts": str(folder / PROMPTS), "measured": prompts.card["measured"]}
            write_json(folder / RESULTS, results)
            logger.info(f"Go on with: progeo train `resume_train` {folder} `stage` 2")
            return results
        text_targets = None
        if uses_text(options):
            text_targets = prepare_text_targets(
                options, inputs.table, inputs.groups, folder, inputs.device, model, inputs.prompts
            )
        del model  # its memory is for the image encoder
        training = EncoderTraining(state, inputs.table, inputs.groups, options, fabric, text_targets)
        train_encoder(training, inputs.validation_set, folder)
    with say_how_to_continue(folder, left="The training is done, only the test is left."):
        return _test(state, inputs, options, folder)


def _test(state: TrainingState, inputs: Inputs, options: TrainOptions, folder: Path) -> dict[str, Any]:
    """Test the best model and write its results."""
    assert options.test_set_folder is not None
    best = load_model(folder / BEST_MODEL).to(inputs.device)
    evaluation = evaluate_network(best, inputs.test_set, options, inputs.device, "Testing")
    settings = {
        "model": str(folder / BEST_MODEL),
        "backbone": options.backbone,
        "fc_output_dim": options.fc_output_dim,
        "test_set_folder": options.test_set_folder,
        "image_size": "native" if options.resize_test_imgs is False else options.image_size,
        "seed": options.seed,
        "best_validation_R@1": state.best_recall,
    }
    title = f"{options.backbone} on {Path(options.test_set_folder).resolve().name}"
    results = save_results(
        evaluation,
        inputs.test_set,
        folder,
        title=title,
        settings=settings,
        spec=best.spec.to_dict(),
        num_preds_to_save=options.num_preds_to_save,
        save_only_wrong_preds=options.save_only_wrong_preds,
    )
    logger.info(f"Test: {evaluation.describe()}")
    logger.info(f"The model is {folder / BEST_MODEL}, the report {folder / REPORT}")
    return results


def create_run_network(options: TrainOptions, resumed: bool) -> PlaceNetwork:
    """Return the network to train: new on its pretrained backbone, or a trained one to start from."""
    # Seeded, so that the new layers are the same in every run of this seed, resumed ones too.
    torch.manual_seed(derive_seed(options.seed))
    option = find_backbone(options.backbone).freeze_option
    network = create_network(
        options.backbone,
        options.fc_output_dim,
        # What a checkpoint replaces at once need not be fetched.
        weights="none" if options.resume_model or resumed else options.backbone_weights,
        train_all_layers=options.train_all_layers,
        frozen_stages=getattr(options, option) if option else None,
    )
    network.set_image_size(options.image_size)
    if options.resume_model and not resumed:
        trained = load_model(options.resume_model, backbone=options.backbone, fc_output_dim=options.fc_output_dim)
        trained.set_image_size(options.image_size)
        network.load_state_dict(trained.state_dict())
    return network


def _describe_inputs(options: TrainOptions, folder: Path, inputs: Inputs) -> None:
    """Say what was read, before the first long step."""
    classes = [len(group) for group in inputs.groups]
    logger.info(f"Run folder: {folder}")
    logger.info(
        f"{len(inputs.table):,} training images; {format_count(len(classes), 'group')} of {min(classes):,} to "
        f"{max(classes):,} classes, {sum(len(group.images) for group in inputs.groups):,} images in them"
    )
    for name, evaluation_set in (("Validation", inputs.validation_set), ("Test", inputs.test_set)):
        logger.info(f"{name}: {len(evaluation_set.database)} database images, {len(evaluation_set.queries)} queries")
