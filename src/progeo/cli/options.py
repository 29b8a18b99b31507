"""The options of every command, as documented dataclass fields: one list serves flags, config files and ``--help``.

The names and defaults of CosPlace's options are the published ones.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

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

from progeo.cli.spelling import spell_options
from progeo.errors import ProgeoError
from progeo.files import atomic_write, read_bytes, read_text
from progeo.plain import LARGEST, show

REQUIRED: Any = dataclasses.MISSING
Repeated = list[str] | str | None
"""An option that may be given several times, each time with one text; ``list_repeated`` gives them all."""
PortNumber: Any = restricted_number_type("PortNumber", int, [(">=", 0), ("<=", 65535)])
HalfTurn: Any = restricted_number_type("HalfTurn", float, [(">=", 0), ("<=", 0.5)])
NUM_WORKERS = "threads that read images, 0 for none beside the main one; without it one per core, at most 8"
Options = TypeVar("Options")
MAX_CONFIG_BYTES = 1_000_000
MAX_CONFIG_DEPTH = 16

if TYPE_CHECKING:
    from progeo.models.encoder import Timings


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
    num_workers: NonNegativeInt | None = option(None, NUM_WORKERS)
    seed: NonNegativeInt = option(0, "everything random follows from it")
    save_dir: str = option(
        "default", "results go to logs/<save_dir>/<time>; --exp_name is a synonym", names=("--exp_name",)
    )
    cache_folder: str = option("cache", "where listings of image folders are kept between runs")


@dataclass(kw_only=True)
class InferenceOptions:
    """Validation and test"""

    infer_batch_size: PositiveInt = option(16, "photos per batch when encoding; photos of one size share a batch")
    positive_dist_threshold: PositiveFloat = option(25, "metres within which a prediction counts as right")
    resize_test_imgs: bool | None = option(
        None,
        "resize test photos as published: so that the shorter side is image_size (aspect ratio kept), with CLIP-RN50 "
        "and the other backbones of ProGEO to squares of it. Without it the shorter side becomes image_size, unless a "
        "protocol has photos keep their size. The published commands, eval.py and train.py, resize only with it",
    )
    num_preds_to_save: NonNegativeInt = option(
        0, "predictions to show per query in pictures under preds/; try a small number like 3"
    )
    save_only_wrong_preds: bool = option(False, "picture only queries whose first prediction is wrong")
    queries_folder: str | None = option(
        None, "folder of the queries inside the test set; without it queries, else queries_v1, else queries_v2"
    )


@dataclass(kw_only=True)
class TrustOptions:
    """Models of others"""

    trust_remote_code: bool = option(
        False, "let a model of torch.hub run its code on this machine, with all your rights"
    )


@dataclass(kw_only=True)
class RerankOptions:
    """Re-ranking"""

    rerank: str = option(
        "auto",
        "compare the photos found with the query point by point, and order them anew: dense takes features of the "
        "model's own network, sift those of OpenCV, both takes these two, lightglue two further networks. auto takes "
        "dense, or the order of the descriptors where the model has no local features or OpenCV is missing, and under "
        "--protocol",
        choices=("auto", "dense", "sift", "lightglue", "both", "none"),
    )
    candidates: PositiveInt = option(20, "for --rerank: how many of the photos found are compared")


@dataclass(kw_only=True)
class EngineOptions:
    """Engine"""

    engine: str = option(
        "auto",
        "what runs the model: PyTorch, or a graph of it in ONNX Runtime or OpenVINO. auto takes PyTorch on a GPU; on a "
        "processor it takes what is fastest for the model, and keeps the graph for the next time",
        choices=("auto", "torch", "onnx", "openvino"),
    )
    precision: str = option(
        "float32",
        "in which the model computes on a GPU: half is bf16 where the GPU has it, else fp16. Descriptors then differ "
        "by up to 1e-2",
        choices=("float32", "half", "bf16", "fp16"),
    )


@dataclass(kw_only=True)
class PlaceOptions(EngineOptions, TrustOptions):
    """Place database"""

    database: str = option(REQUIRED, "place database: a folder, or an address in an object store such as s3://…")
    infer_batch_size: PositiveInt = option(16, "photos per batch when encoding; photos of one size share a batch")
    device: str = option(
        "auto", "where to compute; auto takes a GPU where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    num_workers: NonNegativeInt | None = option(None, NUM_WORKERS)


@dataclass(kw_only=True)
class EstimateOptions(RerankOptions, PlaceOptions):
    """Estimates"""

    cache_folder: str = option("cache", "where points of the database's photos are kept between runs, for --rerank")

    min_confidence: ClosedUnitInterval | None = option(
        None,
        "probability of being right within 25 m below which a photo counts as of an unknown place; 0.5 without it",
    )
    even_unknown: bool = option(
        False,
        "give, and with --write write, positions also of unknown places, where they are more likely wrong than right",
    )


TIMINGS = "say at the end how long reading, the network and the rest took"


def format_timings(timings: Timings, seconds: float) -> str:
    """Return where the time of a command went, of which ``seconds`` passed in all."""
    rest = max(0.0, seconds - timings.reading - timings.network - timings.writing)
    return (
        f"Time: waiting for photos {timings.reading:.1f} s, network {timings.network:.1f} s, writing "
        f"{timings.writing:.1f} s, everything else {rest:.1f} s"
    )


def engine_settings(options: EngineOptions) -> dict[str, Any]:
    """Return what ``Encoder.create`` is told of a command's engine: graphs compute in float32 alone."""
    is_half = options.engine == "auto" and options.precision != "float32"
    return {"engine": "torch" if is_half else options.engine, "precision": options.precision}


