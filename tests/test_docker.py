"""The files of ``docker/``: images cannot be built here, so they are read and compared with what they refer to."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from progeo.cli import program

from .conftest import REPOSITORY
from .serve.conftest import ColourDatabase, choose_colours, make_app, make_photo

DOCKER = REPOSITORY / "docker"
IMAGES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSES = sorted(DOCKER.glob("compose*.yaml"))
INSTRUCTIONS = {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
REPLICAS = {"replica-1", "replica-2"}


def read_stages(path: Path) -> list[list[tuple[str, str]]]:
    """The stages of a Dockerfile, each the instructions and their arguments."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, arguments = line.partition(" ")
        assert name in INSTRUCTIONS, line
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, " ".join(arguments.split())))
    return stages


def find(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [arguments for instruction, arguments in stage if instruction == name]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file or folder into the build."""
    ignored = False
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().lstrip("!").removeprefix("**/")
        if pattern and not line.startswith("#") and (fnmatch.fnmatch(path, pattern) or path.startswith(f"{pattern}/")):
            ignored = not line.startswith("!")
    return not ignored


def assert_pinned(image: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*", image), image


def parse(command: list[str]) -> Any:
    """The options of a command of progeo; an error where it has others."""
    name, rest = program._split_command(command)
    return program.parse_options(name, rest)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return content


def test_there_are_both_images() -> None:
    assert {path.name for path in IMAGES} == {"cpu.Dockerfile", "gpu.Dockerfile"}


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_image(path: Path) -> None:
    stages = read_stages(path)
    assert len(stages) == 2
    for stage in stages:
        assert_pinned(find(stage, "FROM")[0].partition(" ")[0])
    build, image = stages
    for arguments in find(build, "COPY"):
        *sources, _ = shlex.split(arguments)
        assert [source for source in sources if not (REPOSITORY / source).exists() or not is_sent(source)] == []
    assert [arguments.split()[0] for arguments in find(image, "COPY")] == ["--from=build"]
    for arguments in find(build, "RUN"):
        for requirements in re.findall(r"--(?:requirement|constraint) /build/(\S+)", arguments):
            assert (REPOSITORY / requirements).is_file()

    user, group = find(image, "USER")[-1].split(":")
    assert int(user) > 0 and int(group) > 0
    assert f"--uid {user} " in find(image, "RUN")[0]
    assert json.loads(find(image, "VOLUME")[0]) == ["/database", "/weights"]
    assert "XDG_CACHE_HOME=/weights" in " ".join(find(image, "ENV"))

    assert json.loads(find(image, "ENTRYPOINT")[0]) == ["progeo"]
    options = parse(json.loads(find(image, "CMD")[0]))
    assert (options.database, options.host, options.token) == ("/database", "0.0.0.0", None)
    assert find(image, "EXPOSE") == [str(options.port)]


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_health_check_asks_whether_the_service_is_ready(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (arguments,) = find(read_stages(path)[-1], "HEALTHCHECK")
    command = json.loads(arguments[arguments.index("[") :])
    assert command[:2] == ["python", "-c"]
    asked: list[str] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda address, timeout: asked.append(address))
    exec(command[2], {})
    (address,) = asked
    with TestClient(make_app(ColourDatabase(choose_colours(3)))) as client:
        assert address.startswith("http://127.0.0.1:8000/")
        assert client.get(address.removeprefix("http://127.0.0.1:8000")).status_code == 200


def test_image_without_pytorch_installs_what_is_enough() -> None:
    build, _ = read_stages(DOCKER / "cpu.Dockerfile")
    installs = [arguments for arguments in find(build, "RUN") if arguments.startswith("pip install")]
    assert installs == [
        "pip install --requirement /build/docker/serve-requirements.txt",
        "pip install --no-deps /build",
    ]
    lines = (DOCKER / "serve-requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w-]+(\[\w+\])?==[\d.]+", line)] == []


def test_image_for_gpus_installs_extras_that_exist() -> None:
    build, _ = read_stages(DOCKER / "gpu.Dockerfile")
    (extras,) = re.findall(r'"/build\[([\w,]+)\]"', " ".join(find(build, "RUN")))
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert [extra for extra in extras.split(",") if f"\n{extra} = [" not in project] == []


@pytest.mark.parametrize("path", COMPOSES, ids=lambda path: path.stem)
def test_services(path: Path) -> None:
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    for service in services.values():
        assert_pinned(service["image"])
        if "build" in service:
            context = (DOCKER / service["build"]["context"]).resolve()
            assert context == REPOSITORY
            assert (context / service["build"]["dockerfile"]) in IMAGES
            options = parse(service["command"])
            assert (options.database, options.database_version, options.host) == ("/database", "live", "0.0.0.0")
    assert {name for name, service in services.items() if "build" in service} == REPLICAS


def test_replicas_read_only(compose: dict[str, Any]) -> None:
    for name in REPLICAS:
        service = compose["services"][name]
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        mounted = [volume.rpartition("}")[2] for volume in service["volumes"] if "PROGEO_DATABASE" in volume]
        assert mounted == [":/database:ro"]
        assert "ports" not in service  # the proxy alone is reached from outside
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert "127.0.0.1" in port


def test_mounted_files_exist(compose: dict[str, Any]) -> None:
    mounted = [
        volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])
    ]
    files = [source for source in mounted if source.startswith("./")]
    assert len(files) == 4
    assert [source for source in files if not (DOCKER / source).exists()] == []
    assert {source for source in mounted if re.fullmatch(r"\w+", source)} == set(compose["volumes"])


def test_proxy_and_prometheus_know_the_replicas(compose: dict[str, Any]) -> None:
    addresses = {f"{name}:8000" for name in REPLICAS}
    proxy = (DOCKER / "Caddyfile").read_text(encoding="utf-8")
    (replicas,) = re.findall(r"\{\$PROGEO_REPLICAS:([^}]*)\}", proxy)
    assert set(replicas.split()) == addresses
    assert set(compose["services"]["proxy"]["depends_on"]) == REPLICAS
    prometheus = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = prometheus["scrape_configs"]
    assert set(job["static_configs"][0]["targets"]) == addresses
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_dashboard_shows_figures_that_there_are(compose: dict[str, Any]) -> None:
    (provider,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/progeo.yaml").read_text())["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose["services"]["grafana"]["volumes"]
    dashboard = json.loads((DOCKER / "grafana/dashboards/progeo.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {name for expression in expressions for name in re.findall(r"\bprogeo_\w+", expression)}
    with TestClient(make_app(ColourDatabase(choose_colours(3)))) as client:
        client.post("/api/locate", files={"photos": make_photo((200, 30, 30))})
        metrics = client.get("/metrics").text
    assert len(shown) >= 6
    assert [name for name in shown if not re.search(rf"^{name}[ {{]", metrics, re.MULTILINE)] == []
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"prometheus"}
