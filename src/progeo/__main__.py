"""``python -m progeo``: the same as ``progeo``, for what starts Python modules, such as torchrun."""

import sys

from progeo.cli import main

if __name__ == "__main__":
    sys.exit(main())
