"""Indexing, locating and serving with an exported model need no PyTorch: what a small container installs is enough."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import progeo
from progeo.models.building import create_model
from progeo.models.export import export_model
from progeo.models.files import save_model
from progeo.models.network import PlaceNetwork

REQUIREMENTS = Path(__file__).parent.parent / "docker" / "serve-requirements.txt"
WITHOUT_TORCH = """
import sys
for library in ("torch", "torchvision", "timm", "onnx", "faiss", "scipy", "openvino"):
    sys.modules[library] = None
"""
RUN = f"{WITHOUT_TORCH}\nfrom progeo.cli import main\nsys.exit(main(sys.argv[1:]))"
MEASURED = """
import sys
from pathlib import Path
from progeo.cli import main
code = main(sys.argv[1:])
print(*(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line), file=sys.stderr)
sys.exit(code)
"""
ENCODE = f"""{WITHOUT_TORCH}
import progeo
model = progeo.load_model(sys.argv[1])
assert model.encode(sys.argv[2]).shape == progeo.encode(sys.argv[1], [sys.argv[2]]).shape == (1, 8)
"""
SERVE = f"""{WITHOUT_TORCH}
from pathlib import Path
from fastapi.testclient import TestClient
from progeo.places.database import PlaceDatabase
from progeo.serve.app import create_app
from progeo.serve.warming import warm_up
with PlaceDatabase.open(sys.argv[1]) as database:
    warm_up(database)
    with TestClient(create_app(database), base_url="http://localhost") as client:
        answer = client.post("/api/locate", files={{"photos": ("a.jpg", Path(sys.argv[2]).read_bytes())}})
        print(answer.status_code, len(answer.json()[0]["matches"] if isinstance(answer.json(), list) else answer.text))
"""


@pytest.fixture(scope="module")
def network() -> PlaceNetwork:
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.preprocessing = dataclasses.replace(network.preprocessing, image_size=40)
    return network


def run(code: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


def test_index_locate_and_serve_with_a_graph(network: PlaceNetwork, tiny_city: Path, tmp_path: Path) -> None:
    export_model(network, tmp_path / "model.onnx")
    run(ENCODE, "model.onnx", str(tmp_path / "model.reference.png"), folder=tmp_path)
    photos = tiny_city / "test" / "database"
    query = str(next((tiny_city / "test" / "queries").iterdir()))
    done = run(RUN, "index", str(photos), "--model", "model.onnx", "--database", "town", folder=tmp_path)
    assert "Engine: ONNX Runtime, CPUExecutionProvider" in done.stderr
    (tmp_path / "model.onnx").unlink()  # the database keeps a copy
    done = run(RUN, "locate", query, "--database", "town", "--json", folder=tmp_path)
    assert "Engine: ONNX Runtime" in done.stderr
    assert json.loads(done.stdout)
    assert run(SERVE, "town", query, folder=tmp_path).stdout.startswith("200")


def test_locate_takes_the_graph_that_an_earlier_run_has_kept(
    network: PlaceNetwork, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from progeo.models.encoder import Encoder
    from progeo.places.database import PlaceDatabase

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    save_model(tmp_path / "model.safetensors", network)
    photos = sorted((tiny_city / "test" / "database").iterdir())
    with PlaceDatabase.create(tmp_path / "town", tmp_path / "model.safetensors", engine="torch") as database:
        database.add(photos)
    Encoder.create(network, engine="onnx").encode(photos[:1])
    done = run(RUN, "locate", str(photos[0]), "--database", "town", "--json", folder=tmp_path)
    assert "Engine: ONNX Runtime" in done.stderr
    assert photos[0].name in json.dumps(json.loads(done.stdout))


def test_the_requirements_of_a_server_name_no_torch() -> None:
    lines = REQUIREMENTS.read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith(("#", "--"))]
    assert all(re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", line) for line in packages)
    assert not {"torch", "torchvision", "timm"} & {line.partition("==")[0] for line in packages}
    constraints = (REQUIREMENTS.parent.parent / "constraints.txt").read_text()
    for line in packages:
        name = re.sub(r"\[\w+\]", "", line)
        assert re.search(rf"^{re.escape(name)}( ;|$)", constraints, re.MULTILINE), line


def install(folder: Path) -> Path:
    """Make an environment as the CPU image has it, and return its Python."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not uv:
        pytest.skip("no uv to make an environment with")
    python = folder / "bin" / "python"
    add = [uv, "pip", "install", "--quiet", "--python", str(python)]
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    done = subprocess.run([*add, "--requirements", str(REQUIREMENTS)], capture_output=True, text=True)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"packages cannot be installed: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    subprocess.run([*add, "--no-deps", str(REQUIREMENTS.parent.parent)], check=True)
    return python


def measure_size(python: Path | str) -> float:
    """Return how many gigabytes the libraries of an environment take."""
    words = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    libraries = Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())
    return sum(path.stat().st_size for path in libraries.rglob("*") if path.is_file()) / 1e9


def test_an_environment_without_torch(
    tiny_city: Path, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """As ``docker/cpu.Dockerfile`` installs it: what it takes, and that a photo is located in it."""
    model = progeo.load_model("EfficientNet-Lite0")
    export_model(model, tmp_path / "model.onnx")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    small, full = install(tmp_path / "environment"), sys.executable

    def call(python: Path | str, *words: str) -> tuple[str, float, float]:
        """Return what a command prints, its seconds, and its megabytes at most."""
        start = time.perf_counter()
        done = subprocess.run(
            [str(python), "-c", MEASURED, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, time.perf_counter() - start, int(done.stderr.split()[-2]) / 1e3

    photos = tiny_city / "test" / "database"
    query = str(next((tiny_city / "test" / "queries").iterdir()))
    call(small, "index", str(photos), "--model", "model.onnx", "--database", "town")
    found = {python: call(python, "locate", query, "--database", "town", "--json") for python in (small, full)}
    answers = [json.loads(printed)[0]["matches"][0]["path"] for printed, _, _ in found.values()]
    assert answers[0] == answers[1]
    for name, python in (("small", small), ("full", full)):
        _, seconds, megabytes = found[python]
        size = measure_size(python)
        record_testsuite_property(
            f"{name} environment", f"{seconds:.1f} s, {megabytes:.0f} MB, {size:.2f} GB installed"
        )
    assert measure_size(small) < 1
    assert found[small][2] < 600  # 433 where it was measured: docs/benchmarks.md
