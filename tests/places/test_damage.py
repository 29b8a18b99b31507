"""Databases that are damaged, or that somebody has changed: one message, or what is whole of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration, Judge
from progeo.models.encoder import Encoder
from progeo.places import storage
from progeo.places.database import PlaceDatabase
from progeo.places.keeping import encode_model
from tests.places.conftest import make_network


@pytest.fixture
def copied(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "places"))


def edit(database: Path, key: str, change: Callable[[Any], Any]) -> None:
    """Store another value under a key of the settings; ``change`` gets what JSON says, and gives it or bytes."""
    settings = lancedb.connect(str(database)).open_table(storage.SETTINGS)
    before = storage.read_setting(settings, key)
    after = change(json.loads(before) if before[:1] == b"{" else before)
    content = after if isinstance(after, bytes) else json.dumps(after).encode()
    storage.write_settings(settings, {key: content})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((lambda said, name=name: {k: v for k, v in said.items() if k != name}, name)
          for name in ("format_version", "fingerprint", "photos")),
        *((lambda said, value=value: said | {"format_version": value}, "format_version") for value in ("2", 2.5, None)),
        *((lambda said, value=value: said | {"photos": value}, "photos") for value in (3, None, [])),
        (lambda said: said | {"fingerprint": 7}, "fingerprint"),
        (lambda said: said | {"spec": []}, "it is \\[\\]"),
        (lambda said: said | {"spec": said["spec"] | {"descriptor_dim": 16.5}}, "descriptor_dim is 16.5"),
        (lambda said: said | {"spec": said["spec"] | {"preprocessing": None}}, "it is None"),
        (lambda said: {"preprocessing": said.pop("spec")["preprocessing"], **said}, "descriptor_dim is None"),
        (lambda said: b"[]", "it does not say what it holds"),
        (lambda said: b"{", "Expecting"),
        (lambda said: b"\xff\xfe{", "decode"),
        (lambda said: b"[" * 100_000, "nested too deep"),
        (lambda said: b"", "it does not say what it holds"),
    ],
)  # fmt: skip
def test_a_damaged_description_is_one_message(change: Callable[[Any], Any], message: str, copied: Path) -> None:
    edit(copied, "database", change)
    with pytest.raises(ProgeoError, match=message) as raised:
        PlaceDatabase.open(copied)
    assert str(copied) in str(raised.value) and "damaged" in str(raised.value)


def test_a_model_that_was_replaced_is_refused(copied: Path, photos: Path) -> None:
    other = encode_model(make_network(seed=1))
    edit(copied, "model", lambda model: other)
    with pytest.raises(ProgeoError, match="was replaced or is damaged") as raised:
        PlaceDatabase.open(copied, engine="torch").locate(sorted(photos.iterdir())[0])
    assert str(copied) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04", b"\x08\x01"])
def test_a_damaged_model_names_the_database(content: bytes, copied: Path) -> None:
    edit(copied, "model", lambda model: content)
    with pytest.raises(ProgeoError) as raised:
        PlaceDatabase.open(copied, engine="torch").encoder  # noqa: B018
    assert str(copied) in str(raised.value) and "/tmp/tmp" not in str(raised.value)


def rewrite(database: Path, **columns: Any) -> None:
    """Replace values of the first row of photos."""
    connection = lancedb.connect(str(database))
    (name,) = (table for table in connection.list_tables().tables if table.startswith("photos_"))
    table = connection.open_table(name)
    rows = table.to_arrow().to_pylist()
    rows[0] |= columns
    connection.create_table(
        name, pa.Table.from_pylist(rows, schema=table.schema), mode="overwrite", on_bad_vectors="null"
    )


@pytest.mark.parametrize(
    "columns",
    [
        {"latitude": None},
        {"longitude": float("nan")},
        {"latitude": float("inf")},
        {"latitude": 1e308},
        {"longitude": -500.0},
        {"id": None},
        {"descriptor": None},
        {"thumbnail": None},
    ],
    ids=str,
)
def test_damaged_rows_are_left_out(
    columns: dict[str, Any], copied: Path, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(copied, **columns)
    database = PlaceDatabase.open(copied, engine="torch")
    (estimate,) = database.locate(sorted(photos.iterdir())[1], even_unknown=True)
    assert len(estimate.matches) == (8 if "thumbnail" in columns else 7)
    assert np.isfinite([estimate.latitude, estimate.longitude]).all()  # type: ignore[arg-type]
    assert database.positions()["latitude"].is_finite().all()
    if "thumbnail" not in columns and "descriptor_distance" not in columns:
        assert database.calibrate() is not None
    if "thumbnail" not in columns:
        assert f"{copied} is damaged" in caplog.text and "Index the photos again" in caplog.text


def test_indexing_mends_rows(copied: Path, photos: Path, read_photos: Callable[[Path], Any]) -> None:
    with PlaceDatabase.open(copied) as database:
        rows = database.positions()
    rewrite(copied, latitude=None)
    with PlaceDatabase.open(copied, engine="torch") as database:
        assert len(database.positions()) == len(rows) - 1
        folder = Path(next(iter(database.list_paths()))).parent
        assert database.add(read_photos(folder)).added == 1
        assert database.positions().sort("id").equals(rows.sort("id"))


JUDGE = Judge(["best"], [0.1], [1.0], [2.0], 0.0)
CALIBRATION = Calibration(JUDGE, None, 1.0, 40).to_dict()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        CALIBRATION | {"radius_factor": "x"},
        CALIBRATION | {"queries": None},
        CALIBRATION | {"right": None},
        CALIBRATION | {"notes": 3},
        CALIBRATION | {"source": "elsewhere"},
        CALIBRATION | {"right": CALIBRATION["right"] | {"mean": [0.1, 0.2]}},
        CALIBRATION | {"right": CALIBRATION["right"] | {"scale": [0.0]}},
        CALIBRATION | {"right": CALIBRATION["right"] | {"features": ["beauty"]}},
        CALIBRATION | {"right": CALIBRATION["right"] | {"intercept": float("nan")}},
    ],
)
def test_a_damaged_calibration_is_left_aside(content: Any, copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Calibration.from_dict(CALIBRATION) == Calibration(JUDGE, None, 1.0, 40)
    edit(copied, "calibration", lambda before: content)
    database = PlaceDatabase.open(copied)
    assert database.calibration is None
    assert "progeo calibrate" in caplog.text and str(copied) in caplog.text


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_inside_a_database_is_not_opened(kind: str, copied: Path) -> None:
    file = next(path for path in sorted(copied.rglob("*")) if path.is_file())
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(ProgeoError, match="no regular file") as raised:
        PlaceDatabase.open(copied)
    assert str(file) in str(raised.value)


def test_an_encoder_of_the_same_model_has_the_same_fingerprint(filled: Path) -> None:
    with PlaceDatabase.open(filled, engine="torch") as database:
        assert database.encoder.fingerprint == database.fingerprint == Encoder.create(make_network()).fingerprint
