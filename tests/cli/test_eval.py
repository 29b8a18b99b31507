"""``progeo eval`` as a whole: protocols, comparisons, descriptors on disk."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from progeo import cli
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.files import save_model

from ..models.test_hub import HUBCONF

TINY = ["--backbone", "timm:test_resnet", "--fc_output_dim", "8", "--backbone_weights", "none", "--device", "cpu"]
SIZE = 160
"""Of timm:test_resnet."""


@pytest.fixture
def town(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test set of the tiny city as ``town``, in a folder of its own that is the current one."""
    shutil.copytree(tiny_city / "test", tmp_path / "town")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def models(town: Path) -> list[str]:
    """Two model files and a hub folder, as options."""
    for name, dimension in (("first", 8), ("second", 16)):
        network = create_model("timm:test_resnet", descriptor_dim=dimension, weights="none")
        save_model(town / f"{name}.safetensors", network, training={}, metrics={}, licence="none")
    (town / "clone").mkdir()
    (town / "clone" / "hubconf.py").write_text(HUBCONF)
    return ["--model", "first.safetensors", "--model", "second.safetensors", "--model", "hub:clone:model:input_size=24"]


def evaluate(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code = cli.main(["eval", "--test_set_folder", "town", "--device", "cpu", "--json", "--no_report", *arguments])
    output = capsys.readouterr()
    assert code == 0, output.err
    results: dict[str, Any] = json.loads(output.out)
    return results


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["eval", "--test_set_folder", "town", *TINY, *arguments]) == 2
    return " ".join(capsys.readouterr().err.split())


def rename_to_frames(folder: Path, step: int = 1) -> None:
    """Give photos the names that Nordland has in the field: made-up positions, the frame as pano_id."""
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"@0@{number * step * 50:.1f}@@@@@{number * step}@@@@@@@@.jpg")


