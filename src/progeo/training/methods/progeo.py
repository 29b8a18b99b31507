"""ProGEO: prompts of all classes first, then the image encoder, with the texts of the prompts as a further target.

Source: Mao and Hu, "ProGEO: Generating Prompts through Image-Text Contrastive Learning for Visual Geo-localization",
ICANN 2024.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import torch

from progeo.console import logger
from progeo.errors import ProgeoError
from progeo.models.backbones.create import create_image_text_model, find_backbone
from progeo.models.encoder import Encoder
from progeo.models.fingerprint import fingerprint_model
from progeo.models.text import ImageTextModel
from progeo.training import ranks
from progeo.training.losses import compare_with_texts, widen
from progeo.training.method import Method, Phase, Run, register_method
from progeo.training.methods.cosplace import CosPlace
from progeo.training.methods.image_features import Features, create_image_encoder, extract_image_features
from progeo.training.methods.prompt_file import (
    KEPT_SETTINGS,
    PROMPTS,
    PromptFile,
    check_prompts,
    check_weights,
    load_prompts,
    save_prompts,
)
from progeo.training.methods.prompt_learning import PromptPhase, describe_measure
from progeo.training.methods.prompts import PromptTemplate
from progeo.training.methods.published_prompts import check_width, is_published, load_published_prompts
from progeo.training.methods.text_targets import (
    TEXT_TARGETS,
    Targets,
    average_classes,
    encode_prompts,
    load_targets,
    save_targets,
    shuffle,
)
from progeo.training.settings import TrainSettings
from progeo.training.trainer import create_fabric

LEARNS = {
    "prompts": "their classes and the texts of these",
    "shuffled": "their classes and, as a control, the texts of others",
    "class_mean": "their classes and the mean image features of these",
}


class TextPhase(CosPlace):
    """Stage 2: the losses of CosPlace, and the cross-entropy of descriptors against the texts of all classes."""

    def __init__(self, run: Run, targets: Targets) -> None:
        """Keep the targets."""
        super().__init__(run)
        self.targets = targets

    def start_epoch(self, epoch: int) -> list[torch.optim.Optimizer]:
        """Take the groups' targets to the device."""
        self.texts = {group: widen(self.targets[group].to(self.run.device)) for group in self.groups_of(epoch)}
        return super().start_epoch(epoch)

    def compute_losses(self, descriptors: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the losses of a batch."""
        losses = super().compute_losses(descriptors, labels)
        text = self.run.settings.text_loss_weight * compare_with_texts(descriptors, self.texts[self.group], labels)
        return {"classification": losses.pop("classification"), "text": text, **losses}

    def learns(self) -> str:
        """Say what the losses compare descriptors with."""
        return LEARNS[self.run.settings.text_targets or "prompts"]


@register_method("progeo")
class ProGEO(Method):
    """Stage 1 learns prompts, stage 2 the image encoder; what an earlier start has done is taken over.

    Attributes:
        prompts: those that are given, if any.
        model: both towers, on the device; None where the run is done with them.
    """

    epochs = 64
    uses_text = True
    phase = TextPhase
    prompts: PromptFile | None = None
    model: ImageTextModel | None = None

    def resolve(self, settings: TrainSettings) -> TrainSettings:
        """Check that the backbone has texts, and that the settings of both stages go together."""
        settings = super().resolve(settings)
        entry = find_backbone(settings.backbone or "")
        if entry.create_image_text is None:
            raise ProgeoError(
                f"`text_targets` {settings.text_targets} needs a backbone with a text tower, which {entry.name} has "
                "not: use CLIP-RN50, CLIP-RN101, CLIP-ViT-B-16, CLIP-ViT-B-32 or LiteCLIP, or `text_targets` none."
            )
        if settings.fc_output_dim != entry.text_dimension:
            raise ProgeoError(
                f"`fc_output_dim` {settings.fc_output_dim} does not fit the texts of {entry.name}, which have "
                f"{entry.text_dimension} dimensions: use `fc_output_dim` {entry.text_dimension}. (1024 fits "
                "CLIP-RN50; 512 fits CLIP-RN101, CLIP-ViT-B-16, CLIP-ViT-B-32 and LiteCLIP; with `text_targets` none "
                "any fits a ResNet and LiteCLIP.)"
            )
        PromptTemplate.parse(settings.prompt_template)
        return settings

    def prepare(self, run: Run) -> None:
        """Load the prompts that are given, and the towers, where the run is not done with them.

        Raises:
            ProgeoError: the weights cannot be had, or prompts belong to other classes, settings or weights.
        """
        settings, groups = run.settings, len(run.groups)
        learns = settings.text_targets in ("prompts", "shuffled") and not settings.prompts
        if learns and settings.stage == 2 and not (run.earlier and any(run.earlier.rglob(PROMPTS))):
            raise ProgeoError(f"`stage` 2 needs the prompts of stage 1: `prompts` {PROMPTS}, from its run folder.")
        if learns and settings.epochs_num_stage1 < groups:
            raise ProgeoError(
                f"`epochs_num_stage1` {settings.epochs_num_stage1}: each of the {groups} groups needs an epoch of its "
                f"own, so give at least {groups}, and many times that to learn something."
            )
        if run.earlier and (run.earlier / TEXT_TARGETS).is_file() and settings.stage != 1:
            return
        if settings.prompts:
            if is_published(settings.prompts):
                self.prompts = load_published_prompts(settings.prompts, settings, run.groups)
            else:
                self.prompts = load_prompts(settings.prompts)
                check_prompts(self.prompts, settings.prompts, settings, run.groups)
        model = create_image_text_model(find_backbone(settings.backbone or ""), settings.backbone_weights)
        PromptTemplate.parse(settings.prompt_template).check_length(model.text)
        if self.prompts:
            check = check_width if is_published(settings.prompts) else check_weights
            check(self.prompts, str(settings.prompts), model)
        self.model = model.to(run.device)

    def phases(self, run: Run) -> Iterator[Phase]:
        """Yield stage 1 as far as it is not done, and stage 2 unless stage 1 alone is asked for."""
        if run.settings.stage == 1:
            prompts = yield from self.learn_prompts(run)
            self.results = {"prompts": str(run.folder / PROMPTS), "measured": prompts.card["measured"]}
            return
        targets = load_targets(run) if self.model is None else (yield from self.make_targets(run))
        self.model = self.prompts = None  # their memory is for the image encoder
        yield self.phase(run, targets)

    def make_targets(self, run: Run) -> Generator[Phase, None, Targets]:
        """Yield stage 1 where it is needed; return the targets of all groups, which are kept in a file."""
        assert self.model is not None
        settings = run.settings
        if settings.text_targets == "class_mean":
            targets = average_classes(self.extract_features(run), run.groups)
        else:
            prompts = self.prompts or self.load_own_prompts(run)
            prompts = prompts or (yield from self.learn_prompts(run))
            targets = encode_prompts(prompts, self.model)
            if settings.text_targets == "shuffled":
                targets = [shuffle(target, settings.seed, number) for number, target in enumerate(targets)]
        return save_targets(targets, run)

    def learn_prompts(self, run: Run) -> Generator[Phase, None, PromptFile]:
        """Yield stage 1; write and return the prompts."""
        assert self.model is not None
        settings = run.settings
        # Half precision on GPUs always, as published; on the CPU it is slower for prompts of a dozen tokens.
        fabric = create_fabric(run.device, settings.use_amp16 or run.device.type == "cuda", settings.precision)
        phase = PromptPhase(dataclasses.replace(run, fabric=fabric), self.model, self.extract_features(run))
        yield phase
        measured = ranks.ask_first(phase.measure)
        logger.info(describe_measure(measured))
        card = {
            "options": {name: getattr(settings, name) for name in KEPT_SETTINGS},
            "template": settings.prompt_template,
            "model": fingerprint_model(self.model),
            "training": {"epochs": phase.epochs, "lr": settings.lr_stage1, "seed": settings.seed},
            "loss": phase.history[-1]["loss"],
            "measured": measured,
        }
        tokens = [tokens.detach() for tokens in phase.prompts.parameters()]
        if run.fabric.is_global_zero:
            save_prompts(run.folder / PROMPTS, tokens, run.groups, card)
        logger.info(f"The prompts are {run.folder / PROMPTS}")
        return PromptFile(tokens, [group.classes for group in run.groups], card)

    def load_own_prompts(self, run: Run) -> PromptFile | None:
        """Return the prompts that this run has learned, if it has."""
        path = run.folder / PROMPTS
        if not path.is_file():
            return None
        assert self.model is not None
        prompts = load_prompts(path)
        check_prompts(prompts, path, run.settings, run.groups)
        check_weights(prompts, path, self.model)
        return prompts

    def extract_features(self, run: Run) -> Features:
        """Return the image features of all groups' images, group after group."""
        settings = run.settings
        images = np.concatenate([group.images for group in run.groups])
        return extract_image_features(
            Path(settings.cache_feature_folder) if settings.cache_feature_folder else run.folder,
            run.table["path"].gather(images).to_list(),
            *self.image_encoder(run),
            max_unreadable_images=settings.max_unreadable_images,
        )

    def image_encoder(self, run: Run) -> tuple[Encoder, str]:
        """Return what gives the image features that prompts are learned from, and its fingerprint."""
        assert self.model is not None
        encoder = create_image_encoder(self.model, run.device, run.settings.num_workers)
        return encoder, fingerprint_model(self.model)
