"""A model of somebody else, a torch.hub repository in a folder, through every command that takes a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient

from progeo import cli
from progeo.models import load_model

HUBCONF = """
import torch
from layers import Pool


def tiny(dimension=12):
    torch.manual_seed(0)
    print("a line that must not reach stdout")
    return torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, 2), torch.nn.ReLU(), Pool(), torch.nn.Linear(24, dimension))
"""
LAYERS = """
import torch


class Pool(torch.nn.Module):
    def forward(self, features):
        return torch.nn.functional.adaptive_avg_pool2d(features, 2).flatten(1)
"""
SMALL = {
    **{"M": 10, "alpha": 360, "N": 1, "L": 1, "groups_num": 1, "min_images_per_class": 2},
    **{"batch_size": 4, "epochs_num": 1, "iterations_per_epoch": 2},
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "hubconf.py").write_text(HUBCONF)
    (folder / "layers.py").write_text(LAYERS)
    return folder


def test_every_command_takes_a_model_of_torch_hub(
    repository: Path,
    tiny_city: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = f"hub:{repository}:tiny:dimension=12:input_size=48"

    def run(*arguments: str | Path, code: int = 0) -> str:
        assert cli.main([*map(str, arguments)]) == code
        output = capsys.readouterr()
        return " ".join((output.out if code == 0 else output.err).split())

    trusted = ("--model", model, "--trust_remote_code")
    evaluated = json.loads(run("eval", *trusted, "--test_set_folder", tiny_city / "test", "--json", "--no_report"))
    assert evaluated["recalls"]["R@1"] > 50

    assert "--trust_remote_code" in run(
        "index", tiny_city / "test/database", "--model", model, "--database", "places", code=2
    )
    assert not Path("places").exists()
    run("index", tiny_city / "test/database", *trusted, "--database", "places")

    # Its code runs only where that is said again.
    query = next((tiny_city / "test/queries").iterdir())
    database = ("--database", "places")
    for command in (("locate", query), ("calibrate", "--queries", tiny_city / "train"), ("serve", "--port", "0")):
        message = run(*command, *database, code=2)
        assert str(repository) in message and "--trust_remote_code" in message

    run("calibrate", "--queries", tiny_city / "train", *database, "--trust_remote_code")
    (located,) = json.loads(run("locate", query, *database, "--trust_remote_code", "--json"))
    assert located["calibrated"] and located["matches"][0]["descriptor_distance"] < 0.5

    answers = []

    def ask(server: uvicorn.Server, sockets: list[object]) -> None:
        with TestClient(server.config.app, base_url="http://127.0.0.1") as client:  # type: ignore[arg-type]
            answers.append(client.post("/api/locate", files={"photos": query.read_bytes()}).json()["photos"][0])

    monkeypatch.setattr(uvicorn.Server, "run", ask)
    run("serve", "--port", "0", *database, "--trust_remote_code")
    (answer,) = answers
    assert (answer["latitude"], answer["longitude"]) == (located["latitude"], located["longitude"])
    assert answer["matches"][0]["descriptor_distance"] == pytest.approx(
        located["matches"][0]["descriptor_distance"], abs=1e-4
    )

    sets = [f"--{part}_set_folder={tiny_city / part}" for part in ("train", "val", "test")]
    small = [f"--{name}={value}" for name, value in SMALL.items()]
    run("train", *sets, *small, "--resume_model", model, "--trust_remote_code", "--save_dir", "tuned")
    (tuned,) = Path("logs/tuned").glob("*/best_model.safetensors")
    assert load_model(tuned, trust_remote_code=True).descriptor_dim == 12

    # Changed code is not the code that was trusted.
    (repository / "layers.py").write_text(LAYERS.replace("avg_pool", "max_pool"))
    changed = run("locate", query, *database, "--trust_remote_code", code=2)
    assert str(repository) in changed and "changed" in changed
