"""Runs what README.md and the pages in docs/ show: each command, each Python snippet, each link.

A page's blocks run in their order, in a folder that holds what the pages name: ``photos``, ``path/to/…``, a run below
``logs``, all made from the tiny city. Options are appended to the commands, where they win over those shown, so that
a misspelt option, a missing file or a removed command fails while nothing takes long:

- training: few, small steps, and a set of 32 photos without headings (``SMALL_TRAINING``); a tiny backbone with random
  weights instead of the one shown, whose name is checked, unless a trained model is started from; a tiny CLIP for one
  with a text tower;
- evaluation: the CPU, and random weights where no model is given;
- ``progeo data split``: small cells and a small buffer, since the tiny city is a hundred metres long;
- ``make demo`` runs the demo with these settings on the tiny city, and ``progeo data toy-city`` copies the tiny city;
- ``walk.mp4`` and ``walk.gpx`` are ten seconds of one walk;
- published data sets are tiny samples in their publishers' structure;
- published models are files with random weights, in place of the download; ``path/to/clone`` is a torch.hub folder;
- open street-level pictures come from a local service;
- ``progeo serve`` opens the database and all else but the port, and ``curl`` asks that service;
- ``progeo.train`` takes the same small settings, and backbones of torchvision have random weights.

The commands of docs/benchmarks.md take hours, so only their options are read.
"""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
import torchvision
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from progeo.cli import program as cli
from progeo.cli.eval import EvalOptions
from progeo.cli.train import TrainOptions
from progeo.cli.train import run as run_training
from progeo.data.file_names import FILE_NAME_FIELDS
from progeo.data.table import read_photos
from progeo.evaluation.protocols import PROTOCOLS
from progeo.imagery.sources import Panoramax, Source
from progeo.models import published as published_models
from progeo.models.backbones.create import find_backbone
from progeo.models.building import create_model
from progeo.models.catalogue import COSPLACE, COSPLACE_RELEASE, EIGENPLACES, list_published
from progeo.models.hub import HUB_MODELS

from .conftest import REPOSITORY
from .data import published as published_sets
from .data.footage import write_track, write_video
from .data.photos import write_photo
from .imagery.service import Service, offer, serve

EXAMPLES = REPOSITORY / "examples"
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
NAMES = (
    *("quick-start", "your-photos", "datasets", "training", "reproduce", "evaluating", "locating", "serving", "deploy"),
    *("install", "your-town", "positions", "reconstruction", "choosing"),
    "extend",
)
PAGES = [README, *(DOCS / f"{name}.md" for name in NAMES)]
HUBCONF = """
import torch


def get_trained_model():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
"""
TEXTS = ("architecture", "options", "benchmarks", "reliability")
ALL_PAGES = [*PAGES, REPOSITORY / "CHANGELOG.md", *(DOCS / f"{name}.md" for name in TEXTS)]

PUBLISHED_SETS = {
    "gsv_cities": published_sets.write_gsv_cities,
    "msls": published_sets.write_mapillary_sls,
    "pittsburgh": published_sets.write_pittsburgh,
    "tokyo247": published_sets.write_tokyo247,
    "nordland": published_sets.write_nordland,
    "amstertime": published_sets.write_amstertime,
    "eynsham": published_sets.write_eynsham,
    "svox": lambda folder: published_sets.write_reformatted(folder, "30@U", "gallery", "queries_night"),
}
TINY_BACKBONE = "timm:test_resnet"
TINY_CLIP = "open_clip:progeo-tiny-rn"
SMALL_SETTINGS: dict[str, Any] = {
    **{"epochs_num": 1, "iterations_per_epoch": 1, "batch_size": 4, "image_size": 32, "device": "cpu"},
    **{"M": 10, "alpha": 360, "N": 1, "L": 1, "groups_num": 1, "min_images_per_class": 2, "backbone_weights": "none"},
}
SMALL_TRAINING = [word for name, value in SMALL_SETTINGS.items() for word in (f"--{name}", str(value))]
SMALL_STAGE1 = {"image_size": 64, "epochs_num_stage1": 2, "batch_size_stage1": 8}
SMALL_EVALUATION = ["--device", "cpu", "--backbone_weights", "none"]
SCRIPTS = {"train.py": "train", "eval.py": "eval"}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``line`` is where its text starts."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The block's commands, each as a list of words."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def read_blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start(3)) + 1, found[2], dedent(found[3]))
        for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    ]


