"""Photos of extreme shape in a test set: counted and left out, before anything of them is decoded."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from progeo import cli
from progeo.errors import ProgeoError
from progeo.evaluation.evaluate import evaluate
from progeo.evaluation.evaluation_set import read_evaluation_set
from progeo.evaluation.protocols import PROTOCOLS
from progeo.evaluation.shapes import leave_out_extreme
from progeo.models.building import create_model
from progeo.pixels.recipe import Preprocessing

from ..serve.hostile import HEAD, make_chunk, make_png

OPTIONS = [
    *("--backbone", "timm:test_resnet", "--backbone_weights", "none", "--fc_output_dim", "16"),
    *("--device", "cpu", "--num_workers", "1", "--no_report", "--json"),
]
THREAD, ENORMOUS, LONG = (1, 600), (60_000, 60_000), (400, 4)
"""Width and height: over the limits of all photos; and of a model that makes of it 160 x 16,000 pixels and more."""


@pytest.fixture
def test_set(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight database images and eight queries, and three more that no model can take."""
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(tiny_city / "test", tmp_path / "set"))
    for number, (part, size) in enumerate((("database", THREAD), ("database", ENORMOUS), ("queries", THREAD))):
        head = make_png(*size) if size != ENORMOUS else make_head(*size)
        (folder / part / f"@500005.7{number}@4000005@31@S@@@x@@0@@@@@@.png").write_bytes(head)
    return folder


def make_head(width: int, height: int) -> bytes:
    """Return a PNG that says this size, and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return HEAD + make_chunk(b"IHDR", header) + make_chunk(b"IDAT", zlib.compress(b"")) + make_chunk(b"IEND", b"")


def test_they_are_counted_and_left_out(
    test_set: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[dict[str, Any]] = []
    for _ in range(2):
        assert cli.main(["eval", *OPTIONS, "--test_set_folder", str(test_set), "--group_by", "pano_id"]) == 0
        output = capsys.readouterr()
        results.append(json.loads(output.out))
        said = " ".join(output.err.split())
        if len(results) == 1:
            assert "2 photos of the database left out, over a limit of size or shape. First: The image" in said
            assert "1 photo of the queries left out" in said and "1 x 600 pixels" in said
            for path in test_set.glob("*/*.png"):
                path.unlink()
        else:
            assert "left out" not in said
    assert (results[0]["database_images"], results[0]["queries"]) == (8, 8)
    assert results[0]["recalls"] == results[1]["recalls"]
    assert results[0]["protocol_differences"] == []


def test_from_python(test_set: Path) -> None:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    assert evaluate(network, test_set).predictions.shape == (8, 8)
    with pytest.raises(ProgeoError, match="one side more than 500 times as long"):  # the caller counts on all of them
        evaluate(network, read_evaluation_set(test_set))


def test_the_size_of_the_model_counts(test_set: Path) -> None:
    Image.new("RGB", (LONG[0] * 5, LONG[1])).save(test_set / "queries/@500005.8@4000005@31@S@@@x@@0@@@@@@.png")
    read = read_evaluation_set(test_set)
    small, large = Preprocessing(32), Preprocessing(512)
    assert len(leave_out_extreme(read, [small], [small])[0].queries) == 9
    left, remarks = leave_out_extreme(read, [small], [small, large])
    assert len(left.queries) == 8 and len(remarks) == 2
    square = Preprocessing(512, square=True)
    assert len(leave_out_extreme(read, [square], [square])[0].queries) == 9


def test_no_official_result_without_them(test_set: Path) -> None:
    read = dataclasses.replace(read_evaluation_set(test_set), protocol=PROTOCOLS["nordland"], differences=["x"])
    left, _ = leave_out_extreme(read, [Preprocessing(32)], [Preprocessing(32)])
    assert left.differences[0] == "x" and "2 photos of the database left out" in left.differences[1]
    assert len(left.differences) == 3


def test_a_set_of_nothing_else(test_set: Path) -> None:
    for path in (test_set / "queries").glob("*.jpg"):
        path.unlink()
    with pytest.raises(ProgeoError, match=r"No photo of the queries of .*set is within the limits.*1 x 600 pixels"):
        leave_out_extreme(read_evaluation_set(test_set), [Preprocessing(32)], [Preprocessing(32)])