def test_results_carry_protocol_uncertainty_and_versions(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rename_to_frames(town / "town/database")
    rename_to_frames(town / "town/queries")
    results = evaluate([*TINY, "--protocol", "nordland-2760"], capsys)
    assert results["protocol"] == "nordland-2760"
    assert results["protocol_differences"] == [
        "the number of database images is 8 instead of 27,592",
        "the number of queries is 8 instead of 2,760",
    ]
    assert (results["positives"], results["median_error_metres"]) == ("within 1 frame", None)
    assert results["points_per_query"] == 12.5
    low, high = results["recalls_interval"]["R@1"]
    assert 0 <= low <= results["recalls"]["R@1"] <= high <= 100
    assert {"progeo", "torch", "faiss-cpu"} <= results["versions"].keys()
    # Frames are 50 m apart here: by distance, a neighbour would not count.
    by_distance = evaluate(TINY, capsys)
    assert by_distance["recalls"]["R@5"] <= results["recalls"]["R@5"]
    assert (by_distance["protocol"], by_distance["positives"]) == (None, "within 25 m")


def test_sizes_that_a_protocol_does_not_have_are_reported(
    town: Path, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the options ask for them or a model takes no others."""
    rename_to_frames(town / "town/database")
    rename_to_frames(town / "town/queries")
    compared = evaluate([*models, "--trust_remote_code", "--protocol", "nordland"], capsys)["models"]
    sizes = [[text for text in result["protocol_differences"] if "resized" in text] for result in compared]
    assert sizes == [[], [], ["photos resized (24 x 24 px) instead of as the set has them"]]
    asked_for = evaluate([*TINY, "--protocol", "nordland", "--image_size", "32"], capsys)
    assert "photos resized (32 px on the shorter side)" in asked_for["protocol_differences"][-1]
    asked_for = evaluate([*TINY, "--protocol", "nordland", "--resize_test_imgs"], capsys)
    assert f"photos resized ({SIZE} px on the shorter side)" in asked_for["protocol_differences"][-1]
    without_protocol = evaluate(models[2:4], capsys)
    assert without_protocol["protocol_differences"] == []


def test_photos_take_the_size_of_the_model_unless_something_publishes_their_own(
    town: Path, models: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one line says so; only the published command and protocols leave photos as they are."""
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none")
    save_model(town / "second.safetensors", network, training={"resize_test_imgs": True}, metrics={}, licence="none")
    command = ["eval", "--test_set_folder", "town", "--device", "cpu", "--no_report", "--json", "--trust_remote_code"]

    def sizes(*arguments: str, published: bool = False, count: int = 3) -> tuple[list[Any], str]:
        assert cli.main([*command, *models[: 2 * count], *arguments], published=published) == 0
        output = capsys.readouterr()
        return [row["image_size"] for row in json.loads(output.out)["models"]], " ".join(output.err.split())

    found, words = sizes()
    assert found == [SIZE, SIZE, 24]
    assert "brought to the size of the model; --no_resize_test_imgs leaves them" in words
    assert f"8 dimensions, on cpu, photos at {SIZE} px on the shorter side" in words
    found, words = sizes(published=True)
    assert found == ["native", SIZE, 24]
    assert "photos at native size" in words
    assert "--no_resize_test_imgs" not in words
    assert sizes("--resize_test_imgs", published=True)[0] == [SIZE, SIZE, 24]
    assert sizes("--image_size", "32", published=True, count=2)[0] == [32, 32]


def test_a_backbone_is_a_model(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["eval", "--test_set_folder", "town", "--device", "cpu", "--no_report", "--json"]
    assert cli.main([*command, "--model", "EfficientNet-Lite0"]) == 0
    output = capsys.readouterr()
    results = json.loads(output.out)
    assert (results["backbone"], results["spec"]["head"]) == ("EfficientNet-Lite0", "gem")
    assert results["spec"]["provenance"]["untrained"] is True
    assert "EfficientNet-Lite0 is a backbone that was not trained for places" in " ".join(output.err.split())
    assert cli.main([*command, "--model", "LiteCLIP"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["recalls"] == results["recalls"]
    assert "LiteCLIP is a backbone that was not trained for places (without training it is EfficientNet-Lite0)" in (
        " ".join(output.err.split())
    )


def test_recalls_by_radius_and_by_group(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, path in enumerate(sorted((town / "town/queries").iterdir())):
        fields = path.name.split("@")
        fields[13] = f"2019010{1 + number}_{'12' if number < 6 else '23'}0000"
        path.rename(path.with_name("@".join(fields)))
    results = evaluate([*TINY, "--radii", "500", "5", "--group_by", "day_night"], capsys)
    assert list(results["recalls_by_radius"]) == ["5", "500"]
    assert results["recalls_by_radius"]["500"]["R@1"] == 100.0
    groups = results["recalls_by_group"]
    assert {name: group["queries"] for name, group in groups.items()} == {"day": 6, "night": 2}
    mean = np.average([group["recalls"]["R@1"] for group in groups.values()], weights=[6, 2])
    assert mean == pytest.approx(results["recalls"]["R@1"])


def test_models_are_compared(town: Path, models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    results = evaluate([*models, "--trust_remote_code", "--save_dir", "three", "--report"], capsys)
    rows = results["models"]
    assert [row["model"] for row in rows] == [
        "first.safetensors",
        "second.safetensors",
        "hub:clone:model:input_size=24",
    ]
    assert [row["fc_output_dim"] for row in rows] == [8, 16, 8]
    assert [row["database_memory_bytes"] for row in rows] == [8 * 8 * 4, 8 * 16 * 4, 8 * 8 * 4]
    assert [row["image_size"] for row in rows] == [SIZE, SIZE, 24]
    assert [row["spec"]["descriptor_dim"] for row in rows] == [8, 16, 8]
    assert rows[0]["difference_from_first"] is None
    assert rows[1]["difference_from_first"]["R@1"] == pytest.approx(
        rows[1]["recalls"]["R@1"] - rows[0]["recalls"]["R@1"]
    )
    assert all(row["descriptors_per_second"] > 0 for row in rows)
    for row in rows:
        assert row["milliseconds_per_photo"] == pytest.approx(1000 / row["descriptors_per_second"])
        assert row["published"] is None
        if sys.platform == "linux":
            assert row["encoding_memory_bytes"] > 0
    (run,) = (town / "logs/three").iterdir()
    assert sorted(path.name for path in run.iterdir()) == [
        *("1_first.safetensors", "2_second.safetensors", "3_hub_clone_model_input_size_24"),
        *("comparison.html", "comparison.md", "config.yaml", "log.txt", "results.json"),
    ]
    assert json.loads((run / "results.json").read_text()) == results
    assert "| second.safetensors |" in (run / "comparison.md").read_text()
    page = (run / "comparison.html").read_text()
    assert page.count("<tr>") == 4 and "second.safetensors</th>" in page and "<td" in page
    single = evaluate(["--config", str(run / "config.yaml"), "--model", "second.safetensors"], capsys)
    assert single["recalls"] == rows[1]["recalls"]


def test_model_whose_descriptors_depend_on_the_batch_is_flagged(
    town: Path, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "--test_set_folder", "town", "--model", "hub:clone:model:batch_dependent=true", "--json"]
    assert cli.main([*command, "--trust_remote_code"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["batch_dependent"] is True
    assert "depends on the other photos of the batch" in " ".join(output.err.split())


def test_one_missing_model_stops_a_comparison_before_it_starts(
    town: Path, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "--test_set_folder", "town", *models[:4], "--model", "third.safetensors"]
    assert cli.main(arguments) == 2
    assert "There is no model file third.safetensors" in capsys.readouterr().err
    assert not (town / "logs").exists()


def test_descriptors_on_disk_give_the_same_results(
    town: Path, models: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progeo.search.store.MAX_CHUNK_IMAGES", 3)
    in_memory = evaluate(models[:4], capsys)["models"]
    on_disk = evaluate([*models[:4], "--descriptors_folder", "kept"], capsys)["models"]
    assert [row["recalls"] for row in on_disk] == [row["recalls"] for row in in_memory]
    chunks = [path.parent.name for path in (town / "kept").rglob("?.safetensors")]
    assert sorted(chunks) == ["database"] * 6 + ["queries"] * 6

    again = evaluate([*models[:4], "--descriptors_folder", "kept"], capsys)["models"]
    assert [row["descriptors_per_second"] for row in again] == [None, None]
    assert [row["recalls"] for row in again] == [row["recalls"] for row in in_memory]

    chunk = next((town / "kept").rglob("first.safetensors/database/1.safetensors"))
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert cli.main(["eval", "--test_set_folder", "town", *models[:2], "--descriptors_folder", "kept"]) == 0
    words = " ".join(capsys.readouterr().err.split())
    assert "first.safetensors: 5; stale or damaged ones made anew: 1" in words


def test_interrupted_evaluation_goes_on_from_its_descriptors_on_disk(
    town: Path, models: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("progeo.search.store.MAX_CHUNK_IMAGES", 3)
    whole = evaluate(models[:2], capsys)
    command = [*models[:2], "--descriptors_folder", "kept"]
    chunks: list[int] = []

    encode = Encoder.encode

    def encode_two_chunks(*arguments: Any, **settings: Any) -> Any:
        chunks.append(len(chunks))
        if len(chunks) == 3:
            raise KeyboardInterrupt
        return encode(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "encode", encode_two_chunks)
        assert cli.main(["eval", "--test_set_folder", "town", *command]) == 130
    assert "the same command goes on from there" in " ".join(capsys.readouterr().err.split())
    assert len(list(Path("kept").rglob("?.safetensors"))) == 2
    assert evaluate(command, capsys)["recalls"] == whole["recalls"]
    assert len(list(Path("kept").rglob("?.safetensors"))) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "pits30k"], "There is no protocol 'pits30k' (did you mean pitts30k-test"),
        (["--protocol", "svox-night"], "For --protocol svox-night, town must hold the folders gallery or database and"),
        (["--protocol", "st-lucia"], "another data set"),
        (
            ["--protocol", "pitts30k-test", "--positive_dist_threshold", "10"],
            "fixes what is right: within 25 m. Leave out --positive_dist_threshold; --radii gives",
        ),
        (["--protocol", "amstertime", "--radii", "5"], "by --protocol amstertime a prediction is right of the same"),
        (["--heading_from", "track"], "nrecognized arguments: --heading_from track"),
        (["--radii", "0"], "--radii: Not of type PositiveFloat: 0"),
        (["--group_by", "weather"], "--group_by weather: the queries have no such column. There are: path"),
        (["--group_by", "season"], "not one of the 8 queries has a timestamp"),
        (["--model", "a", "--model", "b"], "--backbone and --fc_output_dim say what one published .pth file is"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_anything_is_written(
    arguments: list[str], message: str, town: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(arguments, capsys)
    assert not (town / "logs").exists()


def test_models_of_one_size_take_no_other(town: Path, models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "--test_set_folder", "town", *models[4:], "--trust_remote_code", "--image_size", "32"]
    assert cli.main(arguments) == 2
    words = " ".join(capsys.readouterr().err.split())
    assert "takes photos of 24 x 24 px only. Leave out --image_size and --resize_test_imgs" in words


def test_an_untrained_backbone_has_the_dimension_that_training_gives_it(
    town: Path, tiny_clips: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "--test_set_folder", "town", "--device", "cpu", "--json", "--no_report"]
    assert cli.main([*command, "--backbone", tiny_clips["rn"], "--backbone_weights", "none"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["fc_output_dim"] == 48
    assert "--backbone_weights none: the backbone is random" in " ".join(output.err.split())
