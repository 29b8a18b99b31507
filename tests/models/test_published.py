"""The published models, fetched from a stand-in for the release page."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from progeo import cli
from progeo.errors import ProgeoError
from progeo.models.building import build, create_model
from progeo.models.catalogue import COSPLACE, list_published
from progeo.models.files import load_weights
from progeo.models.loading import load_model
from progeo.models.published import find_cached, get_trained_model, list_models

from ..conftest import REPOSITORY

FILE = "ResNet18_32_cosplace.pth"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the release page, with one model."""
    folder = tmp_path_factory.mktemp("release")
    torch.save(create_model("ResNet18", descriptor_dim=32, weights="none").state_dict(), folder / FILE)
    return folder


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place where the model will be cached; the cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints" / FILE


@pytest.fixture
def server(release: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """An HTTP server for the release; it counts requests, and cuts the answer short where ``bytes`` says so."""
    state = {"requests": 0, "bytes": sys.maxsize}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state["requests"] += 1
            path = release / self.path.rpartition("/")[2]
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: state["bytes"]])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/v1.0", state
        running.shutdown()


def test_there_are_thirty_published_models() -> None:
    assert sum(map(len, COSPLACE.values())) == 30


def test_a_model_is_fetched_once_and_then_cached(
    server: tuple[str, dict[str, int]], release: Path, cached: Path
) -> None:
    address, state = server
    network = get_trained_model("ResNet18", 32, release=address)
    assert not network.training
    published = torch.load(release / FILE, weights_only=True)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, published[name])
    assert (network.spec.licence, network.spec.provenance["source"]) == ("MIT", f"{address}/{FILE}")
    assert network.preprocessing.image_size == 512
    get_trained_model("ResNet18", 32, release=address)
    assert state["requests"] == 1
    assert [path.name for path in cached.parent.iterdir()] == [FILE]


def test_an_answer_cut_short_leaves_no_file(server: tuple[str, dict[str, int]], cached: Path) -> None:
    address, state = server
    state["bytes"] = 1_000_000
    with pytest.raises(ProgeoError, match=rf"{FILE} broke off: 1000000 of \d+ bytes arrived.*put it at {cached}"):
        get_trained_model("ResNet18", 32, release=address)
    assert list(cached.parent.iterdir()) == []


def test_a_broken_cached_file_is_reported_and_fetched_again(
    release: Path, cached: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cached.parent.mkdir(parents=True)
    cached.write_bytes((release / FILE).read_bytes()[:1_000_000])
    get_trained_model("ResNet18", 32, release=release.as_uri())
    assert "cached model is broken and is fetched again" in " ".join(capsys.readouterr().err.split())
    assert cached.read_bytes() == (release / FILE).read_bytes()


def test_a_wrong_file_at_the_address_is_refused(release: Path, cached: Path) -> None:
    cached_name = "ResNet18_64_cosplace.pth"
    (release / cached_name).write_bytes((release / FILE).read_bytes())
    with pytest.raises(ProgeoError, match="not those of cosplace:ResNet18:64.*looks like ResNet18, descriptor_dim 32"):
        get_trained_model("ResNet18", 64, release=release.as_uri())


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "file:///nowhere", "no address"])
def test_an_unreachable_address_is_named_with_what_to_do(address: str, cached: Path) -> None:
    with pytest.raises(ProgeoError, match=f"Cannot fetch {address}/{FILE} .*put it at {cached}"):
        get_trained_model("ResNet18", 32, release=address)


def test_a_file_put_by_hand_is_used(release: Path, cached: Path) -> None:
    cached.parent.mkdir(parents=True)
    cached.write_bytes((release / FILE).read_bytes())
    assert load_model("cosplace:ResNet18:32").descriptor_dim == 32


@pytest.mark.parametrize(
    ("backbone", "dimension", "hint"),
    [("ResNet18", 1024, "ResNet18 with"), ("VGG16", 32, "VGG16 64, 128"), ("Resnet50", 128, "did you mean ResNet50")],
)
def test_combinations_that_were_not_published_are_answered_with_the_list(
    backbone: str, dimension: int, hint: str
) -> None:
    with pytest.raises(ProgeoError, match=f"CosPlace published no {backbone} with fc_output_dim {dimension}") as caught:
        get_trained_model(backbone, dimension)
    assert hint in str(caught.value) and "ResNet152 32, 64" in str(caught.value)


