"""Folders and files that another user may not read or write: one clear message, or what can be done without them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.hostile.running import give_away

from progeo.data.table import read_photos
from progeo.places.database import PlaceDatabase

from ..limits import Nobody, needs_root
from ..places.conftest import model_file  # noqa: F401 - a fixture

pytestmark = needs_root
SMALL = ["--device", "cpu", "--num_workers", "1"]


@pytest.fixture(scope="module")
def place(tiny_city: Path, model_file: Path) -> Iterator[Path]:  # noqa: F811
    """A folder that everybody may read, and nobody but root write: photos, a model, a database; and one to work in."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        shutil.copytree(tiny_city / "test", place / "test")
        shutil.copytree(tiny_city / "train", place / "train")
        shutil.copytree(tiny_city / "val", place / "val")
        shutil.copy(model_file, place / "model.safetensors")
        with PlaceDatabase.create(place / "places", place / "model.safetensors") as database:
            database.add(read_photos(place / "test/database", None))
        (place / "work").mkdir()
        give_away(place)
        (place / "work").chmod(0o777)
        yield place


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nobody]:
    runner = Nobody(tmp_path_factory.mktemp("nobody"))
    yield runner
    runner.close()


def list_all(place: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in place.rglob("*") if path.is_file())


INDEX = ["index", "test/queries", "--model", "model.safetensors", "--database", "work/p", "--cache_folder", "work/c"]
EVAL = ["eval", "--model", "model.safetensors", "--test_set_folder", "test"]
TRAINING = [
    *("--backbone", "timm:test_resnet", "--backbone_weights", "none", "--M", "10", "--alpha", "360", "--N", "1"),
    *("--groups_num", "1", "--min_images_per_class", "4", "--batch_size", "4", "--epochs_num", "1"),
    *("--iterations_per_epoch", "1", "--image_size", "32", "--fc_output_dim", "16"),
    *("--train_set_folder", "train", "--val_set_folder", "val", "--test_set_folder", "test"),
]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["index", "test/queries", "--model", "model.safetensors", "--database", "new", *SMALL], ["cache"]),
        (["index", "test/queries", "--database", "places", "--cache_folder", "work/c", *SMALL], ["places"]),
        (["calibrate", "--queries", "test/queries", "--database", "places", *SMALL], ["cache"]),
        (["data", "convert", "test/database", "o.csv", "--cache_folder", "work/c"], ["o.csv"]),
        ([*EVAL, *SMALL, "--cache_folder", "work/c"], ["logs"]),
        (["train", *TRAINING, *SMALL, "--cache_folder", "work/c"], ["logs"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)  # fmt: skip
def test_a_folder_that_may_not_be_written(place: Path, nobody: Nobody, arguments: list[str], names: list[str]) -> None:
    before = list_all(place)
    code, text = nobody.run(arguments, place)
    assert code == 2, text
    assert text.count("Error: ") == 1 and "Traceback" not in text
    message = " ".join(text.partition("Error: ")[2].split())
    assert "ermission denied" in message and all(name in message for name in names), message
    shutil.rmtree(place / "work/c", ignore_errors=True)
    assert list_all(place) == before


def test_a_database_is_asked_without_the_right_to_write(place: Path, nobody: Nobody) -> None:
    before = list_all(place)
    code, text = nobody.run(["locate", "test/queries", "--database", "places", "--json", *SMALL], place)
    assert code == 0, text
    assert text.count('"matches"') == 8 and list_all(place) == before


@pytest.mark.parametrize(
    ("hidden", "arguments", "said"),
    [
        ("test/database", ["data", "convert", "test/database", "work/o.csv"], "Cannot list the folder"),
        ("model.safetensors", INDEX, ""),
        ("places", ["locate", "test/queries", "--database", "places"], ""),
        ("test/database", EVAL, "Cannot list the folder"),
    ],
)  # fmt: skip
def test_what_may_not_be_read_is_named(
    place: Path, nobody: Nobody, hidden: str, arguments: list[str], said: str
) -> None:
    mode = (place / hidden).stat().st_mode
    (place / hidden).chmod(0)
    try:
        code, text = nobody.run([*arguments, *([] if arguments[0] == "data" else SMALL)], place)
    finally:
        (place / hidden).chmod(mode)
    assert code == 2 and text.count("Error: ") == 1 and "Traceback" not in text, text
    message = " ".join(text.partition("Error: ")[2].split())
    assert hidden in message and "ermission denied" in message and said in message, message


def test_a_photo_that_may_not_be_read_is_left_out_and_counted(place: Path, nobody: Nobody) -> None:
    hidden = sorted((place / "test/database").iterdir())[3]
    hidden.chmod(0)
    try:
        arguments = ["index", "../test/database", "--model", "../model.safetensors", "--database", "new", *SMALL]
        code, text = nobody.run(arguments, place / "work")
    finally:
        hidden.chmod(0o644)
    said = " ".join(text.split())
    assert code == 0 and hidden.name in said.replace(" ", "") and "ermission denied" in said, text
    with PlaceDatabase.open(place / "work/new") as database:
        assert len(database) == 7
    shutil.rmtree(place / "work")
    (place / "work").mkdir(mode=0o777)
    (place / "work").chmod(0o777)
