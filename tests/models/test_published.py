"""The published models, fetched from a stand-in for the release page."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from progeo.errors import ProgeoError
from progeo.models.catalogue import COSPLACE
from progeo.models.network import create_model
from progeo.models.published import get_trained_model, load_model

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
