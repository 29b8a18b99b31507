"""Indexing in shards: they make what one process makes, and neither repeating nor killing loses or doubles a photo."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.context import ForkServerContext
from pathlib import Path

import lance
import numpy as np
import polars as pl
import pytest
from PIL import Image

from progeo import cli
from progeo.errors import ProgeoError
from progeo.places import fragments, local, objects
from progeo.places.database import PlaceDatabase

from .conftest import PHOTOS, make_network

KILLS = 20
Index = Callable[..., str]


@pytest.fixture
def index(many_photos: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Index:
    """Run ``progeo index`` on a database and return what it says."""

    def run(*arguments: object, name: str = "places", code: int = 0) -> str:
        settings = ["--database", tmp_path / name, "--cache_folder", tmp_path / "cache", "--device", "cpu"]
        assert cli.main(["index", *map(str, [*arguments, *settings])]) == code
        return " ".join(capsys.readouterr().err.split())

    return run


def read_rows(database: Path) -> pl.DataFrame:
    with PlaceDatabase.open(database) as opened:
        rows = pl.DataFrame(opened._tables.photos.to_arrow()).sort("path")
        return rows.with_columns(thumbnail=pl.Series([opened.thumbnail(id) for id in rows["id"]]))


def test_shards_make_what_one_process_makes(index: Index, many_photos: Path, model_file: Path, tmp_path: Path) -> None:
    index(many_photos, "--model", model_file, name="one")
    for shard in range(3):
        said = index(many_photos, "--model", model_file, "--shards", 3, "--shard", shard)
        assert f"shard {shard} of 3 is written" in said and "0 kept, 0 failed" in said
    assert read_rows(tmp_path / "places").is_empty()  # nothing is committed
    assert "3 shards committed; it holds 24 photos now" in index("--commit")
    assert read_rows(tmp_path / "places").equals(read_rows(tmp_path / "one"))
    with PlaceDatabase.open(tmp_path / "places") as database:
        assert database.calibration is not None


def test_repeating_does_nothing_twice(index: Index, many_photos: Path, model_file: Path, tmp_path: Path) -> None:
    arguments = (many_photos, "--model", model_file, "--shards", 2, "--shard")
    assert "0 added, 0 kept" not in index(*arguments, 0)
    assert "0 photos added" in index(*arguments, 0)
    assert "Not finished yet: shard 1 of 2" in index("--commit")
    rows = read_rows(tmp_path / "places")
    assert "0 photos added" in index(*arguments, 0)
    assert "1 shard committed, 0" not in index("--commit")
    assert read_rows(tmp_path / "places").equals(rows)
    index(*arguments, 1)
    index("--commit")
    said = index("--commit")
    assert "0 shards committed, 2 shards before; it holds 24 photos now" in said
    assert read_rows(tmp_path / "places")["path"].n_unique() == len(read_rows(tmp_path / "places")) == PHOTOS


def test_a_photo_that_has_changed_is_replaced(
    index: Index, many_photos: Path, model_file: Path, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(many_photos, tmp_path / "photos"))
    arguments = (photos, "--model", model_file, "--shards", 1, "--shard", 0)
    first, second, *_ = sorted(photos.iterdir())
    index(*arguments)
    shutil.copy(second, first)  # before the commit
    assert "1 photo added, 23 kept" in index(*arguments)
    index("--commit")
    rows = read_rows(tmp_path / "places")
    assert len(rows) == PHOTOS and rows["content_hash"][0] == rows["content_hash"][1]
    Image.new("RGB", (32, 32), "red").save(first)  # after it
    assert "1 photo added, 23 kept" in index(*arguments)
    index("--commit")
    changed = read_rows(tmp_path / "places")
    assert len(changed) == PHOTOS and changed["content_hash"][0] != rows["content_hash"][0]
    index(photos)
    assert len(read_rows(tmp_path / "places")) == PHOTOS


def test_what_another_process_stores_in_the_moment_of_the_commit_is_not_doubled(
    index: Index, many_photos: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(many_photos, "--model", model_file, "--shards", 1, "--shard", 0)
    commit = lance.LanceDataset.commit

    def add_and_commit(*arguments: object, **settings: object) -> object:
        monkeypatch.setattr(lance.LanceDataset, "commit", commit)
        with PlaceDatabase.open(tmp_path / "places") as database:
            database.add(many_photos)
        return commit(*arguments, **settings)

    with PlaceDatabase.open(tmp_path / "places") as database:
        state = json.loads(next((tmp_path / "places/shards").iterdir()).read_bytes())
        uri = f"{tmp_path}/places/{database._tables.photos.name}.lance"
        lance.dataset(uri).merge_insert("path").when_not_matched_insert_all().execute(
            fragments._read_files(uri, state["photo_files"]).slice(0, 1)
        )
        monkeypatch.setattr(lance.LanceDataset, "commit", add_and_commit)
        database.commit_shards()
    rows = read_rows(tmp_path / "places")
    assert len(rows) == rows["path"].n_unique() == PHOTOS


def work(photos: Path, model: Path, database: Path, cache: Path, shard: int | None) -> None:
    """Index one of two shards in small steps, or commit them; what a child process runs."""
    local.PHOTOS_PER_COMMIT = 2
    settings = ["--database", str(database), "--cache_folder", str(cache), "--device", "cpu"]
    small = ["--infer_batch_size", "2", "--num_workers", "1"]
    part = (
        ["--commit"] if shard is None else [str(photos), "--model", str(model), "--shards", "2", "--shard", str(shard)]
    )
    assert cli.main(["index", *part, *settings, *small]) == 0


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["progeo.places.database", "progeo.models.files", "lance", "timm", __name__])
    return context


def test_killing_at_random_moments_loses_and_doubles_nothing(
    processes: ForkServerContext, many_photos: Path, model_file: Path, tmp_path: Path
) -> None:
    address = tmp_path / "places"
    PlaceDatabase.create(address, model_file)
    moments = random.Random(0)
    everything = sorted(str(path) for path in many_photos.iterdir())
    interrupted = 0
    for kill in range(KILLS):
        part = (0, 1, None)[kill % 3]
        process = processes.Process(target=work, args=(many_photos, model_file, address, tmp_path / "cache", part))
        process.start()
        process.join(moments.uniform(0.05, 0.6))
        interrupted += process.is_alive()
        process.kill()
        process.join()
        with PlaceDatabase.open(address) as database:
            found = list(database.list_paths())
        assert len(found) == len(set(found))
        assert set(found) <= set(everything)
    assert interrupted >= KILLS / 4
    for part in (0, 1, None):
        work(many_photos, model_file, address, tmp_path / "cache", part)
    assert read_rows(address)["path"].to_list() == everything


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shards", 2, "--shard", 2), "--shard 2 of --shards 2: shards are counted from 0, so give 0 to 1"),
        (("--shards", 2), "--shards N and --shard I belong together"),
        (("--shards", 2, "--shard", 1, "--model", "fit"), "--model fit: every shard would fit a model of its own"),
        (("--shards", 2, "--shard", 1, "--prune"), "--prune does not go with --shards"),
        (("--commit",), "--commit takes no photos and no --shard"),
    ],
)
def test_what_does_not_go_together_is_refused(
    index: Index, many_photos: Path, arguments: tuple[object, ...], message: str
) -> None:
    assert message in index(many_photos, *arguments, code=2)


def test_shards_of_others_are_refused(index: Index, many_photos: Path, model_file: Path, tmp_path: Path) -> None:
    PlaceDatabase.create(tmp_path / "places", model_file)
    assert "There are no shards of" in index("--commit", code=2)
    index(many_photos, "--shards", 1, "--shard", 0)
    (path,) = (tmp_path / "places/shards").iterdir()
    state = json.loads(path.read_bytes())
    for change, message in (
        ({"fingerprint": "0" * 64}, "was encoded by another model than that of"),
        ({"photos": "photos_of_another"}, "is of another table than"),
        ({"weather": "fine"}, "is no file of a shard"),
    ):
        path.write_text(json.dumps(state | change))
        assert message in index("--commit", code=2)
    assert "are of another model" in index(
        many_photos, "--model", save_other(tmp_path), "--shards", 1, "--shard", 0, code=2
    )
    path.write_text(json.dumps(state))
    for file in (tmp_path / "places" / f"{state['photos']}.lance/data").iterdir():
        file.unlink()
    said = index("--commit", code=2)
    assert "of shard 0 of 1 (shards/" in said and "gone: files that are not committed within seven days" in said
    assert "24 photos added" in index(many_photos, "--shards", 1, "--shard", 0)
    assert "it holds 24 photos now" in index("--commit")


def save_other(folder: Path) -> Path:
    from progeo.models.files import save_model

    save_model(folder / "other.safetensors", make_network(seed=1), training={}, metrics={}, licence="none")
    return folder / "other.safetensors"


def test_the_libraries_fit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    found = version("lancedb")
    pinned = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"lancedb=={found}", "pylance=={fragments.LANCE_OF_LANCEDB[found]}"' in pinned
    monkeypatch.setattr(lance, "__version__", "14.0.2")
    with pytest.raises(ProgeoError, match=r'pylance 14.0.2 and lancedb .* do not fit.*\[shards\]"'):
        fragments.load()
    monkeypatch.setitem(__import__("sys").modules, "lance", None)
    with pytest.raises(ProgeoError, match=r'needs lance, which is not installed: pip install .*\[shards\]"'):
        fragments.load()


def test_an_index_of_one_library_is_read_by_the_other(tmp_path: Path) -> None:
    """What pylance builds, LanceDB searches: of Lances that do not fit, the distances would be wrong."""
    import lancedb

    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((2000, 64)).astype(np.float32)
    table = pl.DataFrame({"id": range(2000), "v": vectors}, schema={"id": pl.Int64, "v": pl.Array(pl.Float32, 64)})
    dataset = lance.write_dataset(table.to_arrow(), str(tmp_path / "t.lance"))
    dataset.create_index("v", "IVF_RQ", num_partitions=4, num_bits=1, sample_rate=64)
    opened = lancedb.connect(str(tmp_path)).open_table("t")
    for row in range(0, 2000, 100):
        found = opened.search(vectors[row]).nprobes(4).refine_factor(6).limit(1).to_arrow()
        assert found["id"].to_pylist() == [row]


def test_files_beside_the_tables_are_read_as_written(tmp_path: Path) -> None:
    assert objects.read(f"{tmp_path}/none.json") is None
    objects.write(f"{tmp_path}/shards/one.json", b"1")
    assert objects.read(f"{tmp_path}/shards/one.json") == b"1"
    assert objects.list_names(f"{tmp_path}/shards", ".json") == ["one.json"]
