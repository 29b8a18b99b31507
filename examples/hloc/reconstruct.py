"""Reconstruct a place from photos with hloc (v1.4 or later), which photos to match by progeo.

Usage: python reconstruct.py IMAGES OUT MODEL, where MODEL is what ``progeo pairs --model`` takes.
"""

import subprocess
import sys
from pathlib import Path

from hloc import extract_features, match_features, reconstruction

images, out, model = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
out.mkdir(parents=True, exist_ok=True)
pairs = out / "pairs.txt"
subprocess.run(["progeo", "pairs", images, "--model", model, "--out", pairs, "--top", "20"], check=True)

features, matches = extract_features.confs["aliked-n16"], match_features.confs["aliked+lightglue"]
feature_file = extract_features.main(features, images, out)
match_file = match_features.main(matches, pairs, features["output"], out)
reconstruction.main(out / "sfm", images, pairs, feature_file, match_file)
