"""Attacks, crashes and a machine at its limits: nothing is lost, nothing is wrong, one clear message each.

    python -m benchmarks.hostile [--parts uploads kills files limits] [--share 1.0] [--minutes 8]

- ``uploads``: 1,200 hostile uploads to ``progeo serve``, with good photos among them; then idle connections.
- ``kills``: 200 kills at random moments, over all commands; the command then ends as an undisturbed one.
- ``files``: 100 damaged files, over all readers.
- ``limits``: a full disk (a file system in memory, which takes root on Linux), folders that may not be written, few
  file descriptors, little memory.

A ``share`` below 1 does less of each. Each part ends after so many minutes, whatever it has done by then. Everything
lies in a temporary folder, and nothing but this machine is asked. ``--write`` puts the tables into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks import tables
from benchmarks.hostile import files, kills, limits, uploads

COUNTS = {"uploads": 1200, "kills": 200, "files": 100, "limits": 100}
HEADERS = {
    "uploads": ["upload", "sent", "answers", "slowest"],
    "kills": ["command", "kills", "ended before", "undisturbed"],
    "files": ["reader", "damaged files", "refused in one message", "read all the same"],
    "limits": ["limit", "commands", "done", "refused in one message"],
}
PARTS = {"uploads": uploads.run, "kills": kills.run, "files": files.run, "limits": limits.run}
DOCUMENT = tables.DOCUMENT.with_name("reliability.md")


def main() -> None:
    """Run the parts and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reliability.md")
    options = parser.parse_args()
    failed = 0
    for part in options.parts:
        count = max(1, round(options.share * COUNTS[part]))
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            rows, problems = PARTS[part](Path(folder), count, time.monotonic() + 60 * options.minutes, options.seed)
        text = tables.format_table(HEADERS[part], rows)
        print(f"{text}\n\n{part}: {len(problems)} problems", flush=True)
        for problem in problems:
            print(f"- {problem}", flush=True)
        failed += len(problems)
        if options.write:
            tables.replace_section(part, text, DOCUMENT)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
