"""The torch.hub entry: ``torch.hub.load(repository, "get_trained_model", backbone="ResNet50", fc_output_dim=2048)``."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("progeo") is None:  # a plain clone, not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from progeo.models.published import get_trained_model  # noqa: F401

dependencies = ["torch", "torchvision", "numpy", "PIL", "rich", "safetensors"]
