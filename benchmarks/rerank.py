"""Re-ranking on real photographs: recall before and after, time and bytes, for each model.

    python -m benchmarks.rerank DATASETS [--models EfficientNet-Lite0 fit] [--sets NAME …] [--out logs/rerank]

DATASETS is a folder of test sets (each with ``database`` and ``queries``). Descriptors and keypoints are kept in the
output folder, and so are results, so that the script can be stopped and started again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.tables import write_table
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.evaluation_set import read_evaluation_set
from progeo.models.network import PlaceNetwork
from progeo.models.published import load_network
from progeo.search.keypoint_cache import FOLDER

RERANKERS = ("none", "dense", "sift", "both")


def load(name: str, database: Path) -> PlaceNetwork:
    """Return a model by its name; ``fit`` is fitted to the photos of the set's own database."""
    if name != "fit":
        return load_network(name)
    import progeo

    return progeo.fit(database)  # its own, as for a place database


def measure(folder: Path, model: str, rerank: str, network: PlaceNetwork, out: Path) -> dict[str, Any]:
    """Return R@1 in percent, milliseconds a query, and bytes of keypoints a photo; kept in the output folder."""
    path = out / f"{folder.name}_{model}_{rerank}.json"
    if not path.is_file():
        cache = out / f"{folder.name}_{model}_{rerank}"
        evaluation_set = read_evaluation_set(folder, cache_folder=out / "cache")
        settings: dict[str, Any] = {"descriptors_folder": out / f"{folder.name}_{model}", "cache_folder": cache}
        start = time.perf_counter()
        found = evaluate(network, evaluation_set, rerank=rerank, description=f"{folder.name}, {rerank}", **settings)
        seconds = time.perf_counter() - start
        files = list((cache / FOLDER).rglob("*.safetensors"))
        content = {
            "queries": len(evaluation_set.queries),
            "R@1": found.recalls[1],
            "milliseconds": 1000 * seconds / len(evaluation_set.queries),
            "bytes": sum(file.stat().st_size for file in files) / max(1, len(files)),
        }
        path.write_text(json.dumps(content))
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--models", nargs="+", default=["EfficientNet-Lite0", "fit"])
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("logs/rerank"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folders = [path.parent for path in sorted(options.datasets.glob("*/queries"))]
    rows = []
    for folder in folders:
        if options.sets and folder.name not in options.sets:
            continue
        row = [folder.name]
        for model in options.models:
            network = load(model, folder / "database")
            results = [measure(folder, model, rerank, network, options.out) for rerank in RERANKERS]
            row = [*row[:1], str(results[0]["queries"]), *row[2:], *(f"{result['R@1']:.1f}" for result in results)]
        rows.append(row)
    header = ["", "queries", *(f"{model}, {rerank}" for model in options.models for rerank in RERANKERS)]
    write_table("rerank", header, rows)


if __name__ == "__main__":
    main()
