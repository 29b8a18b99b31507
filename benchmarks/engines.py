"""Whether every engine finds the same: recalls, the order of predictions before and after re-ranking, descriptors.

    python -m benchmarks.engines DATASETS [--sets NAME …] [--models EfficientNet-Lite0 ResNet18] [--out logs/engines]

DATASETS is a folder of test sets (each with ``database`` and ``queries``). ``fit`` is fitted to the photos of the set's
own database. A set that is done is not measured again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rerank import load
from benchmarks.tables import write_table
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.evaluation_set import EvaluationSet, read_evaluation_set
from progeo.models.engines.choose import measure_difference
from progeo.models.engines.graphs import ENGINES, open_graph
from progeo.models.export import export_graph

RERANKERS = ("none", "dense")


def measure(folder: Path, name: str) -> dict[str, Any]:
    """Return what PyTorch finds in a set, and by engine what differs from that."""
    evaluation_set = read_evaluation_set(folder)
    network = load(name, folder / "database")
    graph = export_graph(network)
    expected = find_all(network, evaluation_set)
    result: dict[str, Any] = {"torch": describe(expected, expected)}
    for engine in ENGINES:
        result[engine] = describe(find_all(open_graph(graph, engine=engine), evaluation_set), expected)
    return result


def find_all(model: Any, evaluation_set: EvaluationSet) -> dict[str, Any]:
    """Return descriptors of the queries, and recalls and predictions by reranker."""
    found = {rerank: evaluate(model, evaluation_set, rerank=rerank) for rerank in RERANKERS}
    descriptors = model.encode(evaluation_set.queries["path"].to_list())
    return {"descriptors": descriptors, **{name: (one.recalls, one.predictions) for name, one in found.items()}}


def describe(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return recalls by reranker, how many queries have other predictions or another order, and the difference."""
    result: dict[str, Any] = {"difference": measure_difference(found["descriptors"], expected["descriptors"])}
    for name in RERANKERS:
        recalls, predictions = found[name]
        other = int(np.any(predictions != expected[name][1], axis=1).sum())
        result[name] = {"recalls": recalls, "queries": len(predictions), "other": other}
    return result


def make_row(name: str, model: str, measured: dict[str, Any]) -> list[str]:
    """Return the row of a set and a model."""
    queries = measured["torch"]["none"]["queries"]
    row = [name, model, str(queries)]
    for rerank in RERANKERS:
        recalls = {json.dumps(measured[engine][rerank]["recalls"]) for engine in measured}
        first = [measured[engine][rerank]["recalls"] for engine in measured]
        is_same = "all equal" if len(recalls) == 1 else "differ"
        row.append(f"{', '.join(f'{next(iter(one.values())):.1f}' for one in first)}: {is_same}")
        row.append(", ".join(str(measured[engine][rerank]["other"]) for engine in ENGINES))
    return [*row, ", ".join(f"{measured[engine]['difference']:.0e}" for engine in ENGINES)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--models", nargs="+", default=["EfficientNet-Lite0"])
    parser.add_argument("--out", type=Path, default=Path("logs/engines"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for folder in (path.parent for path in sorted(options.datasets.glob("*/queries"))):
        if options.sets and folder.name not in options.sets:
            continue
        for model in options.models:
            path = options.out / f"{folder.name}_{model.replace(':', '_')}.json"
            if not path.is_file():
                path.write_text(json.dumps(measure(folder, model)), encoding="utf-8")
            rows.append(make_row(folder.name, model, json.loads(path.read_text(encoding="utf-8"))))
            print(rows[-1], flush=True)
    header = [
        *("", "model", "queries", "R@1 of PyTorch, ONNX Runtime, OpenVINO", "queries with another order"),
        *("R@1 re-ranked (dense)", "queries with another order", "largest difference of descriptors"),
    ]
    write_table("recalls by engine", header, rows)


if __name__ == "__main__":
    main()
