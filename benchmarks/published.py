"""The published code of CosPlace and progeo on the same photos and weights, in turn, as whole processes: ratios.

    python -m benchmarks.published --repository COSPLACE --test_set_folder TEST [--train_set_folder TRAIN] [--pairs 3]

COSPLACE is a clone of github.com/gmberton/CosPlace; without one, a line says so. Both get the same random weights,
batch size, threads and photos, through the published command lines. Two things are put right for the published code,
neither in what is measured: NumPy's ``in1d``, which is gone, and the weights that it fetches before it loads the model
to evaluate, which are random ones in a folder of their own. Where the recalls of both differ, no ratio is printed.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tables import format_table

REPOSITORY = Path(__file__).resolve().parent.parent
PUT_RIGHT = """
import numpy
if not hasattr(numpy, "in1d"):
    numpy.in1d = numpy.isin
"""
RECALLS = re.compile(r"R@1: *([\d.]+), *R@5: *([\d.]+), *R@10: *([\d.]+)")


@dataclass(frozen=True)
class Run:
    """One process: how long it took, the most memory it had, and the recalls it printed."""

    seconds: float
    gigabytes: float
    recalls: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", required=True, help="a clone of CosPlace")
    parser.add_argument("--test_set_folder", required=True)
    parser.add_argument("--train_set_folder", help="measure a short training too")
    parser.add_argument("--backbones", nargs="+", default=["ResNet18", "ResNet50"])
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="of the training")
    parser.add_argument("--pairs", type=int, default=3, help="after one that warms both up")
    arguments = parser.parse_args()
    if not (Path(arguments.repository) / "eval.py").is_file():
        print(f"{arguments.repository} is no clone of CosPlace: nothing is measured.")
        return
    test = str(Path(arguments.test_set_folder).resolve())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for backbone in arguments.backbones:
            weights = prepare(folder, backbone)
            model = ["--backbone", backbone, "--fc_output_dim", "512"]
            common = ["--device", "cpu", "--num_workers", "2"]
            words = ["eval.py", *model, *common, "--resume_model", str(weights), "--test_set_folder", test]
            words += ["--infer_batch_size", str(arguments.batch_size)]
            rows.append(compare(f"evaluation, {backbone}", words, Path(arguments.repository), folder, arguments.pairs))
            if arguments.train_set_folder:
                train = str(Path(arguments.train_set_folder).resolve())
                words = ["train.py", *model, *common, "--train_set_folder", train, "--val_set_folder", test]
                words += ["--test_set_folder", test, "--epochs_num", "1", "--groups_num", "1"]
                words += ["--iterations_per_epoch", str(arguments.steps), "--batch_size", str(arguments.batch_size)]
                name = f"{arguments.steps} training steps and two evaluations, {backbone}"
                rows.append(compare(name, words, Path(arguments.repository), folder, arguments.pairs))
    header = ["whole process", "published, median (least)", "progeo", "ratio, pair by pair", "memory", "recalls"]
    print(format_table(header, rows))


def prepare(folder: Path, backbone: str) -> Path:
    """Write random weights: those to evaluate, returned, and those that the published code would fetch."""
    import torch
    import torchvision

    from progeo.models.building import create_model

    (folder / "sitecustomize.py").write_text(PUT_RIGHT, encoding="utf-8")
    path = folder / f"{backbone}.pth"
    torch.save(create_model(backbone, descriptor_dim=512, weights="none").state_dict(), path)
    weights = torchvision.models.get_model_weights(backbone.lower())
    for one in weights:
        place = folder / "torch" / "hub" / "checkpoints" / Path(one.url).name
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torchvision.models.get_model(backbone.lower()).state_dict(), place)
    return path


def compare(name: str, words: list[str], repository: Path, folder: Path, pairs: int) -> list[str]:
    """Run both, in turn, and return the row of the table."""
    runs: list[tuple[Run, Run]] = []
    for _ in range(pairs + 1):
        runs.append((run(words, repository, folder), run(words, REPOSITORY, folder)))
    theirs, ours = ([pair[side] for pair in runs[1:]] for side in (0, 1))
    ratios = [pair[0].seconds / pair[1].seconds for pair in runs[1:]]
    is_same = len({one.recalls for pair in runs for one in pair}) == 1 or "training" in name
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    memory = f"{max(one.gigabytes for one in theirs):.1f}, {max(one.gigabytes for one in ours):.1f} GB"
    described = [describe([one.seconds for one in side]) for side in (theirs, ours)]
    return [name, *described, ratio if is_same else "", memory, "equal" if is_same else "differ"]


def describe(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} s ({min(seconds):.1f})"


def run(words: list[str], repository: Path, folder: Path) -> Run:
    """Run a published command of a repository in a process of its own, and say how it went."""
    search = [str(folder), *([str(REPOSITORY / "src")] if repository == REPOSITORY else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search), "TORCH_HOME": str(folder / "torch")}
    work = folder / repository.name
    work.mkdir(exist_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(repository.resolve() / words[0]), *words[1:]],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{repository / words[0]} failed:\n{output[-2000:]}")
    found = RECALLS.findall(output)
    return Run(time.perf_counter() - start, usage.ru_maxrss / 1e6, found[-1] if found else ())


if __name__ == "__main__":
    main()
