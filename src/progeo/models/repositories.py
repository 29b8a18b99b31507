"""Models of the Hugging Face Hub: ``hf:OWNER/NAME``, and writing there. Only safetensors are read.

The client is the Hub's own, so that its cache, ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` count as elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from progeo.console import console
from progeo.errors import ProgeoError, require
from progeo.models.files import load_model_file
from progeo.models.network import PlaceNetwork

PREFIX = "hf:"
ADDRESS = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+)(?:@(\S+))?")
MODEL_FILE = "model.safetensors"


def is_repository(name: str) -> bool:
    """Whether a model's name is one of the Hub."""
    return name.startswith(PREFIX)


def parse_repository(name: str) -> tuple[str, str | None]:
    """Return ``OWNER/NAME`` and the revision, if one is given.

    Raises:
        ProgeoError: it does not read so.
    """
    found = ADDRESS.fullmatch(name)
    if found is None or ".." in name or "--" in name:
        raise ProgeoError(
            f"{name} is no repository of the Hugging Face Hub: write OWNER/NAME, to load it hf:OWNER/NAME or "
            "hf:OWNER/NAME@REVISION."
        )
    return found[1], found[2]


def load_from_hub(name: str, *, trust_remote_code: bool = False, device: str = "cpu") -> PlaceNetwork:
    """Return a model of the Hub in evaluation mode, and say which revision it is and under which licence.

    Raises:
        ProgeoError: there is no such model, it cannot be fetched, or it is no model file of progeo.
    """
    hub = require("huggingface_hub", f"Loading {name}")
    repository, revision = parse_repository(name)
    with explain_errors(name):
        path = Path(
            hub.hf_hub_download(repository, MODEL_FILE, revision=revision, endpoint=os.environ.get("HF_ENDPOINT"))
        )
    try:
        network = load_model_file(path, trust_remote_code=trust_remote_code, device=device)
    except ProgeoError as error:
        raise ProgeoError(f"{MODEL_FILE} of {name} cannot be used: {error}") from error
    licence = network.spec.licence or "none stated"
    console.print(f"{name}: revision {path.parent.name}, licence of the weights: {licence}", markup=False)
    return network


def push_folder(folder: Path, repository: str) -> str:
    """Upload a folder to a repository, which is made where it does not exist; return its address.

    Raises:
        ProgeoError: it cannot be written.
    """
    hub = require("huggingface_hub", "Uploading a model")
    with explain_errors(repository):
        api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Model of progeo with its card")
    return str(address)


@contextmanager
def explain_errors(name: str) -> Iterator[None]:
    """Turn the errors of the Hub's client into one sentence; no token is in it."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ProgeoError(
            f"{name} is gated: accept its terms on its page, then log in with: hf auth login (or HF_TOKEN)."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ProgeoError(
            f"There is no repository {name} on the Hub, or it is private: check the name, or log in with: hf auth "
            "login (or HF_TOKEN)."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ProgeoError(f"{name}: the repository has no such revision. Give a branch, a tag or a commit.") from error
    except errors.LocalEntryNotFoundError as error:
        reason = "HF_HUB_OFFLINE is set" if _is_offline() else "the Hub cannot be reached"
        raise ProgeoError(
            f"{name} is not in the cache of this machine, and {reason}. Fetch it once with a network, or give the file."
        ) from error
    except errors.EntryNotFoundError as error:
        raise ProgeoError(
            f"{name} holds no {MODEL_FILE}, which is all that progeo reads from the Hub: it is no model of progeo."
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ProgeoError(f"{name} cannot be reached: HF_HUB_OFFLINE is set.") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        login = " Log in with: hf auth login (or HF_TOKEN), with the right to write." if status in (401, 403) else ""
        raise ProgeoError(f"{name}: the Hub answered {status}.{login}") from error
    except (errors.HTTPError, OSError) as error:  # of the HTTP library that the client uses
        raise ProgeoError(f"{name}: the Hub cannot be reached ({type(error).__name__}).") from error


def _is_offline() -> bool:
    from huggingface_hub.constants import is_offline_mode

    return bool(is_offline_mode())
