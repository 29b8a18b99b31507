"""The published code of CosPlace and progeo on the same photos and weights, in turn: ratios.

    python -m benchmarks.published --repository COSPLACE [--test_set_folder TEST] [--parts grouping step] [--pairs 3]

COSPLACE is a clone of github.com/gmberton/CosPlace; without one, a line says so. With a test set, both evaluate it as
whole processes through the published command line. The parts are those of ``benchmarks.published_parts``: names to
groups, a training step, and steps of ProGEO's two stages, whose published side is written from its description.

Both get the same random weights, batch size, threads and photos, in alternation; the first pair warms both up, and
progeo's first evaluation makes the graph that the others find. Three things are put right for the published code, none
in what is measured: NumPy's ``in1d``, which is gone; scikit-image, which only its pictures need, where it is missing;
and the weights that it fetches before it loads the model to evaluate, which are random ones. Where the recalls of both
differ, no ratio is printed. On a busy machine the ratio of the processors' time says more than that of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.tables import format_table

REPOSITORY = Path(__file__).resolve().parent.parent
PARTS = ("grouping", "step", "stage 1", "stage 2")
PUT_RIGHT = """
import numpy
if not hasattr(numpy, "in1d"):
    numpy.in1d = numpy.isin
"""
RECALLS = re.compile(r"R@1: *([\d.]+), *R@5: *([\d.]+), *R@10: *([\d.]+)")
HEADER = [
    *("", "published: median (least)", "progeo", "ratio, pair by pair"),
    *("published, on the processors", "progeo", "ratio", "memory", "recalls"),
]


@dataclass(frozen=True)
class Run:
    """How long something took, on the clock and on the processors, and the recalls it printed."""

    seconds: float
    processor_seconds: float
    gigabytes: float = 0.0
    recalls: tuple[str, ...] = ()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", required=True, help="a clone of CosPlace")
    parser.add_argument("--test_set_folder", help="evaluate it, as whole processes")
    parser.add_argument("--backbones", nargs="+", default=["ResNet18", "ResNet50"], help="of the evaluation")
    parser.add_argument("--parts", nargs="*", default=[], choices=PARTS)
    parser.add_argument("--small", action="store_true", help="parts at a tiny size, to try the script out")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=int, default=3, help="after one that warms both up")
    arguments = parser.parse_args()
    repository = Path(arguments.repository).resolve()
    if not (repository / "eval.py").is_file():
        print(f"{arguments.repository} is no clone of CosPlace: nothing is measured.")
        return
    print(format_table(HEADER, []), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {"OMP_NUM_THREADS": str(arguments.threads), "TORCH_HOME": str(folder / "torch")}
        os.environ.update(environment, XDG_CACHE_HOME=str(folder / "cache"))
        for part in arguments.parts:
            weights = prepare(folder, "ResNet18")
            show(part, *measure_part(part, repository, folder, arguments.pairs, small=arguments.small))
        for backbone in arguments.backbones if arguments.test_set_folder else ():
            weights = prepare(folder, backbone)
            words = ["eval.py", "--backbone", backbone, "--fc_output_dim", "512", "--resume_model", str(weights)]
            words += ["--device", "cpu", "--num_workers", "2", "--infer_batch_size", str(arguments.batch_size)]
            words += ["--test_set_folder", str(Path(arguments.test_set_folder).resolve())]
            sides = [lambda place=place: run(words, place, folder) for place in (repository, REPOSITORY)]  # type: ignore[misc] # noqa: B023
            show(f"evaluation, {backbone}", *alternate(sides[0], sides[1], arguments.pairs))


def alternate(theirs: Callable[[], Run], ours: Callable[[], Run], pairs: int) -> tuple[list[Run], list[Run]]:
    """Run both, in turn, and return the runs of each after the first."""
    runs = [(theirs(), ours()) for _ in range(pairs + 1)]
    return [pair[0] for pair in runs[1:]], [pair[1] for pair in runs[1:]]


def show(name: str, theirs: list[Run], ours: list[Run]) -> None:
    """Print a row of the table."""
    is_same = len({one.recalls for one in (*theirs, *ours)}) == 1
    columns = []
    for kind in ("seconds", "processor_seconds"):
        sides = [[getattr(one, kind) for one in side] for side in (theirs, ours)]
        ratios = [one / other for one, other in zip(*sides, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        columns += [*(f"{statistics.median(side):.2f} s ({min(side):.2f})" for side in sides), ratio if is_same else ""]
    memory = ", ".join(f"{max(one.gigabytes for one in side):.2f}" for side in (theirs, ours))
    recalls = ("equal" if is_same else "differ") if theirs[0].recalls else ""
    print("| " + " | ".join([name, *columns, f"{memory} GB", recalls]) + " |", flush=True)


def measure_part(
    part: str, repository: Path, folder: Path, pairs: int, *, small: bool = False
) -> tuple[list[Run], list[Run]]:
    """Let a process of each side do a part of a training, in turn."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.published_parts", side, part, str(repository), str(int(small))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY), str(REPOSITORY / "src")])},
        )
        for side in ("published", "progeo")
    ]

    def ask(worker: subprocess.Popen[str], line: str) -> str:
        assert worker.stdin and worker.stdout
        worker.stdin.write(f"{line}\n")
        worker.stdin.flush()
        if answer := worker.stdout.readline():
            return answer
        raise SystemExit(f"{' '.join(map(str, worker.args))} failed")  # type: ignore[arg-type]

    sides = [lambda worker=worker: Run(*json.loads(ask(worker, "work"))) for worker in workers]  # type: ignore[misc]
    theirs, ours = alternate(sides[0], sides[1], pairs)
    peaks = [json.loads(ask(worker, "")) for worker in workers]
    for worker in workers:
        worker.communicate()
    theirs, ours = (
        [Run(one.seconds, one.processor_seconds, peak) for one in side]
        for side, peak in zip((theirs, ours), peaks, strict=True)
    )
    return theirs, ours


def prepare(folder: Path, backbone: str) -> Path:
    """Write random weights: those to evaluate, returned, and those that the published code would fetch."""
    import torch
    import torchvision

    from progeo.models.building import create_model

    (folder / "sitecustomize.py").write_text(PUT_RIGHT, encoding="utf-8")
    if find_spec("skimage") is None:
        (folder / "skimage").mkdir(exist_ok=True)
        (folder / "skimage" / "__init__.py").touch()
        (folder / "skimage" / "transform.py").write_text("rescale = None\n", encoding="utf-8")
    path = folder / f"{backbone}.pth"
    torch.save(create_model(backbone, descriptor_dim=512, weights="none").state_dict(), path)
    weights = torchvision.models.get_model_weights(backbone.lower())
    for one in weights:
        place = folder / "torch" / "hub" / "checkpoints" / Path(one.url).name
        place.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torchvision.models.get_model(backbone.lower()).state_dict(), place)
    return path


def run(words: list[str], repository: Path, folder: Path) -> Run:
    """Run a published command of a repository in a process of its own, and say how it went."""
    search = [str(folder), *([str(REPOSITORY / "src")] if repository == REPOSITORY else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search)}
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
    used = usage.ru_utime + usage.ru_stime
    return Run(time.perf_counter() - start, used, usage.ru_maxrss / 1e6, found[-1] if found else ())


if __name__ == "__main__":
    main()
