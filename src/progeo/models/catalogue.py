"""Models that others have trained for places and published, as specs: what they are, and where their weights are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from progeo.models.spec import ModelSpec
from progeo.pixels.recipe import Preprocessing

COSPLACE_RELEASE = "https://github.com/gmberton/CosPlace/releases/download/v1.0"

COSPLACE: dict[str, tuple[int, ...]] = {
    "ResNet18": (32, 64, 128, 256, 512),
    "ResNet50": (32, 64, 128, 256, 512, 1024, 2048),
    "ResNet101": (32, 64, 128, 256, 512, 1024, 2048),
    "ResNet152": (32, 64, 128, 256, 512, 1024, 2048),
    "VGG16": (64, 128, 256, 512),
}
"""The dimensions that CosPlace published, per backbone."""

EIGENPLACES: dict[str, tuple[int, ...]] = {
    "ResNet18": (256, 512),
    "ResNet50": (128, 256, 512, 1024, 2048),
    "ResNet101": (128, 256, 512, 1024, 2048),
    "VGG16": (512,),
}
"""Those that the ``hubconf.py`` of EigenPlaces offers; its README leaves out 1024."""

MIXVPR: dict[int, int] = {4096: 4, 512: 2, 128: 2}
"""Rows of the head, per dimension that MixVPR published."""

SF_XL = "San Francisco eXtra Large"
GSV_CITIES = "GSV-Cities"

AGGREGATOR = {"aggregator.": "aggregation."}
PRETRAINING = "mask_token"
"""What files of DINOv2 hold beside the network: a parameter of its pretraining."""


@dataclass(frozen=True)
class PublishedModel:
    """A model that its authors trained.

    Attributes:
        name: what ``load_model`` takes.
        spec: what it is; ``provenance`` says method and data set of its training.
        address: where its weights are: of the file, or of a page with a link to it where it is ``by_hand``.
        file: name of the file, also in the cache.
        prefixes: how names of the file's tensors begin, and how those of ours do; the first that fits counts.
        ignored: tensors of the file that are no part of the network.
        by_hand: whether the user must fetch the file, because its place cannot be fetched from by a program.
    """

    name: str
    spec: ModelSpec
    address: str
    file: str
    prefixes: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    by_hand: bool = False

    @property
    def trained_on(self) -> str:
        """The data set of its training."""
        return str(self.spec.provenance["training"]["dataset"])

    def rename(self, name: str) -> str:
        """Return what the network calls a tensor of the file."""
        for published, ours in self.prefixes.items():
            if name.startswith(published):
                return ours + name.removeprefix(published)
        return name


@cache
def list_published() -> dict[str, PublishedModel]:
    """Return all published models, by name."""
    models = [
        *(make_cosplace(backbone, size) for backbone, sizes in COSPLACE.items() for size in sizes),
        *(_make_eigenplaces(backbone, size) for backbone, sizes in EIGENPLACES.items() for size in sizes),
        *(_make_mixvpr(dimension, rows) for dimension, rows in MIXVPR.items()),
        _SALAD,
        _BOQ_RESNET50,
        _BOQ_DINOV2,
        _MEGALOC,
    ]
    return {model.name: model for model in models}


def make_cosplace(backbone: str, dimension: int, release: str = COSPLACE_RELEASE) -> PublishedModel:
    """Return a model of CosPlace; ``release`` is the address of the folder that holds the files, for mirrors."""
    file = f"{backbone}_{dimension}_cosplace.pth"
    return _make(
        f"cosplace:{backbone}:{dimension}",
        f"{release.rstrip('/')}/{file}",
        ModelSpec(backbone, "gem", Preprocessing(), dimension, licence="MIT"),
        "CosPlace (CVPR 2022, arXiv 2204.02287)",
        SF_XL,
    )


def _make_eigenplaces(backbone: str, dimension: int) -> PublishedModel:
    return _make(
        f"eigenplaces:{backbone}:{dimension}",
        f"https://github.com/gmberton/EigenPlaces/releases/download/v1.0/{backbone}_{dimension}_eigenplaces.pth",
        ModelSpec(backbone, "gem", Preprocessing(), dimension, licence="MIT"),
        "EigenPlaces (ICCV 2023, arXiv 2308.10832)",
        SF_XL,
    )


def _make_mixvpr(dimension: int, rows: int) -> PublishedModel:
    model = "backbone.model."
    layers = {f"{model}layer{layer}.": f"backbone.{layer + 3}." for layer in (1, 2, 3)}
    return _make(
        f"mixvpr:{dimension}",
        "https://github.com/amaralibey/MixVPR",
        ModelSpec(
            "ResNet50",
            "mixvpr",
            _square(320, "bicubic"),
            dimension,
            backbone_arguments={"layers": 3},
            head_arguments={"rows": rows, "grid": [20, 20]},
            licence="none stated",
        ),
        "MixVPR (WACV 2023, arXiv 2303.02190)",
        GSV_CITIES,
        file=f"resnet50_MixVPR_{dimension}_channels({dimension // rows})_rows({rows}).ckpt",
        prefixes={f"{model}conv1.": "backbone.0.", f"{model}bn1.": "backbone.1.", **layers, **AGGREGATOR},
        by_hand=True,
    )


def _square(image_size: int, interpolation: str = "bilinear") -> Preprocessing:
    return Preprocessing(image_size, interpolation=interpolation, square=True)


def _make(
    name: str,
    address: str,
    spec: ModelSpec,
    method: str,
    dataset: str,
    *,
    file: str = "",
    prefixes: Mapping[str, str] | None = None,
    ignored: tuple[str, ...] = (),
    by_hand: bool = False,
) -> PublishedModel:
    spec.provenance.update(training={"method": method, "dataset": dataset}, source=address)
    file = file or address.rpartition("/")[2]
    return PublishedModel(name, spec, address, file, prefixes or {}, ignored, by_hand)


_SALAD = _make(
    "salad",
    "https://github.com/serizba/salad/releases/download/v1.0.0/dino_salad.ckpt",
    ModelSpec("DINOv2-B", "salad", _square(322), 8448, licence="GPL-3.0"),
    "SALAD (CVPR 2024, arXiv 2311.15937)",
    GSV_CITIES,
    prefixes={"backbone.model.": "backbone.network.", **AGGREGATOR},
    ignored=(f"backbone.model.{PRETRAINING}",),
)

_BOQ_RESNET50 = _make(
    "boq-resnet50",
    "https://github.com/amaralibey/Bag-of-Queries/releases/download/v1.0/resnet50_16384.pth",
    ModelSpec("ResNet50", "boq", _square(384, "bicubic"), 16384, backbone_arguments={"layers": 3}, licence="MIT"),
    "BoQ (CVPR 2024, arXiv 2405.07364)",
    GSV_CITIES,
    prefixes={"backbone.net.": "backbone.", **AGGREGATOR},
)

_BOQ_DINOV2 = _make(
    "boq-dinov2",
    "https://github.com/amaralibey/Bag-of-Queries/releases/download/v1.0/dinov2_12288.pth",
    ModelSpec(
        "DINOv2-B",
        "boq",
        _square(322, "bicubic"),
        12288,
        backbone_arguments={"norm": False},
        head_arguments={"channels": 384},
        licence="MIT",
    ),
    "BoQ (CVPR 2024, arXiv 2405.07364)",
    GSV_CITIES,
    prefixes={"backbone.dino.": "backbone.network.", **AGGREGATOR},
    ignored=(f"backbone.dino.{PRETRAINING}", "backbone.dino.norm.weight", "backbone.dino.norm.bias"),
)

_MEGALOC = _make(
    "megaloc",
    "https://huggingface.co/gberton/MegaLoc/resolve/main/model.safetensors",
    ModelSpec("DINOv2-B", "salad", _square(322), 8448, head_arguments={"cluster_dim": 256}, licence="MIT"),
    "MegaLoc (CVPR 2025 workshop, arXiv 2502.17237)",
    "SF-XL, GSV-Cities, MSLS, MegaScenes, ScanNet",
    file="megaloc.safetensors",
    prefixes={
        "backbone.": "backbone.network.",
        "aggregator.agg.": "aggregation.",
        "aggregator.linear.": "aggregation.projection.",
    },
)
