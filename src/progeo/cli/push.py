"""``progeo push``: a model with its card to the Hugging Face Hub."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from progeo.cli.options import REQUIRED, option
from progeo.cli.spelling import say
from progeo.errors import ProgeoError


@dataclass(kw_only=True)
class PushOptions:
    """Push"""

    model: str = option(REQUIRED, "the model file, .safetensors", positional=True)
    repository: str = option(REQUIRED, "where it goes: OWNER/NAME on the Hub", positional=True)
    results: list[str] | None = option(
        None,
        "files results.json of progeo eval of this model, whose recalls go onto the card with protocol and data set",
    )
    trained_on: str | None = option(None, "the data that it was trained on, in words; without it the folder's name")
    data_licence: str | None = option(None, "licence of that data")
    dry_run: bool = option(False, "only write the folder that would be uploaded, as NAME in the current folder")


def run(options: PushOptions) -> None:
    """Write model and card into a folder, and upload it."""
    from progeo.models.card import write_card
    from progeo.models.files import load_model_file
    from progeo.models.repositories import MODEL_FILE, PREFIX, parse_repository, push_folder

    repository, revision = parse_repository(options.repository.removeprefix(PREFIX))
    if revision is not None:
        raise ProgeoError(f"{options.repository}: what is uploaded gets a revision of its own; leave out @{revision}.")
    path = Path(options.model)
    if path.suffix != ".safetensors" or not path.is_file():
        raise ProgeoError(
            f"There is no model file {path} with the ending .safetensors. progeo train and fit write such."
        )
    spec = load_model_file(path).spec
    card = write_card(
        spec,
        repository,
        command=f"progeo index PHOTOS --model {PREFIX}{repository} --database my_town",
        results=[Path(file) for file in options.results or []],
        trained_on=options.trained_on,
        data_licence=options.data_licence,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(repository.partition("/")[2]) if options.dry_run else Path(temporary)
        if options.dry_run and folder.exists():
            raise ProgeoError(f"`dry_run` writes the folder {folder}, which is there already. Move it away first.")
        folder.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / MODEL_FILE)
        (folder / "README.md").write_text(card, encoding="utf-8")
        if options.dry_run:
            licence = spec.licence or "none stated"
            say(f"{folder}: {MODEL_FILE} and README.md, as they would be uploaded; licence {licence}")
            return
        address = push_folder(folder, repository)
    say(f"{address}: uploaded. progeo index PHOTOS --model hf:{repository} uses it.")
