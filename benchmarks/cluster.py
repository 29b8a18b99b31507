"""Indexing on a Ray cluster of this machine: what is left after workers and drivers were killed at random moments.

    python -m benchmarks.cluster [--photos 2000] [--kills 20]

``progeo index --cluster ray`` is started, and every few seconds either the driver or one of its workers gets a SIGKILL.
A run that has lost a worker goes on; where the driver is gone, the same command is given again. Whenever one ends well,
the database must hold each photo once, with the descriptor that one process gives it; then another one is begun.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from progeo.models.building import create_model
from progeo.models.files import save_model
from progeo.places.database import PlaceDatabase

SHARDS = 8
LONGEST_WAIT = 15.0
"""Seconds between two kills."""


def make_photos(folder: Path, count: int) -> None:
    """Write photos of noise, 10 m apart."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"@{500005 + 10 * number}@4000005@31@S@@@{number}@@0@@@@@@.jpg")


def find_workers(driver: int) -> list[int]:
    """Return the worker processes of the cluster that a driver has started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], stdout=subprocess.PIPE, text=True, check=True).stdout
    processes = {}
    for line in listed.splitlines()[1:]:
        pid, parent, *arguments = line.split(None, 2)
        processes[int(pid)] = int(parent), "".join(arguments)

    def is_below(pid: int) -> bool:
        return pid == driver or (pid in processes and is_below(processes[pid][0]))

    return [pid for pid, (_, name) in processes.items() if name.startswith("ray::Worker") and is_below(pid)]


def read_rows(database: Path) -> dict[str, list[float]]:
    """Return the descriptor of each photo; ``KeyError`` where one is there twice."""
    with PlaceDatabase.open(database) as opened:
        table = opened._tables.read_columns("path", "descriptor")
    rows = dict(table.rows())
    if len(rows) != len(table):
        raise KeyError(f"{len(table) - len(rows)} photos are doubled")
    return {path: list(descriptor) for path, descriptor in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    moments = random.Random(0)
    killed = {"driver": 0, "worker": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder / "photos", options.photos)
        network = create_model("timm:test_resnet", descriptor_dim=512, weights="none").eval()
        network.set_image_size(96)
        save_model(folder / "model.safetensors", network, training={}, metrics={}, licence="none")
        index = [sys.executable, "-m", "progeo", "index", str(folder / "photos"), "--device", "cpu"]
        index += ["--model", str(folder / "model.safetensors"), "--cache_folder", str(folder / "cache")]
        cluster = [*index, "--database", str(folder / "places"), "--cluster", "ray", "--shards", str(SHARDS)]
        start = time.perf_counter()
        subprocess.run([*index, "--database", str(folder / "one")], check=True, stderr=subprocess.DEVNULL)
        print(f"one process: {time.perf_counter() - start:.0f} s", flush=True)
        right = read_rows(folder / "one")
        runs = databases = 0
        while sum(killed.values()) < options.kills or (folder / "places").exists():
            runs, start = runs + 1, time.perf_counter()
            with subprocess.Popen(cluster, stderr=subprocess.PIPE, text=True) as driver:
                while sum(killed.values()) < options.kills and driver.poll() is None:
                    time.sleep(moments.uniform(0.0, LONGEST_WAIT))
                    workers = find_workers(driver.pid)
                    if driver.poll() is None:
                        what = "worker" if workers and moments.random() < 0.7 else "driver"
                        os.kill(moments.choice(workers) if what == "worker" else driver.pid, signal.SIGKILL)
                        killed[what] += 1
                _, said = driver.communicate()
            print(f"run {runs}: exit {driver.returncode}, {time.perf_counter() - start:.0f} s, {killed}", flush=True)
            if driver.returncode == 0:
                if read_rows(folder / "places") != right:
                    raise SystemExit(f"The database differs from that of one process. {said}")
                databases += 1
                shutil.rmtree(folder / "places")
            elif driver.returncode != -signal.SIGKILL and "its worker died" not in said:
                raise SystemExit(said)
    print(
        f"{options.photos:,} photos in {SHARDS} shards: the driver killed {killed['driver']} times, a worker "
        f"{killed['worker']} times in {runs} runs; all {databases} databases as one process makes them"
    )


if __name__ == "__main__":
    main()
