"""How long it takes until progeo answers: the wall time of new processes, the least of some tries.

python -m benchmarks.imports [--tries 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.tables import format_table

STARTS = {
    "python": "pass",
    "import progeo": "import progeo",
    "import progeo.cli.program": "import progeo.cli.program",
    **{
        " ".join(["progeo", *words]): f"import sys; from progeo.cli import main; sys.exit(main({words}))"
        for words in (["--help"], ["locate", "--help"], ["train", "--help"], ["data", "check", "--help"])
    },
}


def measure(code: str, tries: int) -> float:
    """Return the seconds that a new Python takes to run some code, at best."""
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        try:
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        finally:
            seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=5)
    tries = parser.parse_args().tries
    print(format_table(["start", "seconds"], [[name, f"{measure(code, tries):.2f}"] for name, code in STARTS.items()]))


if __name__ == "__main__":
    main()
