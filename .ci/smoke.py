"""Use the installed package: a model, its file, a descriptor, a page, and all data files that go with the code."""

import sys
from importlib.resources import files
from pathlib import Path

import numpy as np

import progeo
from progeo.html.pages import render_page
from progeo.models.files import save_model

DATA = (
    *("py.typed", "html/static/map.js", "html/static/leaflet/leaflet.js", "serve/static/app.js"),
    *("locating/default_calibration.json", "evaluation/published_figures.json"),
    "models/backbones/lite_clip.safetensors",
)

where = Path(progeo.__file__)
assert where.is_relative_to(Path(sys.argv[1])), f"progeo is imported from {where}, not from the wheel"
save_model("model.safetensors", progeo.create_model("timm:test_resnet", descriptor_dim=8, weights="none"))
assert progeo.load_model("model.safetensors").encode(np.zeros((64, 48, 3), np.uint8)).shape == (1, 8)
assert "</html>" in render_page("serve/templates/index.html", settings="{}", local_frame=False, compares=False)
missing = [name for name in DATA if not files("progeo").joinpath(name).is_file()]
assert not missing, f"the wheel lacks {missing}"
print(f"The wheel works: progeo {progeo.__version__}")
