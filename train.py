"""Train a model: the published command ``python3 train.py --train_set_folder …``.

It is ``progeo train`` with test photos in their own size.
"""

import sys

from progeo.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], published=True))