def test_load_model_says_what_it_takes(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match=r"no model file .*model\.pth.* like cosplace:ResNet50:2048"):
        load_model(tmp_path / "model.pth")
    with pytest.raises(ProgeoError, match=r"The form is cosplace:<backbone>:<dimension>"):
        load_model("cosplace:ResNet50")
    with pytest.raises(ProgeoError, match="Give `backbone` "):
        load_model("cosplace:ResNet50:2048", backbone="ResNet18")


def test_load_model_takes_a_path(release: Path) -> None:
    assert load_model(release / FILE, backbone="ResNet18", descriptor_dim=32).backbone_name == "ResNet18"


def test_torch_hub_finds_the_models(release: Path, cached: Path) -> None:
    network = torch.hub.load(
        str(REPOSITORY),
        "get_trained_model",
        source="local",
        backbone="ResNet18",
        fc_output_dim=32,
        release=release.as_uri(),
    )
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 32)


def test_torch_hub_works_from_a_clone_without_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    namespace = {"__file__": str(REPOSITORY / "hubconf.py")}
    exec((REPOSITORY / "hubconf.py").read_text(), namespace)
    assert sys.path[0] == str(REPOSITORY / "src")


def put(name: str, content: bytes) -> Path:
    """Put a file where the weights of a published model are looked for."""
    path = find_cached(list_published()[name])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_web_page_in_place_of_weights(release: Path, cached: Path) -> None:
    page = release / "ResNet18_128_cosplace.pth"
    page.write_text("\n<!DOCTYPE html><title>Please log in</title>")
    with pytest.raises(ProgeoError, match=f"{page.name} answers with a web page in place of the weights.*put it at"):
        get_trained_model("ResNet18", 128, release=release.as_uri())
    assert list(cached.parent.iterdir()) == []
    path = put("mixvpr:512", b"<html>Virus scan warning</html>")
    with pytest.raises(ProgeoError, match=f"{re.escape(path.name)} is a web page, not a model file"):
        load_model("mixvpr:512")


def test_weights_to_fetch_by_hand(cached: Path) -> None:
    path = cached.parent / "resnet50_MixVPR_4096_channels(1024)_rows(4).ckpt"
    with pytest.raises(ProgeoError, match="Follow the link .*README of .*/amaralibey/MixVPR") as caught:
        load_model("mixvpr:4096")
    assert f"put the file at {path}" in str(caught.value)


def test_weights_of_another_model_are_named(release: Path, cached: Path) -> None:
    path = put("mixvpr:128", (release / FILE).read_bytes())
    with pytest.raises(ProgeoError, match="not those of mixvpr:128: .*The file looks like ResNet18, desc") as caught:
        load_model("mixvpr:128")
    assert str(path) in str(caught.value)


def test_weights_become_those_of_the_network_without_a_copy() -> None:
    model = list_published()["eigenplaces:ResNet18:256"]
    tensors = build(model.spec).state_dict()
    network = load_weights(model.spec, tensors, "here")
    assert all(tensor.data_ptr() == tensors[name].data_ptr() for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("eigenplaces:ResNet18:64", r"did you mean eigenplaces:ResNet18:.*form is eigenplaces:<backbone>:<dimension>"),
        ("eigenplaces", "is no published model.*eigenplaces:VGG16:512"),
        ("mixvpr:256", "The form is mixvpr:<dimension>. Published are: mixvpr:4096, mixvpr:512, mixvpr:128"),
    ],
)
def test_names_that_were_not_published(name: str, message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        load_model(name)


def test_every_model_says_what_it_is(cached: Path) -> None:
    put("salad", b"")
    rows = {row["name"]: row for row in list_models(details=True)}
    assert list(rows) == list_models()
    assert rows["salad"] == {
        "name": "salad",
        "photos": "322 x 322 px",
        "dimension": 8448,
        "licence": "GPL-3.0",
        "trained_on": "GSV-Cities",
        "cached": True,
    }
    assert (rows["mixvpr:512"]["licence"], rows["mixvpr:512"]["cached"]) == ("none stated", False)
    assert rows["DINOv2-B"]["licence"] == "Apache-2.0" and rows["timm:<name>"]["licence"] is None
    for name, model in list_published().items():
        assert model.trained_on and rows[name]["licence"] and rows[name]["dimension"]


def test_models_are_printed(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "boq*", "SALAD"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "model" and [row.split()[0] for row in rows] == ["boq-resnet50", "boq-dinov2", "salad"]
    assert rows[2].split()[-3:] == ["GPL-3.0", "GSV-Cities", "no"]
    assert cli.main(["models", "salad", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == list_models("salad", details=True)
    assert cli.main(["models", "sald"]) == 2
    assert "no model like sald" in capsys.readouterr().err
