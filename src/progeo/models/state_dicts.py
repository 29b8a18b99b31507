"""Reading tensors from files, safely, and saying how they differ from what a network needs."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from progeo.errors import ProgeoError
from progeo.files import read_bytes

SHOWN = 3
"""How many differing tensors an error names."""


def read_tensors(path: str | Path, where: object = None) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a state dict from a safetensors file or a ``.pth`` file of plain tensors, onto the CPU.

    Checkpoints that hold the state dict under ``model_state_dict`` (as published CosPlace runs leave them) or
    ``state_dict`` (open_clip), names that start with ``module.`` (data parallel training), and TorchScript archives, as
    OpenAI publishes CLIP, are understood.

    Args:
        path: the file.
        where: what errors call it; without it its path.

    Returns:
        The tensors by name, and the metadata of a safetensors file (empty for others).

    Raises:
        ProgeoError: the file is missing, corrupt, truncated, or holds anything but tensors. No code of the file runs.
    """
    path, where = Path(path), str(where or path)
    try:
        start = read_bytes(path, 1024)
    except OSError as error:
        raise ProgeoError(f"Cannot read the model file {where}: {error.strerror or error}.") from error
    is_safetensors = start[8:9] == b"{"  # eight bytes of length, then a JSON object
    if is_web_page(start):
        raise ProgeoError(f"{where} is a web page, not a model file. Follow its links to the file itself.")
    try:
        if is_safetensors:
            with safe_open(path, framework="pt", device="cpu") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        if _is_torchscript(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is no longer developed, but CLIP is published in it
                return dict(torch.jit.load(path, map_location="cpu").state_dict()), {}  # type: ignore[no-untyped-call]
        with allow_numpy_scalars():
            # Mapped, so that tensors of the wrong names and shapes are never read.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:  # whose advice is to run the file's code
        raise ProgeoError(
            f"{where} is no model file, or a damaged one, or holds more than plain tensors. Model files are "
            "safetensors or .pth files of plain tensors."
        ) from error
    except Exception as error:  # the readers raise almost anything on a broken file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ProgeoError(
            f"{where} is no model file, or a damaged one. Model files are safetensors or .pth files that hold plain "
            f"tensors only. The reader says: {reason}"
        ) from error
    return _unwrap(content, where), {}


def check_tensors(
    given: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: str | Path, what: str
) -> None:
    """Raise ProgeoError, naming a few differences, unless ``given`` has exactly the names and shapes of ``expected``.

    ``what`` names the network that ``expected`` belongs to, ``path`` the place ``given`` came from.
    """
    differences = [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    groups = {
        "other shape": differences,
        "missing": [name for name in expected if name not in given],
        "not part of it": [name for name in given if name not in expected],
    }
    if any(groups.values()):
        details = "; ".join(
            f"{label}: {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"
            for label, names in groups.items()
            if names
        )
        raise ProgeoError(f"The tensors of {path} are not those of {what}: {details}.")


def is_web_page(start: bytes) -> bool:
    """Tell by its first bytes a page (HTML), which servers give in place of what they do not give, from a file."""
    return start.lstrip().startswith(b"<")


def _is_torchscript(path: Path) -> bool:
    """Tell a TorchScript archive, which is loaded without running any Python of it, from a file of torch.save."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _unwrap(content: Any, path: str) -> dict[str, torch.Tensor]:
    for key in ("model_state_dict", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise ProgeoError(f"{path} is no model file: it holds a {type(content).__name__} without named tensors.")
    others = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ProgeoError(
            f"{path} is no model file: its entries {', '.join(others[:SHOWN])} are no tensors. It must hold the "
            "network's state_dict() alone, or under model_state_dict."
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


@contextmanager
def allow_numpy_scalars() -> Iterator[None]:
    """Let torch read numpy scalars: published checkpoints keep their best recall as one."""
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    scalars = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]  # before and since numpy 2
    with torch.serialization.safe_globals([np.dtype, *dtypes, *scalars]):
        yield