def add_options(parser: ArgumentParser, options_class: type) -> None:
    """Add the fields of an options dataclass to a parser, in groups named after the classes that define them."""
    types = get_type_hints(options_class)
    owners = {name: owner for owner in reversed(options_class.__mro__) for name in inspect.get_annotations(owner)}
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of options, such as a run's config.yaml")
    groups = {owner: parser.add_argument_group(owner.__doc__) for owner in (options_class, *options_class.__mro__)}
    for option_field in sorted(dataclasses.fields(options_class), key=lambda f: owners[f.name] is not options_class):
        value_type = restrict_type(types[option_field.name], option_field.metadata)
        _add_option(groups[owners[option_field.name]], option_field, value_type, types)


def restrict_type(value_type: Any, metadata: Mapping[str, Any]) -> Any:
    """Return the type of the parser for a setting of the library, whose metadata have its least and largest value."""
    limits = metadata.get("minimum"), metadata.get("maximum")
    if limits == (None, None):
        return value_type
    kinds = get_args(value_type) or (value_type,)
    restricted = _RESTRICTED[(next(kind for kind in kinds if kind is not NoneType), *limits)]
    return restricted | None if NoneType in kinds else restricted


_RESTRICTED: dict[tuple[type, float | None, float | None], Any] = {
    (int, 0, None): NonNegativeInt,
    (int, 1, None): PositiveInt,
    (float, 0, None): NonNegativeFloat,
    (float, 0, 1): ClosedUnitInterval,
    (float, 0, 0.5): HalfTurn,
}


def list_names(option_field: dataclasses.Field[Any]) -> list[str]:
    """Return all spellings of an option."""
    return [f"--{name.removeprefix('--')}" for name in (option_field.name, *option_field.metadata["names"])]


def _add_option(group: Any, option_field: dataclasses.Field[Any], value_type: Any, names: Collection[str]) -> None:
    """Add one field as an argument; ``names`` are those of all."""
    metadata = option_field.metadata
    settings: dict[str, Any] = {"help": spell_options(metadata["help"], names)}
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
        settings |= {"choices": metadata["choices"], "type": type(metadata["choices"][0])}
    elif _item_type(value_type):
        settings |= {"nargs": "+", "type": _item_type(value_type)}
    else:
        settings["type"] = value_type
    group.add_argument(*list_names(option_field), **settings)


def join_repeated(arguments: list[str], options_class: type) -> list[str]:
    """Return the arguments with all values of an option that may be repeated in one place, as a JSON list."""
    types = get_type_hints(options_class)
    for option_field in dataclasses.fields(options_class):
        if types[option_field.name] != Repeated:
            continue
        names = list_names(option_field)
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
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int | float) and not abs(one) < LARGEST:
                raise ProgeoError(f"--{name} is {show(one)}: give a smaller number.")
    return options_class(**values)


def check_config(path: str, *, may_lead_out: bool) -> None:
    """Check a file of options before a parser sees it: it may be somebody else's.

    Args:
        path: of the file.
        may_lead_out: whether results may go elsewhere than below ``logs``, as where the file does not decide it.

    Raises:
        ProgeoError: it is no small file of YAML in UTF-8, or its results would lead out of ``logs``.
    """
    try:
        content = read_bytes(path, MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise ValueError(f"it has more than {MAX_CONFIG_BYTES:,} bytes")
        depth = 0
        for event in yaml.parse(content.decode("utf-8-sig")):  # without recursion, unlike loading
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_CONFIG_DEPTH or isinstance(event, yaml.AliasEvent):
                raise ValueError("it is nested too deep, or refers to itself")
        options = yaml.safe_load(content)
        if not isinstance(options, dict | NoneType):
            raise ValueError(f"it holds {show(options)} in place of names and values")
        if options and "config" in options:
            raise ValueError("it names another one, which only the command line may")
    except UnicodeDecodeError as error:
        raise ProgeoError(f"--config {path} is not written in UTF-8 ({error}): please save it in UTF-8.") from error
    except OSError as error:
        raise ProgeoError(f"--config {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ProgeoError(f"--config {path} is no file of options in YAML: {reason}.") from error
    folder = str((options or {}).get("save_dir") or "")
    if not may_lead_out and (Path(folder).is_absolute() or ".." in Path(folder).parts):
        raise ProgeoError(
            f"--config {path} would put results into {folder}, out of logs. If that is what you want, give --save_dir "
            "yourself."
        )


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
        return options_class(**yaml.safe_load(read_text(path)))
    except (OSError, TypeError, yaml.YAMLError) as error:
        raise ProgeoError(f"Cannot read the options in {path}: {error}") from error
