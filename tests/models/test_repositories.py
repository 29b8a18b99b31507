"""Models of the Hugging Face Hub, from a service of this machine that answers as the Hub does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from huggingface_hub import constants

import progeo
from progeo import cli
from progeo.models.building import create_model
from progeo.models.files import save_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_secretsecretsecret"


class Hub(BaseHTTPRequestHandler):
    """Repositories by name, each with its files; what is uploaded comes there."""

    repositories: ClassVar[dict[str, dict[str, bytes]]] = {}
    refused: ClassVar[int | None] = None
    asked: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/api/"):
            return self.answer(404, X_Error_Code="RepoNotFound")
        owner, name, _, revision, file = self.path.strip("/").split("/", 4)
        files = self.repositories.get(f"{owner}/{name}")
        if files is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if revision not in ("main", "v1", COMMIT):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if file not in files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        return self.answer(200, files[file], X_Repo_Commit=COMMIT, ETag=f'"{len(files[file])}"')

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.refused:
            return self.answer(self.refused, b'{"error": "no"}')
        answers: dict[str, Any] = {}
        if self.path.endswith("/preupload/main"):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            answers = {"files": files}
        elif self.path.endswith("/commit/main"):
            lines = [json.loads(line)["value"] for line in body.splitlines()]
            files = {line["path"]: base64.b64decode(line["content"]) for line in lines if "content" in line}
            self.repositories["someone/place"] = files
            answers = {"commitUrl": f"{address(self.server)}/someone/place/commit/{COMMIT}", "commitOid": COMMIT}
        elif self.path == "/api/repos/create":
            answers = {"url": f"{address(self.server)}/someone/place"}
        return self.answer(200, json.dumps(answers).encode(), Content_Type="application/json")


def address(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.repositories, Hub.refused, Hub.asked = {}, None, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", address(server))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = create_model("timm:test_resnet", descriptor_dim=16, weights="none").eval()
    training = {"train_set_folder": "/data/my_city/train", "method": "cosplace"}
    save_model(tmp_path / "best_model.safetensors", network, training=training, licence="CC-BY-NC-4.0")
    return tmp_path / "best_model.safetensors"


def push(*arguments: str | Path, code: int = 0) -> None:
    assert cli.main(["push", *map(str, arguments)]) == code


def test_a_model_goes_up_and_comes_down(hub: type[Hub], model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push(model, "someone/place")
    assert "someone/place: uploaded" in " ".join(capsys.readouterr().err.split())
    assert hub.repositories["someone/place"]["model.safetensors"] == model.read_bytes()
    assert hub.repositories["someone/place"]["README.md"].startswith(b"---\nlicense: cc-by-nc-4.0\n")
    network = progeo.load_model("hf:someone/place@v1")
    assert network.descriptor_dim == 16
    said = " ".join(capsys.readouterr().err.split())
    assert COMMIT in said and "CC-BY-NC-4.0" in said and TOKEN not in said


def test_offline_takes_what_is_in_the_cache(
    hub: type[Hub], model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories["someone/place"] = {"model.safetensors": model.read_bytes()}
    progeo.load_model("hf:someone/place")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert progeo.load_model("hf:someone/place").descriptor_dim == 16
    with pytest.raises(progeo.ProgeoError, match="someone/other is not in the cache.*HF_HUB_OFFLINE"):
        progeo.load_model("hf:someone/other")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:nobody/nothing", "no repository hf:nobody/nothing.*hf auth login"),
        ("hf:someone/place@v9", "no such revision"),
        ("hf:someone/pickle", "holds no model.safetensors"),
        ("hf:someone/text", "model.safetensors of hf:someone/text cannot be used"),
        ("hf:place", "hf:OWNER/NAME@REVISION"),
        ("hf:../../place", "hf:OWNER/NAME"),
    ],
)
def test_what_cannot_be_loaded_is_said(hub: type[Hub], model: Path, name: str, message: str) -> None:
    hub.repositories["someone/place"] = {"model.safetensors": model.read_bytes()}
    hub.repositories["someone/pickle"] = {"pytorch_model.bin": b"pickle"}
    hub.repositories["someone/text"] = {"model.safetensors": b"<html>not a model</html>"}
    with pytest.raises(progeo.ProgeoError, match=message) as error:
        progeo.load_model(name)
    assert TOKEN not in str(error.value)


def test_the_card_names_results_and_licences(hub: type[Hub], model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = progeo.load_model(model)
    results = {
        "spec": network.spec.to_dict(),
        **{"test_set_folder": "data/st_lucia", "protocol": "st-lucia", "queries": 1464},
        "recalls": {"R@1": 81.25, "R@5": 92.0},
    }
    Path("results.json").write_text(json.dumps(results))
    push(model, "someone/place", "--dry_run", "--results", "results.json", "--data_licence", "CC-BY-SA-4.0")
    card = Path("place/README.md").read_text(encoding="utf-8")
    assert "| st_lucia | st-lucia | 1,464 | 81.2 | 92.0 |" in card
    assert "| data that it was trained on | CC-BY-SA-4.0 |" in card and "| these weights | CC-BY-NC-4.0 |" in card
    assert "weights of the backbone" in card and "| trained on | train |" in card
    assert Path("place/model.safetensors").read_bytes() == model.read_bytes()
    assert hub.asked == []
    other = results | {"spec": results["spec"] | {"descriptor_dim": 99}}
    Path("results.json").write_text(json.dumps(other))
    push(model, "someone/place2", "--dry_run", "--results", "results.json", code=2)
    assert "of another model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["best_model.safetensors", "place"], "OWNER/NAME"),
        (["best_model.safetensors", "someone/place@v1"], "leave out @v1"),
        (["missing.safetensors", "someone/place"], "missing.safetensors"),
        (["results.json", "someone/place"], ".safetensors"),
        (["best_model.safetensors", "someone/place", "--results", "results.json"], "results.json of progeo eval"),
        (["best_model.safetensors", "someone/here", "--dry_run"], "--dry_run writes the folder here"),
    ],
)
def test_what_cannot_be_pushed_is_said(
    hub: type[Hub], model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("results.json").write_text("{}")
    Path("here").mkdir()
    push(*arguments, code=2)
    assert message in " ".join(capsys.readouterr().err.split())
    assert hub.asked == []


def test_a_refusal_names_the_login_and_no_token(
    hub: type[Hub], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refused = 403
    push(model, "someone/place", code=2)
    said = " ".join(capsys.readouterr().err.split())
    assert "someone/place" in said and "hf auth login" in said and TOKEN not in said
