"""A service that re-ranks: many clients at once, a request that does without, and a database that was rebuilt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

pytest.importorskip("cv2")

from progeo.data.table import read_photos
from progeo.models.building import create_model
from progeo.places.database import PlaceDatabase
from tests.serve.conftest import make_app, serve
from tests.textures import PLACES, write_set


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("textured")
    write_set(folder / "set")
    network = create_model("timm:test_resnet", descriptor_dim=8, weights="none").eval()
    network.set_image_size(120)
    with PlaceDatabase.create(folder / "places", network) as database:
        database.add(read_photos(folder / "set/database", folder / "cache"))
    return folder


def test_many_clients_get_their_own_answers(textured: Path) -> None:
    queries = sorted((textured / "set/queries").iterdir())
    with PlaceDatabase.open(textured / "places") as database:
        expected = [
            [match.id for match in estimate.matches[:3]]
            for estimate in database.locate(queries, rerank=database.create_reranker("sift"))
        ]
        plain = [[match.id for match in estimate.matches[:3]] for estimate in database.locate(queries)]
        app = make_app(database, make_reranker=lambda opened: opened.create_reranker("sift"))
        assert plain != expected

        def ask(number: int) -> list[list[str]]:
            content = queries[number].read_bytes()
            found = []
            for form in ({}, {"rerank": "false"}):
                answer = client.post("/api/locate", files={"photos": content}, data=form)
                assert answer.status_code == 200, answer.text
                found.append([match["id"] for match in answer.json()["photos"][0]["matches"][:3]])
            return found

        everyone = httpx.Limits(max_connections=50)
        with (
            serve(app) as address,
            httpx.Client(base_url=address, timeout=60, limits=everyone) as client,
            ThreadPoolExecutor(50) as pool,
        ):
            found = list(pool.map(ask, [*range(PLACES)] * 3))
    assert found == [[expected[number], plain[number]] for number in range(PLACES)] * 3
