"""The examples that need programs beside progeo, each with something that stands in for the program."""

from __future__ import annotations

import math
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from progeo import cli
from progeo.models.building import create_model
from progeo.models.files import save_model
from progeo.places.database import PlaceDatabase

from .conftest import REPOSITORY
from .locating.output.photos import ask_exiftool
from .places.conftest import filled, model_file, no_reader_is_waited_for

__all__ = ["filled", "model_file", "no_reader_is_waited_for"]

EXAMPLES = sorted((REPOSITORY / "examples").rglob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_compile(path: Path) -> None:
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_hloc_gets_pairs_that_it_reads(tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hloc itself is not here: what stands in for it reads the pairs as hloc does, one of two names a line."""
    images, out = tiny_city / "test/database", tmp_path / "out"
    network = create_model("timm:test_resnet", descriptor_dim=16, weights="none").eval()
    save_model(tmp_path / "model.safetensors", network)
    reconstructed: list[list[str]] = []

    def reconstruct(sfm: Path, folder: Path, pairs: Path, features: Path, matches: Path) -> None:
        reconstructed.extend(line.split() for line in pairs.read_text(encoding="utf-8").splitlines())

    steps = {
        "extract_features": SimpleNamespace(
            confs={"aliked-n16": {"output": "feats"}}, main=lambda *_: out / "feats.h5"
        ),
        "match_features": SimpleNamespace(confs={"aliked+lightglue": {}}, main=lambda *_: out / "matches.h5"),
        "reconstruction": SimpleNamespace(main=reconstruct),
    }
    hloc: Any = ModuleType("hloc")
    vars(hloc).update(steps)
    monkeypatch.setitem(sys.modules, "hloc", hloc)

    def run(words: list[Any], check: bool) -> None:
        assert check and cli.main([*map(str, words[1:]), "--device", "cpu"]) == 0

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["reconstruct.py", str(images), str(out), str(tmp_path / "model.safetensors")])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(REPOSITORY / "examples/hloc/reconstruct.py"), run_name="__main__")
    assert reconstructed
    assert {len(pair) for pair in reconstructed} == {2}
    assert all((images / name).is_file() for pair in reconstructed for name in pair)


@pytest.fixture
def calibrated(filled: Path, tmp_path: Path) -> Path:
    """A database of eight places that says how sure it is."""
    folder = Path(shutil.copytree(filled, tmp_path / "places"))
    with PlaceDatabase.open(folder, device="cpu") as database:
        database.calibrate()
    return folder


class Node:
    """What rclpy's node does for a node: parameters, publishers, subscriptions."""

    settings: ClassVar[dict[str, Any]] = {}
    published: ClassVar[list[Any]] = []

    def __init__(self, name: str) -> None:
        assert name.isidentifier()

    def declare_parameter(self, name: str, default: Any) -> Any:
        return SimpleNamespace(value=self.settings.get(name, default))

    def create_publisher(self, kind: type, topic: str, depth: int) -> Any:
        return SimpleNamespace(publish=self.published.append)

    def create_subscription(self, kind: type, topic: str, callback: Any, quality: Any) -> None:
        self.callback = callback


class NavSatFix(SimpleNamespace):
    """The message, with its fields as they are at first."""

    COVARIANCE_TYPE_APPROXIMATED = 1

    def __init__(self, **given: Any) -> None:
        fields = {"latitude": 0.0, "longitude": 0.0, "position_covariance": [0.0] * 9, "position_covariance_type": 0}
        super().__init__(**{**fields, "status": SimpleNamespace(status=None), **given})


def install_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules in place of those of ROS 2."""
    contents: dict[str, dict[str, Any]] = {
        "rclpy": {},
        "rclpy.node": {"Node": Node},
        "rclpy.qos": {"qos_profile_sensor_data": object()},
        "sensor_msgs": {},
        "sensor_msgs.msg": {
            "Image": SimpleNamespace,
            "NavSatFix": NavSatFix,
            "NavSatStatus": SimpleNamespace(STATUS_FIX=0, STATUS_NO_FIX=-1),
        },
        "cv_bridge": {"CvBridge": lambda: SimpleNamespace(imgmsg_to_cv2=lambda image, desired_encoding: image.pixels)},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(("least", "is_sure"), [(0.0, True), (1.0, False)])
def test_a_robot_is_told_where_it_is(
    least: float, is_sure: bool, calibrated: Path, tiny_city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ROS 2 is not here: the node gets an image and publishes a fix, or that there is none."""
    install_ros(monkeypatch)
    monkeypatch.setattr(Node, "settings", {"database": str(calibrated), "min_confidence": least})
    monkeypatch.setattr(Node, "published", [])
    example = runpy.run_path(str(REPOSITORY / "examples/ros2/locate_node.py"))
    node = example["LocateNode"]()
    photo = min((tiny_city / "test/database").iterdir())
    node.callback(SimpleNamespace(header="now", pixels=np.asarray(Image.open(photo))))
    (fix,) = Node.published
    assert fix.header == "now" and math.isnan(fix.altitude)
    if is_sure:
        assert fix.status.status == 0
        assert (fix.latitude, fix.longitude) == (pytest.approx(36.14, abs=0.01), pytest.approx(3.0, abs=0.01))
        assert fix.position_covariance_type == 1
        variance = fix.position_covariance[0]
        assert variance == fix.position_covariance[4] > 0
    else:
        assert fix.status.status == -1 and math.isnan(fix.latitude) and fix.position_covariance_type == 0


def read_like_immich(library: Path) -> dict[str, tuple[float, float] | None]:
    """Return what immich would show: of ``photo.jpg.xmp``, else of ``photo.xmp``, else of the photo itself."""
    shown: dict[str, tuple[float, float] | None] = {}
    for photo in sorted(library.glob("*.jpg")):
        beside = [photo.with_name(f"{photo.name}.xmp"), photo.with_suffix(".xmp"), photo]
        said = ask_exiftool(next(path for path in beside if path.exists()), "-GPSLatitude", "-GPSLongitude")
        places = [value for name, value in said.items() if name.startswith(("XMP", "Composite", "EXIF"))]
        shown[photo.name] = (places[0], places[1]) if len(places) >= 2 else None
    return shown


def test_photos_of_immich_find_their_place_and_back(
    calibrated: Path,
    tiny_city: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """immich is not here: what stands in for it reads sidecars with exiftool, as immich does."""
    monkeypatch.chdir(tmp_path)
    library = tmp_path / "library"
    library.mkdir()
    for number, photo in enumerate(sorted((tiny_city / "test/database").iterdir())[:3]):
        shutil.copy(photo, library / f"IMG_{number}.jpg")
    rated = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    rated += (
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'
    )
    (library / "IMG_0.jpg.xmp").write_text(rated, encoding="utf-8")  # of immich
    before = {path.name: path.read_bytes() for path in library.iterdir()}
    page = (REPOSITORY / "examples/immich/README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^ *progeo (locate .*)$", page, re.MULTILINE)
    assert len(commands) == 2 and commands[0] == f"{commands[1]} --dry_run"
    for command in commands:
        words = (
            command.replace("LIBRARY", str(library)).replace("DATABASE", str(calibrated)).replace("0.8", "0").split()
        )
        assert cli.main([*words, "--device", "cpu"]) == 0
        if command.endswith("--dry_run"):
            assert {path.name: path.read_bytes() for path in library.iterdir()} == before
    shown = read_like_immich(library)
    assert len(shown) == 3
    assert all(place == pytest.approx((36.14, 3.0), abs=0.01) for place in shown.values())
    assert 'xmp:Rating="4"' in (library / "IMG_0.jpg.xmp").read_text(encoding="utf-8")
    log = re.findall(r"progeo undo (\S+)", " ".join(capsys.readouterr().err.split()))[-1]
    assert "progeo undo LOG" in page and cli.main(["undo", log]) == 0
    assert {path.name: path.read_bytes() for path in library.iterdir()} == before
    assert set(read_like_immich(library).values()) == {None}
