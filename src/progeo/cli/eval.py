"""``progeo eval``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonargparse.typing import PositiveFloat, PositiveInt

from progeo.cli.options import (
    REQUIRED,
    TIMINGS,
    EngineOptions,
    InferenceOptions,
    MachineOptions,
    PhotoOptions,
    Repeated,
    RerankOptions,
    TrustOptions,
    engine_settings,
    format_timings,
    list_repeated,
    option,
    save_options,
)
from progeo.console import console, log_to, logger
from progeo.errors import ProgeoError
from progeo.files import CONFIG, RESULTS, atomic_write, create_run_folder, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from progeo.evaluation.evaluation_set import EvaluationSet
    from progeo.evaluation.recall import Evaluation
    from progeo.models.engines.graphs import ExportedModel
    from progeo.models.network import PlaceNetwork
    from progeo.pixels.recipe import Preprocessing

BYTES_PER_NUMBER = 4
"""Descriptors are searched in single precision."""


@dataclass(kw_only=True)
class EvalOptions(InferenceOptions, RerankOptions, PhotoOptions, MachineOptions, EngineOptions, TrustOptions):
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
        "the model: a file, a published one such as cosplace:ResNet50:2048 or megaloc, or a backbone, untrained; fit, "
        "or fit:BACKBONE, is fitted to the photos of the set's database; --model is a synonym. Give it again for "
        "further models, which are compared. A file of progeo needs no other option, a published .pth needs --backbone "
        "and --fc_output_dim. Without it --backbone is evaluated untrained",
        names=("--model",),
    )
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
    timings: bool = option(False, TIMINGS)


class Candidate(NamedTuple):
    """A model to evaluate, and how the photos of the database and those of the queries are read for it.

    ``own`` is how it takes photos where nothing is said of their size; with ``image_size`` and ``native`` it becomes
    the other two.
    """

    name: str
    network: PlaceNetwork | ExportedModel
    own: Preprocessing
    image_size: int | None
    native: bool | None
    database: Preprocessing
    queries: Preprocessing

    @property
    def size(self) -> str:
        """The size of photos as people read it."""
        other = "" if self.queries == self.database else f" (queries: {self.queries.describe()})"
        return self.database.describe() + other


def run(options: EvalOptions, folder: Path | None = None, *, published: bool = False) -> dict[str, Any]:
    """Run ``progeo eval``: evaluate one model, or several and compare them; write and return the results.

    Args:
        options: what to do.
        folder: an existing folder for the results; without it a new one below ``logs`` is made. Of several models, each
            has a folder of its own in it, and the comparison stands beside them.
        published: photos keep their size where nothing says otherwise, as in the published command ``eval.py``.
    """
    from progeo.evaluation.grouping import group_queries
    from progeo.evaluation.shapes import leave_out_extreme

    evaluation_set = _read_set(options)
    if options.group_by:
        group_queries(evaluation_set.queries, options.group_by)  # an error at once
    candidates = [
        _choose_size(name, network, evaluation_set, options, published)
        for name, network in _load_models(options, evaluation_set)
    ]
    evaluation_set, left_out = leave_out_extreme(
        evaluation_set,
        [candidate.database for candidate in candidates],
        [candidate.queries for candidate in candidates],
        num_workers=options.num_workers,
    )
    groups = group_queries(evaluation_set.queries, options.group_by) if options.group_by else {}

    folder = folder or create_run_folder(options.save_dir)
    log_to(folder)
    save_options(options, folder / CONFIG)
    _describe_set(evaluation_set, left_out)
    _describe_models(candidates, options, published)

    results, evaluations = [], []
    for number, candidate in enumerate(candidates, start=1):
        own_folder = folder if len(candidates) == 1 else folder / f"{number}_{_to_file_name(candidate.name)}"
        own_folder.mkdir(exist_ok=True)
        evaluation = _evaluate(candidate, evaluation_set, options, published)
        evaluations.append(evaluation)
        results.append(_save(candidate, evaluation, evaluation_set, groups, options, own_folder))
    content = results[0] if len(results) == 1 else _compare(results, evaluations, evaluation_set, options, folder)
    logger.info(f"Results are in {folder}")
    if options.json:
        print(json.dumps(content))
    return content


def _read_set(options: EvalOptions) -> EvaluationSet:
    """Read the test set, and check what the options ask of it against its protocol."""
    from progeo.evaluation.evaluation_set import read_evaluation_set
    from progeo.evaluation.protocols import find_protocol, find_rule

    protocol = find_protocol(options.protocol) if options.protocol else None
    rule = find_rule(protocol, options.positive_dist_threshold)
    if options.radii and not rule.is_metric:
        raise ProgeoError(
            f"--radii are metres, but by --protocol {options.protocol} a prediction is right {rule}. Leave --radii out."
        )
    return read_evaluation_set(
        options.test_set_folder,
        queries_folder=options.queries_folder,
        cache_folder=options.cache_folder,
        columns=options.columns,
        protocol=protocol,
    )


def _load_models(options: EvalOptions, evaluation_set: EvaluationSet) -> list[tuple[str, PlaceNetwork | ExportedModel]]:
    """Load all models before the first is evaluated, so that a missing one does not stop the work of hours.

    A recipe is fitted to the photos of the set's database, as ``progeo index`` would fit it.
    """
    from progeo.models.engines.choose import load_runnable
    from progeo.models.recipes import parse_recipe

    names = list_repeated(options.resume_model)
    if len(names) > 1 and (options.backbone or options.fc_output_dim):
        raise ProgeoError(
            "--backbone and --fc_output_dim say what one published .pth file is. Evaluate that one alone, or compare "
            "model files of progeo and published models."
        )
    if not names:
        from progeo.devices import choose_device, derive_seed
        from progeo.models.building import create_model

        choose_device(options.device)  # an error at once
        network = create_model(
            options.backbone or "ResNet18",
            descriptor_dim=options.fc_output_dim,
            weights=options.backbone_weights,
            seed=derive_seed(options.seed),
        )
        return [(f"{network.spec.backbone} untrained", network.eval())]
    settings: dict[str, Any] = {"backbone": options.backbone, "descriptor_dim": options.fc_output_dim}
    settings |= {"trust_remote_code": options.trust_remote_code, "device": options.device}
    settings |= {"engine": engine_settings(options)["engine"]}
    database = evaluation_set.database["path"].to_list()

    def load(name: str) -> PlaceNetwork | ExportedModel:
        if parse_recipe(name):
            from progeo.cli.fit import fit_kept

            return fit_kept(database, name, options, seed=options.seed)
        return load_runnable(name, **settings)

    return [(name, _rest(load(name))) for name in names]


def _rest(model: PlaceNetwork | ExportedModel) -> PlaceNetwork | ExportedModel:
    """Take a network off the device while it is not in use, so that several fit one after the other."""
    from progeo.models.engines.graphs import ExportedModel

    return model if isinstance(model, ExportedModel) else model.cpu()


def _choose_size(
    name: str,
    network: PlaceNetwork | ExportedModel,
    evaluation_set: EvaluationSet,
    options: EvalOptions,
    published: bool,
) -> Candidate:
    """Decide at which size a model takes photos: as asked for, else as the protocol or the command is published."""
    from progeo.evaluation.evaluate import choose_preprocessing, resize_as_published

    own, image_size = network.preprocessing, options.image_size
    native = None if options.resize_test_imgs is None else not options.resize_test_imgs
    if published and native is None and not (image_size or own.square):
        native = not network.spec.provenance.get("training", {}).get("resize_test_imgs")
    if native is False and not own.square:
        own = resize_as_published(own, network.spec.backbone, image_size)
        image_size = None if own.square else image_size
    read = choose_preprocessing(own, evaluation_set.protocol, image_size=image_size, native=native, name=name)
    return Candidate(name, network, own, image_size, native, *read)


def _describe_models(candidates: list[Candidate], options: EvalOptions, published: bool) -> None:
    """Say which models have learned no places, and that photos are brought to the size of the model."""
    if not options.resume_model:
        logger.warning("No --model is given: evaluating the untrained backbone, as a baseline")
        if options.backbone_weights == "none":
            logger.warning("--backbone_weights none: the backbone is random, and so the results mean nothing")
    for candidate in candidates:
        spec = candidate.network.spec
        if spec.provenance.get("untrained"):
            same = "" if spec.backbone == candidate.name else f" (without training it is {spec.backbone})"
            logger.warning(f"{candidate.name} is a backbone that was not trained for places{same}: a baseline")
    own_size = any(not (candidate.database.native or candidate.database.square) for candidate in candidates)
    if own_size and not (published or options.resize_test_imgs):
        logger.info("Photos are brought to the size of the model; --no_resize_test_imgs leaves them as they are")


def _describe_set(evaluation_set: EvaluationSet, left_out: list[str]) -> None:
    """Say what is about to be evaluated, what is not, and where it is not what its protocol fixes."""
    protocol = evaluation_set.protocol
    for remark in left_out:
        logger.warning(remark)
    logger.info(f"{len(evaluation_set.database)} database images and {len(evaluation_set.queries)} queries")
    if protocol:
        logger.info(f"Protocol {protocol.name}: {protocol.description}; right {protocol.rule}; {protocol.source}")
    for difference in evaluation_set.differences:
        logger.warning(f"Not the official protocol: {difference}")


def _evaluate(candidate: Candidate, evaluation_set: EvaluationSet, options: EvalOptions, published: bool) -> Evaluation:
    from progeo.evaluation.evaluate import evaluate
    from progeo.evaluation.report import EXAMPLES
    from progeo.models.encoder import Encoder

    start = time.perf_counter()
    rerank = "none" if published and options.rerank == "auto" else options.rerank
    name, network = candidate.name, candidate.network
    encoder = Encoder.create(
        network,
        device=options.device,
        batch_size=options.infer_batch_size,
        num_workers=options.num_workers,
        preprocessing=candidate.own,
        **engine_settings(options),
    )
    logger.info(
        f"Evaluating {name}: {network.spec.describe()}, on {encoder.device}, photos at {candidate.size}, engine "
        f"{encoder.engine.name}"
    )
    for difference in _find_resizing(candidate, evaluation_set):
        logger.warning(f"Not the official protocol: {name} takes {difference}")
    if network.spec.provenance.get("batch_dependent"):
        logger.warning(
            f"With {name} a descriptor depends on the other photos of the batch: results change with "
            f"--infer_batch_size ({options.infer_batch_size}) and with the order of the photos"
        )
    kept = options.descriptors_folder and _place_descriptors(options.descriptors_folder, evaluation_set, name)
    try:
        evaluation = evaluate(
            encoder,
            evaluation_set,
            image_size=candidate.image_size,
            native=candidate.native,
            positive_dist_threshold=options.positive_dist_threshold,
            k=max(20, options.num_preds_to_save, options.candidates if rerank != "none" else 0),
            rerank=rerank,
            candidates=options.candidates,
            description="Encoding",
            descriptors_folder=kept,
            cache_folder=options.cache_folder,
            explain=EXAMPLES if options.report else 0,
        )
    except KeyboardInterrupt:
        if kept:
            logger.info(f"Finished chunks are kept in {kept}: the same command goes on from there")
        raise
    _rest(network)
    if options.timings:
        logger.info(format_timings(encoder.timings, time.perf_counter() - start))
    if evaluation.queries_without_positives:
        logger.info(
            f"{evaluation.queries_without_positives} of {len(evaluation_set.queries)} queries have no database image "
            f"{evaluation.rule} and count as missed"
        )
    return evaluation


def _find_resizing(candidate: Candidate, evaluation_set: EvaluationSet) -> list[str]:
    """Return how the size at which a model takes photos differs from what the protocol fixes."""
    if evaluation_set.protocol is None or candidate.database.native:
        return []
    return [f"photos resized ({candidate.size}) instead of as the set has them"]


def _save(
    candidate: Candidate,
    evaluation: Evaluation,
    evaluation_set: EvaluationSet,
    groups: dict[str, NDArray[np.int64]],
    options: EvalOptions,
    folder: Path,
) -> dict[str, Any]:
    """Say what was found, write it, and return it."""
    from progeo.evaluation.metrics import measure
    from progeo.evaluation.results import make_title, save_results

    spec, read = candidate.network.spec, candidate.database
    measurements = measure(
        evaluation, radii=options.radii or (), group_by=options.group_by, groups=groups, seed=options.seed
    )
    logger.info(evaluation.describe())
    logger.info(measurements.describe_intervals())
    differences = [*evaluation_set.differences, *_find_resizing(candidate, evaluation_set)]
    return save_results(
        evaluation,
        dataclasses.replace(evaluation_set, differences=differences),
        folder,
        title=make_title(spec, options.test_set_folder, untrained=not options.resume_model),
        settings={
            "model": candidate.name,
            "backbone": spec.backbone,
            "fc_output_dim": spec.descriptor_dim,
            "test_set_folder": options.test_set_folder,
            "image_size": "native" if read.native else read.image_size,
            "rerank": evaluation.rerank,
            "batch_dependent": bool(spec.provenance.get("batch_dependent")),
            "database_memory_bytes": len(evaluation_set.database) * spec.descriptor_dim * BYTES_PER_NUMBER,
        },
        spec=spec.to_dict(),
        measurements=measurements,
        num_preds_to_save=options.num_preds_to_save,
        save_only_wrong_preds=options.save_only_wrong_preds,
        report=options.report,
    )


def _place_descriptors(folder: str, evaluation_set: EvaluationSet, model: str) -> Path:
    """Return where a model's descriptors of a set are, below the folder that the options name."""
    place = Path(evaluation_set.folder).resolve()
    key = hashlib.sha256(str(place).encode()).hexdigest()[:8]
    return Path(folder) / f"{_to_file_name(place.name)}-{key}" / _to_file_name(model)


