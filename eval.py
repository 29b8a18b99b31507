"""Evaluate a model: the published command ``python3 eval.py --resume_model …``.

It is ``progeo eval`` with photos in their own size.
"""

import sys

from progeo.cli import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]], published=True))
