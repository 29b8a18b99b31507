"""Models of others in place databases: of torch.hub, put together in Python, and those that are refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from progeo import cli
from progeo.errors import ProgeoError
from progeo.locating.calibration import Calibration, Judge
from progeo.models.features import Features
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing
from progeo.places import storage
from progeo.places.database import PlaceDatabase

HUBCONF = """
import torch


class Model(torch.nn.Module):
    def __init__(self, dimension, dependent):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, dimension, 8, 8)
        self.dependent = dependent

    def forward(self, images):
        descriptors = torch.relu(self.layer(images)).mean(dim=(2, 3))
        if self.dependent:
            descriptors = descriptors - descriptors.mean(dim=0)
        return torch.nn.functional.normalize(descriptors)


def model(dimension=16, dependent=False):
    return Model(dimension, dependent)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "hubconf.py").write_text(HUBCONF)
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a command on the database of this test; return what it printed."""

    def run(command: str, *arguments: str | Path, code: int = 0) -> tuple[str, str]:
        settings = ["--database", str(tmp_path / "places"), "--device", "cpu"]
        assert cli.main([command, *map(str, arguments), *settings]) == code
        printed = capsys.readouterr()
        return printed.out, " ".join(printed.err.split())

    return run


def test_a_model_of_torch_hub(run, repository: Path, tiny_city: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    address = f"hub:{repository}:model:input_size=32"
    cache = ["--cache_folder", tmp_path / "cache"]
    model = ["--model", address, "--trust_remote_code"]
    assert "8 photos added" in run("index", tiny_city / "test/database", *model, *cache)[1]
    queries = sorted((tiny_city / "test/queries").iterdir())
    # Its weights are random: those of the database are used, not new ones.
    entries = json.loads(run("locate", *queries, "--json", "--trust_remote_code")[0])
    assert len(entries) == 8
    databases = sorted((tiny_city / "test/database").iterdir())
    found = json.loads(run("locate", *databases, "--json", "--trust_remote_code")[0])
    assert [entry["matches"][0]["path"] for entry in found] == list(map(str, databases))
    assert max(entry["matches"][0]["descriptor_distance"] for entry in found) < 0.01
    assert "8 kept" in run("index", tiny_city / "test/database", "--trust_remote_code", *cache)[1]
    assert "Learned from 32" in run("calibrate", "--queries", tiny_city / "train", "--trust_remote_code", *cache)[1]
    for command in (["index", tiny_city / "test/database", *cache], ["locate", queries[0]]):
        assert "--trust_remote_code" in run(*command, code=2)[1]
    (repository / "hubconf.py").write_text(HUBCONF + "\n# changed")
    assert "hash" in run("locate", queries[0], "--trust_remote_code", code=2)[1]


def test_a_model_whose_descriptors_depend_on_the_batch_is_refused(run, repository: Path, tiny_city: Path) -> None:  # type: ignore[no-untyped-def]
    model = ["--model", f"hub:{repository}:model:dependent=true:input_size=32", "--trust_remote_code"]
    assert "another descriptor alone than in a batch" in run("index", tiny_city / "test/database", *model, code=2)[1]


class Head(nn.Module):
    def __init__(self, dimension: int = 8) -> None:
        super().__init__()
        self.layer = nn.Linear(6, dimension)

    def forward(self, features: Features) -> torch.Tensor:
        return nn.functional.normalize(self.layer(features.map.mean(dim=(2, 3))))  # type: ignore[union-attr]


class Centre(nn.Module):
    def forward(self, descriptors: torch.Tensor) -> torch.Tensor:
        return descriptors - descriptors.mean(dim=0)


def compose(seed: int) -> PlaceNetwork:
    torch.manual_seed(seed)
    return PlaceNetwork.compose(nn.Conv2d(3, 6, 4, 4), Head(), preprocessing=Preprocessing(image_size=32))


def test_a_network_put_together_in_python_is_given_again(tiny_city: Path, tmp_path: Path) -> None:
    with PlaceDatabase.create(tmp_path / "places", compose(0)) as database:
        assert database.add(tiny_city / "test/database").added == 8
    queries = sorted((tiny_city / "test/queries").iterdir())
    with PlaceDatabase.open(tmp_path / "places", model=compose(0)) as database:
        assert database.spec.backbone == "Conv2d"
        assert len(database.locate(queries)) == 8
    with (
        PlaceDatabase.open(tmp_path / "places", model=compose(1)) as database,
        pytest.raises(ProgeoError, match="another model than Conv2d"),
    ):
        database.locate(queries)
    with PlaceDatabase.open(tmp_path / "places") as database, pytest.raises(ProgeoError, match="network itself"):
        database.locate(queries)


def test_a_network_that_was_given_stays_when_the_database_is_calibrated(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "READERS_NOTICE_CHANGES_AFTER", timedelta(0))
    with PlaceDatabase.create(tmp_path / "places", compose(0)) as writer:
        writer.add(tiny_city / "test/database")
        database = PlaceDatabase.open(tmp_path / "places", model=compose(0))
        encoder = database.encoder
        calibration = Calibration(
            Judge(["best", "gap", "spread"], [0.5, 0.1, 3.0], [0.1, 0.1, 1.0], [-1.0, 2.0, 0.0], 0.25), None, 1.5, 40
        )
        writer.store_calibration(calibration)
        renewed = database.renew()
        assert renewed is not database
        assert (renewed.calibration, renewed.encoder) == (calibration, encoder)
        del renewed.encoder
        assert renewed.encoder.fingerprint == encoder.fingerprint


def test_batch_dependence_is_measured(tmp_path: Path) -> None:
    network = compose(0)
    network.aggregation = nn.Sequential(network.aggregation, Centre())
    network.spec.provenance.pop("batch_dependent", None)
    with pytest.raises(ProgeoError, match="another descriptor alone than in a batch"):
        PlaceDatabase.create(tmp_path / "places", network)
    assert not (tmp_path / "places").exists()
    assert np.isfinite(compose(0).encode(np.zeros((40, 40, 3), np.uint8))).all()