def _compare(
    results: list[dict[str, Any]],
    evaluations: list[Evaluation],
    evaluation_set: EvaluationSet,
    options: EvalOptions,
    folder: Path,
) -> dict[str, Any]:
    """Print the comparison, write it beside the results of each model, and return it."""
    from progeo.evaluation.comparison import (
        bootstrap_difference,
        draw_comparison,
        format_markdown,
        write_comparison,
    )

    for number, (result, evaluation) in enumerate(zip(results, evaluations, strict=True)):
        difference, interval = bootstrap_difference(evaluations[0], evaluation, options.seed)
        result["difference_from_first"] = {"R@1": difference, "interval": list(interval)} if number else None
    protocol = f", protocol {evaluation_set.protocol.name}" if evaluation_set.protocol else ""
    title = (
        f"{Path(options.test_set_folder).resolve().name}{protocol}: {len(evaluation_set.queries):,} queries, "
        f"{len(evaluation_set.database):,} database images"
    )
    console.print(draw_comparison(results, title))
    with atomic_write(folder / "comparison.md") as temporary:
        temporary.write_text(format_markdown(results, title), encoding="utf-8")
    if options.report:
        write_comparison(results, title, folder / "comparison.html")
    content = {"test_set_folder": options.test_set_folder, "models": results}
    write_json(folder / RESULTS, content)
    return content


def _to_file_name(text: str) -> str:
    """Return a text with nothing in it that a file name cannot have."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "_"
