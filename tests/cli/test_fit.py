"""``progeo fit``, and the recipe ``fit`` in ``progeo index`` and ``progeo eval``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from progeo.cli import main
from progeo.places.database import PlaceDatabase

SMALL = ["--image_size", "64", "--device", "cpu"]


@pytest.fixture
def city(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_city


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    return " ".join(capsys.readouterr().err.split())


def test_fit_writes_a_model_and_says_how_to_use_it(city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(city / "train"), *SMALL, "--words", "8", "--model_out", "model.safetensors"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "head vlad, 2176 dimensions; words of" in said
    assert "progeo index PHOTOS --model model.safetensors --database DATABASE" in said
    assert not list(Path("cache/fit").glob("*"))
    reduce = ["--device", "cpu", "--pca", "4", "--model_out", "small.safetensors"]
    assert main(["fit", str(city / "train"), "--model", "model.safetensors", *reduce]) == 0
    assert "head pca, 4 dimensions" in capsys.readouterr().err
    assert main(["index", str(city / "test/database"), "--model", "small.safetensors", "--database", "places"]) == 0
    assert PlaceDatabase.open("places").descriptor_dim == 4


def test_a_database_keeps_the_model_that_was_fitted_to_its_photos(
    city: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = ["--database", "places", "--model", "fit", *SMALL]
    shutil.copytree(city / "test/database", "photos")
    assert main(["index", "photos", *index]) == 0
    assert "Fitted: EfficientNet-Lite0, head vlad, 8448 dimensions" in capsys.readouterr().err
    with PlaceDatabase.open("places") as places:
        kept = places.fingerprint
        queries = sorted((city / "test/queries").iterdir())
        found = [Path(estimate.matches[0].path).name for estimate in places.locate(queries)]
        assert found == [query.name for query in queries]
    shutil.copytree(city / "val/database", "photos/more")
    for more in ([], ["--rebuild"]):
        assert main(["index", "photos", *index, *more]) == 0
        assert "keeps the model that was fitted before; --rebuild --refit fits it anew" in capsys.readouterr().err
        with PlaceDatabase.open("places") as places:
            assert (places.fingerprint, len(places)) == (kept, 16)
    assert main(["index", *index, "--rebuild", "--refit"]) == 0
    with PlaceDatabase.open("places") as places:
        assert places.fingerprint != kept and len(places) == 16
    said = error_of(["index", "photos", "--database", "places", "--model", "fit:ResNet18"], capsys)
    assert "of another model than fit:ResNet18" in said


def test_evaluation_fits_to_the_photos_of_the_database(city: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = ["eval", "--test_set_folder", str(city / "test"), *SMALL, "--no_report"]
    assert main([*evaluate, "--model", "fit", "--model", "EfficientNet-Lite0"]) == 0
    said = capsys.readouterr().err
    assert "head vlad, 8448 dimensions" in said and "fit" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--model_out", "m"], "Please give the photos: progeo fit PHOTOS --model_out MODEL"),
        (["fit", "PHOTOS", "--model_out", "m", "--backbone", "ResNet18", "--model", "x"], "Give one of them"),
        (["fit", "PHOTOS", "--model_out", "m", "--model", "x"], "say what to fit: --pca 512"),
        (["fit", "PHOTOS", "--model_out", "m", "--head", "salad"], "--head: invalid choice: 'salad'"),
        (["fit", "PHOTOS"], "please give: --model_out"),
        (["fit", "PHOTOS", "--model_out", "m", "--words", "3000", *SMALL], "fewer than the 3000 words"),
        (["index", "PHOTOS", "--database", "p", "--model", "fit", "--refit"], "please give --rebuild and --model fit"),
        (["index", "--prune", "--database", "p", "--model", "fit"], "nothing to fit the model to"),
    ],
)
def test_what_is_wrong_is_said(
    city: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of([str(city / "train") if word == "PHOTOS" else word for word in arguments], capsys)
