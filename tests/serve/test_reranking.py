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
from progeo.search.rerank import no_rerank
from tests.serve.conftest import connect, make_app, serve
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
        plain = [[match.id for match in estimate.matches[:3]] for estimate in database.locate(queries, rerank="none")]
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


def test_details_of_a_photo_and_a_match_are_compared(textured: Path) -> None:
    query = next(path for path in (textured / "set/queries").iterdir() if "queries3@" in path.name)
    with PlaceDatabase.open(textured / "places") as database:
        ids = {match.path: match.id for match in database.locate(str(query))[0].matches}
        same, other = (next(id for path, id in ids.items() if f"database{place}@" in path) for place in (3, 4))
        with connect(make_app(database, make_reranker=lambda opened: opened.create_reranker("sift"))) as client:

            def ask(id: str, content: bytes = query.read_bytes()) -> httpx.Response:
                return client.post("/api/compare", files={"photo": ("q.png", content)}, data={"id": id})

            found = ask(same).json()
            assert found["count"] > found["floor"] and "fit together" in found["text"]
            for (x, _), (x_match, _) in zip(found["query"], found["match"], strict=True):
                assert 160 * x + 24 == pytest.approx(160 * x_match, abs=4)  # the query is moved by 24 of 160 pixels
            assert ask(other).json()["count"] < found["count"]
            assert ask("0" * 64).status_code == 404
            assert ask(same, b"Dear diary").status_code == 415
        with connect(make_app(database, make_reranker=lambda opened: no_rerank)) as client:
            refused = client.post("/api/compare", files={"photo": query.read_bytes()}, data={"id": same})
            assert refused.status_code == 404 and "without re-ranking" in refused.json()["detail"]