def read_section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one."""
    return re.split(r"^#+ ", page.read_text(encoding="utf-8").split(f"\n{heading}\n")[1], flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """What stands in backticks in the first column of a table."""
    return [name for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE) for name in re.findall("`([^`]+)`", row)]


def without_blocks(page: Path) -> str:
    return re.sub(r"^ *```.*?```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def prepared(tiny_city: Path, tiny_clips: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages name: data sets, a run, a file of weights, prompts, photos."""
    folder = tmp_path_factory.mktemp("prepared")
    for place in ("photos", "path/to/sf_xl/processed", "path/to/sf_xl/raw"):
        shutil.copytree(tiny_city, folder / place)
    shutil.move(folder / "path/to/sf_xl/raw/train", folder / "path/to/sf_xl/raw/photos")
    (folder / "path/to/sf_xl/raw/train").mkdir()
    shutil.move(folder / "path/to/sf_xl/raw/photos", folder / "path/to/sf_xl/raw/train/database")
    shutil.copytree(tiny_city / "test", folder / "path/to/st_lucia")
    for photo in (folder / "path/to/st_lucia").rglob("*.jpg"):
        photo.rename(photo.with_name(photo.name.replace("@31@S@", "@56@J@")))
    shutil.copytree(tiny_city / "test/queries", folder / "path/to/sf_xl/processed/test/queries_v2")
    for photo in (folder / "path/to/sf_xl/processed/test").rglob("*.jpg"):
        photo.rename(photo.with_name(photo.name.replace("@31@S@", "@10@S@")))
    for photo in (folder / "photos/test/queries").iterdir():
        photo.rename(photo.with_name(photo.name.replace("@@@.jpg", "@20190105_120000@@.jpg")))
    for name, write in PUBLISHED_SETS.items():
        write(folder / "path/to" / name)
    write_video(folder / "walk.mp4")
    write_track(folder / "walk.gpx")
    (folder / "path/to/clone").mkdir()
    (folder / "path/to/clone/hubconf.py").write_text(HUBCONF)
    torch.save(
        create_model("ResNet50", descriptor_dim=128, weights="none").state_dict(), folder / "path/to/best_model.pth"
    )

    table = read_photos(tiny_city / "test/database", tmp_path_factory.mktemp("cache"))
    for number, row in enumerate(table.iter_rows(named=True)):
        with Image.open(row["path"]) as image:
            position = (row["latitude"], row["longitude"])
            write_photo(folder / f"phone_photos/IMG_{number}.jpg", position, heading=row["heading"], image=image)
    for copied, target in {"val/database": "holidays/2024", "train": "kept_apart", "test/queries": "walk"}.items():
        shutil.copytree(tiny_city / copied, folder / target)
    shutil.copytree(folder / "walk", folder / "more_photos")
    shutil.copy(min((folder / "walk").iterdir()), folder / "where_is_this.jpg")
    shutil.copytree(folder / "path/to/st_lucia", folder / "campus")
    for photo in (folder / "campus").rglob("*.jpg"):
        east_and_north = "@".join(photo.name.split("@")[:3])
        photo.rename(photo.with_name(f"{east_and_north}@@@@@{photo.name.split('@')[7]}@.jpg"))
    (folder / "serve.yaml").write_text("token: open-sesame\n")
    shutil.copytree(folder / "phone_photos", folder / "my_set")
    labels = [
        {
            "file": path.name,
            "lat": 36.1,
            "lon": 3.0 + number / 1e5,
            "compass": 90 * number % 360,
            "drive": 1 + number % 2,
        }
        for number, path in enumerate(sorted((folder / "my_set").iterdir()))
    ]
    (folder / "my_set/labels.json").write_text(json.dumps(labels))

    photos = sorted((tiny_city / "train").iterdir())[:2]
    (folder / "originals").mkdir()
    rows = ["file,latitude,longitude,heading"]
    for number, photo in enumerate(photos, start=1):
        for target in (folder / f"photo_{number}.jpg", folder / "originals" / f"photo_{number}.jpg"):
            shutil.copy(photo, target)
        rows.append(f"photo_{number}.jpg,37.7493{number},-122.4427,{'' if number == 2 else 270}")
    (folder / "originals/positions.csv").write_text("\n".join(rows) + "\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("logs/written/2026-01-31_10-00-00").mkdir(parents=True)
        Path("logs/written/2026-01-31_10-00-00/written.jsonl").touch()
        run = Path("logs/my_city/2026-01-31_10-00-00")
        run.mkdir(parents=True)
        folders: dict[str, Any] = {f"{part}_set_folder": f"photos/{part}" for part in ("train", "val", "test")}
        options = TrainOptions(
            **folders, **SMALL_SETTINGS, backbone=TINY_BACKBONE, num_preds_to_save=3, save_dir="my_city"
        )
        run_training(options, run)
        shutil.copytree("logs/my_city", "logs/toy_city")
        clip = SMALL_SETTINGS | SMALL_STAGE1 | {"backbone": TINY_CLIP, "stage": 1}
        run_training(TrainOptions(**folders, **clip), Path("path/to"))
        for path in (*Path("path/to").glob("image_features*"), *Path("path/to").glob("stage1_*")):
            path.unlink()
    return folder


@pytest.fixture
def street_pictures() -> Iterator[Service]:
    with serve() as service:
        yield service


@pytest.fixture
def workspace(
    prepared: Path, tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, street_pictures: Service
) -> Path:
    """A copy of what is prepared, as the current folder, with the stand-ins of this module's docstring."""
    folder = tmp_path / "workspace"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(published_models, "download", write_published_model)

    def copy_city(out: str | Path, **_: Any) -> None:
        shutil.copytree(tiny_city, out, dirs_exist_ok=True)

    import progeo.cli.demo
    import progeo.serve.server
    import progeo_toy_city

    monkeypatch.setattr(progeo_toy_city, "make_toy_city", copy_city)
    monkeypatch.setattr(progeo.cli.demo, "BACKBONE", TINY_CLIP)
    small = SMALL_SETTINGS | SMALL_STAGE1
    monkeypatch.setattr(progeo.cli.demo, "TrainOptions", lambda **given: TrainOptions(**(given | small)))
    few = {name: small[name] for name in ("image_size", "device", "backbone_weights")}
    monkeypatch.setattr(progeo.cli.demo, "EvalOptions", lambda **given: EvalOptions(**(given | few)))

    monkeypatch.setattr(uvicorn.Server, "run", Served.take)
    monkeypatch.setattr(progeo.serve.server, "listen", lambda host, port: socket.create_server((host, 0)))

    offer(street_pictures, near=(45.4432, 9.2179))
    monkeypatch.setattr(Panoramax, "home", f"{street_pictures.address}/api")
    monkeypatch.setattr(Source, "pause", 0.0)

    load = torch.hub.load

    def load_from_here(repository: str, name: str, *, source: str = "github", **settings: Any) -> Any:
        if repository == str(Path("path/to/clone").resolve()):
            return load(repository, name, source=source, **settings)
        assert (repository, source) == ("path/to/progeo", "local")
        return load(str(REPOSITORY), name, source="local", **settings)

    monkeypatch.setattr(torch.hub, "load", load_from_here)
    train, mobilenet = progeo.train, torchvision.models.mobilenet_v3_small
    monkeypatch.setattr(progeo, "train", lambda *given, **settings: train(*given, **(settings | SMALL_SETTINGS)))
    monkeypatch.setattr(torchvision.models, "mobilenet_v3_small", lambda **_: mobilenet(weights=None))
    return folder


def write_published_model(address: str, path: Path) -> None:
    """Stand in for the release page: random weights under the name that is asked for."""
    assert address == f"{COSPLACE_RELEASE}/{path.name}"
    backbone, dimension, _ = path.stem.split("_")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(create_model(backbone, descriptor_dim=int(dimension), weights="none").state_dict(), path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_snippets_of_a_page_run(
    page: Path, workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [block for block in read_blocks(page) if block.language != "text"]
    assert blocks
    for block in blocks:
        if block.language == "python":
            run_snippet(block, capsys)
        elif block.language == "sh":
            for words in block.commands():
                run_command(words, block.place, capsys, monkeypatch)
        else:
            pytest.fail(f"{block.place}: mark the block as sh, python or text")
    if page.stem == "quick-start":
        look_at = [place for place in first_cells(page.read_text(encoding="utf-8")) if place.startswith("demo/")]
        assert look_at
        assert [place for place in look_at if not Path(place).exists()] == []
    if page.stem == "your-photos":
        named = read_photos("named_photos").sort("pano_id")
        assert named["heading"].to_list() == [270.0, None]
        assert named["utm_east"].to_list() == pytest.approx([549100, 549100], abs=50)
        divided = read_photos("split.csv")
        assert set(divided["split"].drop_nulls()) == {"train", "val", "test"}
    if page.stem == "serving":
        metrics = Path("curl.out").read_text(encoding="utf-8")
        assert first_cells(read_section(page, "## Metrics"))
        assert [name for name in first_cells(read_section(page, "## Metrics")) if f"\n{name}" not in metrics] == []
    if page.stem == "evaluating":
        results = json.loads(Path("results.json").read_text(encoding="utf-8"))
        assert sorted(first_cells(read_section(page, "## The results"))) == sorted(results)


def run_snippet(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a Python block; a comment behind a ``print(…)`` must be what it prints."""
    capsys.readouterr()
    code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
    exec(code, {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    prints = [line for line in block.text.splitlines() if line.lstrip().startswith("print(")]
    assert len(printed) == len(prints), block.place
    for line, output in zip(prints, printed, strict=True):
        _, _, comment = line.partition("  # ")
        assert comment in ("", output), f"{block.place}: {line} prints {output}"


def run_command(
    words: list[str], place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a command of a page as this module's docstring says, or check what cannot be run inside a test."""
    command = f"{place}: {shlex.join(words)}"
    match words:
        case ["progeo" | "python3", *_] if words[1] != "-m":
            output_file = words[-1] if words[-2] == ">" else None
            words = words[:-2] if output_file else words
            capsys.readouterr()
            code = run_progeo(words, monkeypatch)
            output = capsys.readouterr()
            assert code == 0, f"{command}\n{output.err}"
            if output_file:
                Path(output_file).write_text(output.out, encoding="utf-8")
        case ["curl", *arguments]:
            run_curl(arguments, command)
        case ["make", target]:
            makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{target}:.*\n\t", makefile, re.MULTILINE), command
            if target == "demo":
                assert "/progeo demo\n" in makefile
                assert cli.main(["demo"]) == 0, f"{command}\n{capsys.readouterr().err}"
        case ["pip", "install", "-e", requirement, *further]:
            assert_extras_exist(requirement)
            assert all((REPOSITORY / path / "pyproject.toml").is_file() for path in further if path != "-e"), command
        case ["tensorboard", "--logdir", folder]:
            assert find_spec("tensorboard") and list(Path(folder).rglob("events.out.tfevents*")), command
        case ["python3", "-m", "venv", ".venv"] | ["source", ".venv/bin/activate"]:
            pass
        case _:
            pytest.fail(f"{command}\nSay in tests/test_docs.py how to run this.")


def assert_extras_exist(requirement: str) -> None:
    """Check that the package has the extras of a requirement such as ``.[train,clip]``."""
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    known = re.findall(
        r"^(\w+) = \[", project.split("\n[project.optional-dependencies]\n")[1].split("\n[")[0], re.MULTILINE
    )
    named = re.fullmatch(r"(?:\.|progeo)\[([\w,]+)\]", requirement)
    assert named and set(named[1].split(",")) <= set(known), requirement


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_extras_in_the_text_exist(page: Path) -> None:
    for requirement in re.findall(r'pip install (?:-e )?"([^"]+)"', without_blocks(page)):
        assert_extras_exist(requirement)


def run_progeo(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run ``progeo …``, ``python3 train.py …`` or ``python3 eval.py …`` with small settings; return the exit code."""
    name, arguments = read_command(words)
    arguments = [*arguments, *small_settings(name, arguments)]
    if words[0] == "progeo":
        return cli.main([*name.split(), *arguments])
    monkeypatch.setattr(sys, "argv", [words[1], *arguments])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(REPOSITORY / words[1]), run_name="__main__")
    return int(exit_info.value.code or 0)


class Served:
    """The service that the last ``progeo serve`` of a page would have run."""

    app: Any = None

    @staticmethod
    def take(server: uvicorn.Server, sockets: list[Any]) -> None:
        """Stand in for ``uvicorn.Server.run``."""
        Served.app = server.config.app


def run_curl(arguments: list[str], command: str) -> None:
    """Ask the service what ``curl`` would ask it; the answer goes to ``curl.out``, or where ``-o`` says."""
    form: list[tuple[str, Any]] = []
    headers, target, address = {}, "curl.out", ""
    words = iter(arguments)
    for word in words:
        if word == "-F":
            name, _, value = next(words).partition("=")
            is_file = value.startswith("@")
            form.append((name, (value[1:], Path(value[1:]).read_bytes()) if is_file else (None, value)))
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-o":
            target = next(words)
        else:
            assert not address and word.startswith("http://127.0.0.1:8000/"), command
            address = word
    with TestClient(Served.app, base_url="http://127.0.0.1:8000") as client:
        if address.endswith("/ID"):
            places = client.get("/api/places").json()
            address = address.removesuffix("ID") + places["features"][0]["properties"]["id"]
        answer = client.request("POST" if form else "GET", address, files=form or None, headers=headers)
    assert answer.status_code == 200, f"{command}\n{answer.text}"
    Path(target).write_bytes(answer.content)


def read_command(words: list[str]) -> tuple[str, list[str]]:
    """Return a command's name in ``cli.COMMANDS`` (nothing for ``progeo --help``) and the arguments behind it."""
    if words[0] == "python3":
        return SCRIPTS[words[1]], words[2:]
    names = [name for name in cli.COMMANDS if words[1:][: len(name.split())] == name.split()]
    name = names[0] if names else ""
    return name, words[1 + len(name.split()) :]


def small_settings(name: str, arguments: list[str]) -> list[str]:
    """Return the options to append, after a look at those that they hide."""
    if name == "prompts show":
        return ["--backbone_weights", "none"]
    if name == "data split":
        return ["--cell", "10", "--buffer", "5"]
    if name not in SCRIPTS.values():
        return []
    shown = cli.parse_options(name, arguments)
    has_text = shown.backbone is not None and find_backbone(shown.backbone).create_image_text is not None
    if name == "eval":
        return SMALL_EVALUATION
    if has_text:
        stage1 = [word for setting, value in SMALL_STAGE1.items() for word in (f"--{setting}", str(value))]
        return [*SMALL_TRAINING, *stage1, "--backbone", TINY_CLIP]
    training = SMALL_TRAINING
    if "gsv_cities" in str(shown.train_set_folder):  # its classes are its places, and not cells
        cells = ("--M", "--alpha", "--N", "--L")
        training = [
            word for word, before in zip(training, ["", *training], strict=False) if not {word, before} & {*cells}
        ]
    return training if shown.resume_model else [*training, "--backbone", TINY_BACKBONE]


def test_examples_are_those_of_the_page() -> None:
    text = (DOCS / "extend.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^`(examples/\w+\.py)`:\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert shown == {f"examples/{path.name}": path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}


def test_options_of_benchmark_commands_are_known() -> None:
    for block in read_blocks(DOCS / "benchmarks.md"):
        for words in block.commands() if block.language == "sh" else ():
            if words[0] == "progeo" or words[:2] in (["python3", "train.py"], ["python3", "eval.py"]):
                name, arguments = read_command(words)
                cli.parse_options(name, arguments)


@cache
def known_options() -> set[str]:
    """All options of all commands, switches also in their negative form."""
    known = {"--config", "--debug", "--help", "--version", "--name", "--no_name"}
    known |= {f"--{name}" for name in cli.PUBLISHED_ONLY}
    for command in cli.COMMANDS:
        for option in dataclasses.fields(cli.find_options_class(command)):
            names = (option.name, *option.metadata["names"])
            known |= {f"--{name.removeprefix('--')}" for name in names} | {f"--no_{option.name}"}
    return known


@pytest.mark.parametrize("page", [page for page in ALL_PAGES if page.stem != "benchmarks"], ids=lambda page: page.stem)
def test_options_in_the_text_exist(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[A-Za-z]\w*", without_blocks(page)))
    assert named <= known_options()


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", without_blocks(page)):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_figures_of_the_readme_are_measured() -> None:
    """Each stands in docs/benchmarks.md, where its command is."""
    benchmarks = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    rows = [row for row in read_section(README, "## Results").splitlines() if row.startswith("| ")]
    figures = set(re.findall(r"\d+\.\d+", " ".join(rows)))
    assert len(figures) > 10
    missing = [figure for figure in figures if not re.search(rf"(?<![\d.]){figure}(?!\d)", benchmarks)]
    assert missing == []


def test_the_version_is_the_same_everywhere() -> None:
    texts = [
        (REPOSITORY / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")
    ]
    patterns = (r'^version = "(.*)"$', r"^version: (.*)$", r"^## (.*)$")
    found = [re.search(pattern, text, re.MULTILINE) for pattern, text in zip(patterns, texts, strict=True)]
    assert len({match and match[1] for match in found}) == 1, found


def test_the_address_of_the_repository_stands_in_one_place() -> None:
    """Who publishes the project writes it there alone."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    texts = [REPOSITORY / name for name in listed.stdout.splitlines() if not name.startswith("tests/")]
    named = [
        path.name
        for path in texts
        if path.suffix in (".md", ".py", ".toml", ".yml", ".cff", ".html", ".js", "")
        and path.is_file()
        and re.search(r"OWNER/progeo|ADDRESS-OF", path.read_text(encoding="utf-8"))
    ]
    assert named == ["pyproject.toml"]
    assert (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8").count("OWNER/progeo") == 1


def test_options_page_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "write_options.py"))["describe_options"]()
    assert (DOCS / "options.md").read_text(encoding="utf-8") == page, "run: python docs/write_options.py"


def test_run_folder_is_as_described(prepared: Path) -> None:
    names = first_cells(read_section(DOCS / "training.md", "## The run folder"))
    (run,) = (prepared / "logs/my_city").iterdir()
    assert names
    assert [name for name in names if not list(run.glob(name.replace("…", "*")))] == []
    assert [
        path.name for path in run.iterdir() if not any(path.name.startswith(name.rstrip("…")) for name in names)
    ] == []


def test_file_name_fields_are_as_described() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", read_section(DOCS / "your-photos.md", "## File names"), re.MULTILINE)
    assert rows == [(str(number), name) for number, name in enumerate(FILE_NAME_FIELDS, start=1)]


def test_protocols_are_as_described() -> None:
    text = read_section(DOCS / "evaluating.md", "## Protocols")
    rows = re.findall(r"^\| `([\w-]+)` \| ([\w ]+) \| ([\d,]+) \| ([\d,]+) \| ([\w ]+) \|$", text, re.MULTILINE)
    assert rows == [
        (
            protocol.name,
            str(protocol.rule),
            f"{protocol.database_images:,}",
            f"{protocol.queries:,}",
            "checked" if protocol.checked else "as stated",
        )
        for protocol in PROTOCOLS.values()
    ]


def test_models_of_others_are_as_described() -> None:
    text = read_section(DOCS / "evaluating.md", "### Models of others")
    rows = re.findall(r"^\| `([\w-]+)[^`]*` \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    sizes, ranges, licences = {}, {}, {}
    for name, model in HUB_MODELS.items():
        side = model.preprocessing.image_size
        sizes[name] = f"{side} x {side}" if model.preprocessing.square else "any size"
        first, last = model.dimensions[0], model.dimensions[-1]
        ranges[name] = str(first) if first == last else f"{first} to {last}"
        licences[name] = model.licence
    assert {name: size for name, size, _, _ in rows} == sizes
    assert {name: dimensions for name, _, dimensions, _ in rows} == ranges
    assert {name: licence for name, _, _, licence in rows} == licences


def test_published_models_are_as_described() -> None:
    text = read_section(DOCS / "evaluating.md", "## Published models")
    rows = re.findall(r"^\| (\w+) \| ([\d, ]+) \| ([\d, ]*)\|$", text, re.MULTILINE)
    published = [{row[0]: row[column] for row in rows if row[column].strip()} for column in (1, 2)]
    for models, shown in zip((COSPLACE, EIGENPLACES), published, strict=True):
        assert {name: tuple(map(int, sizes.split(", "))) for name, sizes in shown.items()} == models

    described: dict[str, list[str]] = {}
    for name, model in list_published().items():
        size = model.spec.preprocessing
        photos = f"{size.image_size} x {size.image_size}" if size.square else "any size"
        first = described.setdefault(name.partition(":")[0], [photos, "", model.trained_on, model.spec.licence])
        dimensions = sorted({int(one) for one in re.findall(r"\d+", first[1])} | {model.spec.descriptor_dim})
        first[1] = " to ".join(map(str, sorted({dimensions[0], dimensions[-1]})))
    assert {
        name: cells.split(" | ")
        for name, cells in re.findall(r"^\| `([\w-]+)[^`]*` \| ([^|]+ \| .*) \|$", text, re.MULTILINE)
    } == described


def test_error_without_classes_is_as_shown(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = (block.text for block in read_blocks(DOCS / "your-photos.md") if block.text.startswith("Error: "))
    folders = [f"--{part}_set_folder=photos/{part}" for part in ("train", "val", "test")]
    assert cli.main(["train", *folders, "--alpha", "360"]) == 2
    assert capsys.readouterr().err.removeprefix("progeo train: starting\n") == shown
