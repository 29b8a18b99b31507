"""The model card that goes with a model to the Hub: what it is, what it reached, under which terms it may be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from progeo.errors import ProgeoError
from progeo.models.backbones.registry import find_backbone, is_backbone
from progeo.models.spec import ModelSpec

KNOWN_LICENCES = {
    "MIT": "mit",
    "Apache-2.0": "apache-2.0",
    "BSD-3-Clause": "bsd-3-clause",
    "GPL-3.0": "gpl-3.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
}
"""Names of licences as the Hub spells them; all others are ``other`` there."""


def write_card(
    spec: ModelSpec,
    repository: str,
    *,
    command: str,
    results: list[Path] | None = None,
    trained_on: str | None = None,
    data_licence: str | None = None,
) -> str:
    """Return the text of ``README.md``.

    Args:
        spec: of the model.
        repository: ``OWNER/NAME``.
        command: how it is used on the command line.
        results: files ``results.json`` of evaluations of this very model.
        trained_on: the data that it was trained on, in words; None takes the folder that the model names.
        data_licence: of that data.

    Raises:
        ProgeoError: a file of results cannot be read, or is of another model.
    """
    training = spec.provenance.get("training") or {}
    trained_on = trained_on or Path(str(training.get("train_set_folder") or "")).name or "not stated"
    licence = spec.licence or "none stated"
    backbone = find_backbone(spec.backbone).licence if is_backbone(spec.backbone) else "see its repository"
    front = ["license: " + KNOWN_LICENCES.get(licence, "other")]
    if licence not in KNOWN_LICENCES:
        front.append("license_name: " + json.dumps(licence))
    size = spec.preprocessing.describe()
    return "\n".join(
        [
            *("---", *front, "library_name: progeo", "pipeline_tag: image-feature-extraction"),
            *("tags:", "- visual-place-recognition", "- image-retrieval", "---", ""),
            *(f"# {repository.partition('/')[2]}", ""),
            *("A model for visual place recognition: photos of one place get descriptors that lie close together.", ""),
            *("```python", "import progeo", "", f'model = progeo.load_model("hf:{repository}")'),
            *('descriptors = model.encode(["photo_1.jpg", "photo_2.jpg"])', "```", ""),
            *("```sh", command, "```", ""),
            *("## What it is", "", "| | |", "|---|---|"),
            f"| backbone | {spec.backbone} |",
            f"| head | {spec.head} |",
            f"| descriptor | {spec.descriptor_dim} dimensions, length 1, compared by Euclidean distance |",
            f"| photos | {size} |",
            f"| method | {training.get('method') or spec.provenance.get('source') or 'not stated'} |",
            f"| trained on | {trained_on} |",
            "",
            *_describe_results(spec, results or []),
            *("## Licences", "", "| part | licence |", "|---|---|"),
            f"| these weights | {licence} |",
            f"| weights of the backbone that training started from | {backbone} |",
            f"| data that it was trained on | {data_licence or 'not stated'} |",
            "",
        ]
    )


def _describe_results(spec: ModelSpec, files: list[Path]) -> list[str]:
    """Return the section with the measured recalls."""
    if not files:
        return ["## Results", "", "No results were given.", ""]
    rows = [_read_row(spec, path) for path in files]
    counts = sorted({count for row in rows for count in row["recalls"]}, key=int)
    header = ["data set", "protocol", "queries", *(f"R@{count}" for count in counts)]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [f"{row['recalls'][count]:.1f}" if count in row["recalls"] else "" for count in counts]
        lines.append(f"| {' | '.join([row['data'], row['protocol'], row['queries'], *cells])} |")
    note = (
        "Recalls in percent, measured with `progeo eval`; right is within 25 metres unless the protocol says otherwise."
    )
    return ["## Results", "", *lines, "", note, ""]


def _read_row(spec: ModelSpec, path: Path) -> dict[str, Any]:
    """Return what one evaluation says.

    Raises:
        ProgeoError: it cannot be read, or it is of another model.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        recalls = {name.removeprefix("R@"): float(value) for name, value in content["recalls"].items()}
        measured = content["spec"] or {}
        row = {
            "data": Path(str(content["test_set_folder"])).name,
            "protocol": content["protocol"] or f"none, within {content.get('positive_dist_threshold', 25):g} m",
            "queries": f"{content['queries']:,}",
            "recalls": recalls,
        }
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ProgeoError(
            f"{path} is no results.json of progeo eval for one model ({type(error).__name__}: {error})."
        ) from error
    ours = spec.to_dict()
    if any(measured.get(name) != ours[name] for name in ("backbone", "head", "descriptor_dim")):
        raise ProgeoError(
            f"{path} is of another model ({measured.get('backbone')}, {measured.get('head')}), not of this."
        )
    return row
