"""Evaluate a model: the published command ``python3 eval.py --resume_model …``, the same as ``progeo eval``."""

import sys

from progeo.cli import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
