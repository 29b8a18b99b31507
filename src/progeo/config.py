"""The options of every command, as documented dataclass fields: one list serves flags, config files and ``--help``.

The names and defaults of CosPlace's options are the published ones.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentParser, Namespace
from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    restricted_number_type,
)

from progeo.errors import ProgeoError
from progeo.files import atomic_write

REQUIRED: Any = dataclasses.MISSING
Repeated = list[str] | str | None
"""An option that may be given several times, each time with one text; ``list_repeated`` gives them all."""
PortNumber: Any = restricted_number_type("PortNumber", int, [(">=", 0), ("<=", 65535)])
HalfTurn: Any = restricted_number_type("HalfTurn", float, [(">=", 0), ("<=", 0.5)])
Options = TypeVar("Options")


def option(
    default: Any, help: str, *, choices: tuple[str, ...] = (), names: tuple[str, ...] = (), positional: bool = False
) -> Any:
    """Return a dataclass field that is a command line option.

    Args:
        default: value where the option is not given; REQUIRED where it must be, None where it depends.
        help: what it does, with units.
        choices: the only values allowed.
        names: further spellings, such as ``--exp_name``.
        positional: given by its place instead of its name.
    """
    metadata = {"help": help, "choices": choices, "names": names, "positional": positional}
    if default is REQUIRED:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(kw_only=True)
class GroupOptions:
    """CosPlace classes and groups"""

    M: PositiveInt = option(10, "side of a class's cell in metres")
    alpha: PositiveInt = option(
        30, "angle of a class in degrees; 360 makes classes by position alone, without headings"
    )
    N: PositiveInt = option(5, "cells between neighbouring classes of one group")
    L: PositiveInt = option(2, "steps of alpha between neighbouring classes of one group")
    groups_num: PositiveInt = option(8, "groups to train on; epoch e uses group e modulo this")
    min_images_per_class: PositiveInt = option(10, "classes with fewer images are left out")


@dataclass(kw_only=True)
class ModelOptions:
    """Model"""

    backbone: str = option(
        "ResNet18",
        "ResNet18, ResNet50, ResNet101, ResNet152, VGG16, EfficientNet_B0 to EfficientNet_B7, EfficientNet-Lite0, "
        "timm:NAME for any feature extractor of timm; with a text tower, and so with ProGEO: CLIP-RN50, CLIP-RN101, "
        "CLIP-ViT-B-16, CLIP-ViT-B-32, LiteCLIP (offline), open_clip:NAME:PRETRAINED",
    )
    fc_output_dim: PositiveInt | None = option(
        None, "dimension of the descriptors; without it 512, or that of the backbone's text tower"
    )
    backbone_weights: str = option(
        "default",
        "where the backbone starts: 'default' or 'openai' (the backbone's own weights, from the network where they are "
        "not cached), 'none' (random), or the path of its weights (.pt, .pth or .safetensors)",
    )


@dataclass(kw_only=True)
class PromptOptions:
    """ProGEO: prompts (stage 1), then the image encoder (stage 2); for backbones with a text tower"""

    stage: Literal[1, 2] | None = option(
        None, "do only this stage; without it both, one after the other. --stage 2 needs --prompts"
    )
    prompts: str | None = option(
        None, "learned prompts (a run's prompts.safetensors), so that stage 1 is left out", names=("--prompt_learners",)
    )
    text_targets: str | None = option(
        None,
        "what descriptors are drawn to in stage 2: the texts of the learned 'prompts'; these 'shuffled' among the "
        "classes, or the mean image feature of the class ('class_mean'), as controls; or nothing ('none'), which is "
        "CosPlace. Without it prompts, where the backbone has a text tower",
        choices=("prompts", "shuffled", "class_mean", "none"),
    )
    prompt_template: str = option("A photo of a X X X X street.", "the prompt; each X is a learned token")
    batch_size_stage1: PositiveInt = option(512, "image features per step of stage 1")
    epochs_num_stage1: PositiveInt = option(480, "epochs of stage 1, going round the groups")
    lr_stage1: NonNegativeFloat = option(0.01, "learning rate of the prompts (Adam), annealed to 0 as a cosine")
    held_out_images: NonNegativeInt = option(
        1000,
        "images that stage 1 leaves out and measures the prompts with, at most one of a class that has four or more",
    )
    cache_feature_folder: str | None = option(
        None, "where the image features of stage 1 are kept; without it the run folder"
    )
    text_loss_weight: NonNegativeFloat = option(1.0, "weight of the text loss beside the classification loss")
    soft_triplet: bool = option(
        False, "add the soft-margin triplet loss; batches then hold --images_per_class 4 images of a class"
    )
    freeze_cnn: NonNegativeInt = option(2, "layers of a CLIP ResNet that stay frozen, beside the first convolutions")
    freeze_trans: NonNegativeInt = option(6, "blocks of a CLIP transformer that stay frozen")


@dataclass(kw_only=True)
class InferenceOptions:
    """Validation and test"""

    infer_batch_size: PositiveInt = option(16, "images per batch when describing; photos of one size share a batch")
    positive_dist_threshold: PositiveFloat = option(25, "metres within which a prediction counts as right")
    resize_test_imgs: bool | None = option(
        None,
        "resize test photos so that the shorter side is image_size (aspect ratio kept). Without it photos keep their "
        "size, or a model file says how it was validated",
    )
    num_preds_to_save: NonNegativeInt = option(
        0, "predictions to show per query in pictures under preds/; try a small number like 3"
    )
    save_only_wrong_preds: bool = option(False, "picture only queries whose first prediction is wrong")
    queries_folder: str | None = option(
        None, "folder of the queries inside the test set; without it queries, else queries_v1, else queries_v2"
    )


@dataclass(kw_only=True)
class PhotoOptions:
    """Photos"""

    columns: str | None = option(
        None, "columns of a manifest that are not recognised by their names, for example latitude=Y,longitude=X"
    )


@dataclass(kw_only=True)
class HeadingOptions(PhotoOptions):
    """Headings"""

    heading_from: str | None = option(
        None, "where missing headings come from: track takes the course from photo to photo", choices=("track",)
    )


@dataclass(kw_only=True)
class MachineOptions:
    """Machine and folders"""

    device: str = option(
        "auto", "where to compute; auto takes a GPU where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    num_workers: PositiveInt | None = option(None, "threads that read images; without it one per core, at most 8")
    seed: NonNegativeInt = option(0, "everything random follows from it")
    save_dir: str = option(
        "default", "results go to logs/<save_dir>/<time>; --exp_name is a synonym", names=("--exp_name",)
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


@dataclass(kw_only=True)
class TrainOptions(GroupOptions, ModelOptions, PromptOptions, InferenceOptions, HeadingOptions, MachineOptions):
    """Training"""

    train_set_folder: str = option(
        REQUIRED,
        "training images: a folder (positions in SF-XL file names or EXIF) or a manifest. One manifest with columns "
        "split and role, such as progeo data split writes, is enough for all three sets",
    )
    val_set_folder: str | None = option(
        None,
        "validation set: a folder with database and queries, or a manifest with a column role; without it the split "
        "val of the manifest",
    )
    test_set_folder: str | None = option(
        None,
        "test set: a folder with database and queries (or queries_v1, queries_v2), or a manifest as above; without it "
        "the split test of the manifest",
    )
    train_all_layers: bool = option(False, "train the whole backbone instead of its last layers")
    use_amp16: bool = option(False, "mixed precision: float16 on GPUs, bfloat16 on the CPU")
    compile: bool = option(
        False,
        "compile the image encoder with torch.compile: the first step takes a minute or more, the others less time",
    )
    batch_size: PositiveInt = option(32, "training images per step")
    images_per_class: PositiveInt | None = option(
        None,
        "images of each class in a batch; batch_size must be a multiple. Without it 1, and 4 with --soft_triplet, "
        "which needs others of the same class (the published code draws 1 there too: --images_per_class 1)",
    )
    epochs_num: PositiveInt | None = option(None, "epochs; without it 50, and 64 for backbones with a text tower")
    iterations_per_epoch: PositiveInt = option(10000, "steps per epoch")
    lr: NonNegativeFloat = option(0.00001, "learning rate of the model (Adam)")
    classifiers_lr: NonNegativeFloat = option(0.01, "learning rate of the classifiers (Adam)")
    patience: PositiveInt | None = option(
        None, "stop after this many epochs without a better R@1 on the validation set; without it train all epochs"
    )
    image_size: PositiveInt = option(512, "width and height of the training crops in pixels")
    brightness: NonNegativeFloat = option(0.7, "colour jitter: factors from 1 - value to 1 + value")
    contrast: NonNegativeFloat = option(0.7, "colour jitter, as brightness")
    saturation: NonNegativeFloat = option(0.7, "colour jitter, as brightness")
    hue: HalfTurn = option(0.5, "colour jitter: shift of up to this many turns of the colour wheel, at most 0.5")
    random_resized_crop: ClosedUnitInterval = option(0.5, "crops cover at least 1 - value of the photo's area")
    augmentation_device: str | None = option(
        None, "where to augment; without it the device of the model", choices=("cpu", "cuda")
    )
    max_unreadable_images: NonNegativeInt = option(
        100, "training images that cannot be read are skipped and named; more than this many stop the training"
    )
    seeds: list[NonNegativeInt] | None = option(
        None, "train once per seed, for example --seeds 0 1 2, and report mean and standard deviation"
    )
    resume_train: str | None = option(
        None,
        "continue a run: its folder or its last_checkpoint.pth. Its options are taken over; the result is the same as "
        "without the interruption",
    )
    resume_model: str | None = option(None, "start from this trained model (a file, or cosplace:ResNet18:512)")


@dataclass(kw_only=True)
class ShowPromptsOptions:
    """Prompts"""

    file: str = option(REQUIRED, "learned prompts, such as a run's prompts.safetensors", positional=True)
    words: PositiveInt = option(3, "words of the vocabulary to show for each learned token, nearest first")
    classes: PositiveInt = option(20, "classes to show")
    backbone_weights: str = option("default", "weights of the backbone that the prompts were learned with")


@dataclass(kw_only=True)
class EvalOptions(InferenceOptions, PhotoOptions, MachineOptions):
    """Evaluation"""

    test_set_folder: str = option(
        REQUIRED,
        "test set: a folder with database and queries (or queries_v1, queries_v2), or a manifest with a column role",
    )
    protocol: str | None = option(
        None,
        "evaluate by the rules of one of the field's test sets, such as pitts30k-test, tokyo247, msls-val or nordland: "
        "which queries, what is right, how many there must be",
    )
    resume_model: Repeated = option(
        None,
        "the trained model: a file, or a published one such as cosplace:ResNet50:2048 or megaloc; --model is a "
        "synonym. Give it again for further models, which are compared. A file of progeo needs no other option, a "
        "published .pth needs --backbone and --fc_output_dim. Without it the backbone is evaluated untrained",
        names=("--model",),
    )
    trust_remote_code: bool = option(False, "let models of torch.hub run their own code on this machine")
    backbone: str | None = option(
        None, "backbone of a published .pth file, or the one to evaluate untrained (ResNet18 if nothing is given)"
    )
    fc_output_dim: PositiveInt | None = option(
        None,
        "descriptor dimension of a published .pth file, or of the untrained model (without it 512, or that of the "
        "backbone's text tower)",
    )
    backbone_weights: str = option("default", "weights of an untrained backbone, as for training")
    image_size: PositiveInt | None = option(None, "shorter side for --resize_test_imgs; without it the model's own")
    radii: list[PositiveFloat] | None = option(
        None, "further metres within which to count predictions as right, for example --radii 5 10 50"
    )
    group_by: str | None = option(
        None,
        "give recalls by the values of a column of the queries, or by what their timestamps say: day_night, season, "
        "hour, month or year",
    )
    descriptors_folder: str | None = option(
        None,
        "keep descriptors here in half precision, chunk by chunk: for databases larger than memory. The same command "
        "goes on where it was stopped, and takes what is there",
    )
    json: bool = option(False, "print the result as one JSON object, and nothing else, on stdout")
    report: bool = option(True, "write report.html: recall curve, errors, map, worst mistakes")


@dataclass(kw_only=True)
class PlaceOptions:
    """Place database"""

    database: str = option(REQUIRED, "place database: a folder, or an address in an object store such as s3://…")
    infer_batch_size: PositiveInt = option(16, "images per batch when describing; photos of one size share a batch")
    device: str = option(
        "auto", "where to compute; auto takes a GPU where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    num_workers: PositiveInt | None = option(None, "threads that read images; without it one per core, at most 8")


@dataclass(kw_only=True)
class IndexOptions(HeadingOptions, PlaceOptions):
    """Indexing"""

    photos: list[str] = option(
        REQUIRED,
        "folders of photos with positions, or manifests; may be left out with --prune or --rebuild",
        positional=True,
    )
    model: str | None = option(
        None,
        "the trained model: a file, or a published one such as cosplace:ResNet50:2048. The database keeps a copy, so "
        "that only the first run needs it",
    )
    image_size: PositiveInt | None = option(
        None, "shorter side in pixels that photos are brought to; without it the model's own"
    )
    prune: bool = option(False, "remove photos from the database whose file is gone")
    rebuild: bool = option(
        False, "describe all photos anew, with --model if given; the database stays as it was until that is done"
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


@dataclass(kw_only=True)
class EstimateOptions(PlaceOptions):
    """Estimates"""

    min_confidence: ClosedUnitInterval = option(
        0.5, "probability of being right within 25 m below which a photo counts as of an unknown place"
    )


@dataclass(kw_only=True)
class LocateOptions(EstimateOptions):
    """Locating"""

    photos: list[str] = option(REQUIRED, "photos, or folders of them", positional=True)
    near: str | None = option(None, "LAT,LON: look only around this place, in degrees; needs --within")
    within: PositiveFloat | None = option(None, "metres around --near")
    heading: float | None = option(
        None, "degrees clockwise from north in which the camera looked; matches may differ by 45 degrees"
    )
    after: str | None = option(None, "compare only with photos taken on this day or later, as 2024-05-31")
    before: str | None = option(None, "compare only with photos taken on this day or earlier, as 2024-05-31")
    exact: bool = option(False, "compare with every photo, even where there is an approximate index")
    num_matches: PositiveInt = option(3, "matches to give for each photo")
    sequence: bool = option(
        False, "the photos were taken one after the other along a path, in the order given; folders are sorted by name"
    )
    max_speed: PositiveFloat = option(
        15,
        "for --sequence: metres per second at most, and 50 metres more at each step; photos that do not say their time "
        "count as one second apart",
    )
    json: bool = option(False, "print the result as JSON, and nothing else, on stdout")
    geojson: bool = option(False, "the same as GeoJSON, which maps and geographic information systems read")
    csv: bool = option(False, "the same as CSV, one line per photo")
    map: str | None = option(None, "write a map of the result: one HTML file that opens anywhere, offline")


@dataclass(kw_only=True)
class CalibrateOptions(HeadingOptions, PlaceOptions):
    """Calibration"""

    queries: str = option(
        REQUIRED,
        "photos with positions that are not in the database, a folder or a manifest; some may be of places outside it",
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


@dataclass(kw_only=True)
class ToyCityOptions:
    """Toy city"""

    out: str = option(REQUIRED, "folder to write train, val and test to", positional=True)
    seed: NonNegativeInt = option(0, "another seed, another town")


@dataclass(kw_only=True)
class ConvertOptions(HeadingOptions):
    """Converting"""

    source: str = option(REQUIRED, "a folder of photos, or a manifest", positional=True)
    out: str = option(
        REQUIRED,
        "where to: a manifest (.csv, .parquet or .geojson), or a new folder for photos under SF-XL file names",
        positional=True,
    )
    copy: bool = option(False, "copy the photos to the folder instead of linking to them")
    utm_zone: str | None = option(
        None,
        "zone and latitude band, such as 44Q, of UTM coordinates that come without: they get latitude and longitude",
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


@dataclass(kw_only=True)
class CheckOptions(HeadingOptions):
    """Checking"""

    source: str = option(REQUIRED, "a folder of photos, or a manifest", positional=True)
    page: str = option("check.html", "where to write the page: one HTML file that opens anywhere, offline")
    json: bool = option(False, "print the result as one JSON object, and nothing else, on stdout")
    positive_dist_threshold: PositiveFloat = option(25, "metres within which a database photo is right for a query")
    num_workers: PositiveInt | None = option(None, "threads that read images; without it one per core, at most 8")


@dataclass(kw_only=True)
class SplitOptions(HeadingOptions):
    """Splitting"""

    source: str = option(REQUIRED, "a folder of photos, or a manifest", positional=True)
    out: str = option(
        REQUIRED,
        "where to: a manifest (.csv, .parquet or .geojson), or a new folder for train, val and test with links to the "
        "photos under SF-XL file names",
        positional=True,
    )
    shares: list[PositiveFloat] | None = option(
        None, "shares of train, val and test, in numbers of photos; without it 0.8 0.1 0.1"
    )
    buffer: NonNegativeFloat = option(50, "metres between the parts; photos nearer than that belong to none")
    cell: PositiveFloat = option(50, "side in metres of the cells that are never cut")
    query_share: ClosedUnitInterval = option(0.2, "share of the photos of val and test that become queries")
    positive_dist_threshold: PositiveFloat = option(25, "metres within which every query has a database photo")
    draw_roles: bool = option(False, "draw database and queries anew, even where the photos say which are which")
    seed: NonNegativeInt = option(0, "another seed, other places for val and test")
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


@dataclass(kw_only=True)
class FramesOptions:
    """Frames"""

    source: str = option(REQUIRED, "a video, or a folder of photos taken one after the other", positional=True)
    out: str = option(REQUIRED, "folder to write frames and manifest.csv to; a stopped run goes on", positional=True)
    gpx: str = option(REQUIRED, "the GPX track that was recorded meanwhile")
    every: PositiveFloat = option(5, "metres from frame to frame")
    offset: float = option(0, "seconds to add to the camera's clock, so that it agrees with the track's")
    start: str | None = option(
        None, "when the first frame was taken, as 2023-04-06T10:19:05Z; without it what the video or EXIF data say"
    )
    fps: PositiveFloat | None = option(
        None, "photos per second of a folder whose photos do not say their time; they go in the order of their names"
    )


@dataclass(kw_only=True)
class ServeOptions(EstimateOptions):
    """Serving"""

    host: str = option(
        "127.0.0.1",
        "address to listen on. The default lets only this machine in; 0.0.0.0 lets everybody in who can reach it, so "
        "set --token too",
    )
    port: PortNumber = option(8000, "port to listen on; 0 takes any free one")
    token: str | None = option(
        None,
        "whoever asks must send this: Authorization: Bearer TOKEN. The web page asks for it. Put it into a "
        "--config file, as others on the machine can see a command's options",
    )
    tiles: str | None = option(
        None,
        "address of map tiles, with {z}, {x} and {y}, such as https://tile.openstreetmap.org/{z}/{x}/{y}.png. Without "
        "it the map shows the database on a plain ground, and the page loads nothing from elsewhere",
    )
    tiles_attribution: str = option("© OpenStreetMap contributors", "whom the map names as the source of its tiles")
    max_upload_mb: PositiveFloat = option(32, "size of a request in megabytes")
    max_megapixels: PositiveFloat = option(64, "size of a photo in millions of pixels")
    max_images: PositiveInt = option(16, "photos in a request")
    max_waiting: PositiveInt = option(64, "photos waiting or in work; requests beyond it are told to come back (429)")
    max_seconds: PositiveFloat = option(30, "time for a request, upload included")


@dataclass(kw_only=True)
class DemoOptions:
    """Demo"""

    folder: str = option("demo", "folder for the toy city and all results")
    seed: NonNegativeInt = option(0, "another seed, another town")


def add_options(parser: ArgumentParser, options_class: type) -> None:
    """Add the fields of an options dataclass to a parser, in groups named after the classes that define them."""
    types = get_type_hints(options_class)
    owners = {name: owner for owner in reversed(options_class.__mro__) for name in inspect.get_annotations(owner)}
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of options, such as a run's config.yaml")
    groups = {owner: parser.add_argument_group(owner.__doc__) for owner in (options_class, *options_class.__mro__)}
    for option_field in sorted(dataclasses.fields(options_class), key=lambda f: owners[f.name] is not options_class):
        _add_option(groups[owners[option_field.name]], option_field, types[option_field.name])


def _add_option(group: Any, option_field: dataclasses.Field[Any], value_type: Any) -> None:
    """Add one field as an argument."""
    metadata = option_field.metadata
    settings: dict[str, Any] = {"help": metadata["help"]}
    if metadata["positional"]:
        if value_type == list[str]:
            settings["nargs"] = "*"
            value_type = str
        group.add_argument(option_field.name, type=value_type, **settings)
        return
    if option_field.default is REQUIRED:
        settings["required"] = True
    else:
        settings["default"] = option_field.default
    if value_type in (bool, bool | None):
        settings["action"] = ActionYesNo(no_prefix="no_")
    elif metadata["choices"]:
        settings["choices"] = metadata["choices"]
    elif _item_type(value_type):
        settings |= {"nargs": "+", "type": _item_type(value_type)}
    else:
        settings["type"] = value_type
    group.add_argument(f"--{option_field.name}", *metadata["names"], **settings)


def join_repeated(arguments: list[str], options_class: type) -> list[str]:
    """Return the arguments with all values of an option that may be repeated in one place, as a JSON list."""
    types = get_type_hints(options_class)
    for option_field in dataclasses.fields(options_class):
        if types[option_field.name] != Repeated:
            continue
        names = (f"--{option_field.name}", *option_field.metadata["names"])
        values, others = [], []
        position = 0
        while position < len(arguments):
            name, equals, value = arguments[position].partition("=")
            if name not in names:
                others.append(arguments[position])
            elif equals:
                values.append(value)
            elif position + 1 < len(arguments) and not arguments[position + 1].startswith("--"):
                position += 1
                values.append(arguments[position])
            else:
                others.append(name)  # without a value, which the parser complains about
            position += 1
        arguments = [*others, names[0], json.dumps(values)] if len(values) > 1 else arguments
    return arguments


def list_repeated(value: list[str] | str | None) -> list[str]:
    """Return the values of an option that may be given several times."""
    return [value] if isinstance(value, str) else value or []


def _item_type(value_type: Any) -> Any:
    """Return the type of the values of an option that takes several at once; None where it takes one."""
    if value_type == Repeated:
        return None
    for candidate in (value_type, *get_args(value_type)):
        if get_origin(candidate) is list:
            return get_args(candidate)[0]
    return None


def create_options(options_class: type[Options], namespace: Namespace) -> Options:
    """Return the dataclass with what was parsed."""
    names = [option_field.name for option_field in dataclasses.fields(options_class)]  # type: ignore[arg-type]
    # Through JSON, because the parser's own number types cannot be written to YAML and checkpoints.
    values: dict[str, Any] = json.loads(json.dumps({name: namespace[name] for name in names}))
    return options_class(**values)


def save_options(options: Any, path: Path) -> None:
    """Write the options as YAML that ``--config`` takes to repeat the run."""
    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(dataclasses.asdict(options), sort_keys=False), encoding="utf-8")


def load_options(options_class: type[Options], path: Path) -> Options:
    """Read options that ``save_options`` wrote.

    Raises:
        ProgeoError: the file is missing or holds something else.
    """
    try:
        return options_class(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, yaml.YAMLError) as error:
        raise ProgeoError(f"Cannot read the options in {path}: {error}") from error
