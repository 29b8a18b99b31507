"""The folder of one run, ``logs/<save_dir>/<time>``: its options, its log, its results."""

from __future__ import annotations

import csv
import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.logging import RichHandler

from progeo.console import console
from progeo.errors import ProgeoError
from progeo.files import atomic_write

logger = logging.getLogger("progeo")
RESULTS = "results.json"
CONFIG = "config.yaml"
REPORT = "report.html"


def create_run_folder(save_dir: str, logs: str | Path = "logs") -> Path:
    """Create and return a folder of its own for a run that starts now."""
    time = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        folder = Path(logs) / save_dir / (time if attempt == 1 else f"{time}_{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue  # two runs started in the same second
        except OSError as error:
            raise ProgeoError(
                f"Cannot create the run folder {folder}: {error.strerror}. Start where you may write."
            ) from error
    raise ProgeoError(f"Cannot create a run folder below {Path(logs) / save_dir}.")


def log_to(folder: Path) -> None:
    """Send the log to the terminal and to ``log.txt`` in the folder, from now on and nowhere else."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S"))
    file_handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    file_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(file_handler)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write results as indented JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    """Write a table of figures; the last row names its columns."""
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
