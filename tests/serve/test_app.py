from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import httpx
import pytest

from progeo.locating.prior import Prior
from progeo.serve.app import STATIC

from .conftest import ColourDatabase, choose_colours, connect, make_app, make_photo, serve

RED = make_photo((200, 30, 30))


def test_photos_are_located_in_their_order(database: ColourDatabase) -> None:
    rows = [7, 3, 11]
    colours = choose_colours(60)
    files = [("photos", (f"{row}.jpg", make_photo(colours[row], format="JPEG", quality=95))) for row in rows]
    with connect(make_app(database)) as client:
        answer = client.post("/api/locate", files=files)
    assert answer.status_code == 200
    photos = answer.json()["photos"]
    assert [photo["name"] for photo in photos] == ["7.jpg", "3.jpg", "11.jpg"]
    assert [photo["latitude"] for photo in photos] == [database.latitudes[row] for row in rows]
    assert [photo["matches"][0]["id"] for photo in photos] == [database.ids[row] for row in rows]
    assert {name: photos[0][name] for name in ("radius_metres", "agreement", "probability", "known", "calibrated")} == {
        **{"radius_metres": 12.0, "agreement": 0.8, "probability": 0.95, "known": True, "calibrated": True}
    }
    match = photos[0]["matches"][0]
    assert (match["name"], match["heading"], match["timestamp"]) == ("photo_7.jpg", 90.0, "2024-05-01T12:30:00")
    assert "secret" not in answer.text  # the folders of this machine are nobody's business


def test_what_is_known_reaches_the_search(database: ColourDatabase) -> None:
    known = {"near": "52.5, -13.4", "within": "200", "heading": "90", "after": "2024-01-01", "before": "2024-12-31"}
    with connect(make_app(database)) as client:
        assert client.post("/api/locate", files={"photos": RED}, data=known).status_code == 200
        assert client.post("/api/locate", files={"photos": RED}).status_code == 200
    assert database.priors == [Prior((52.5, -13.4), 200, 90, date(2024, 1, 1), date(2024, 12, 31)), None]


def test_without_a_calibration_nobody_knows_how_sure_it_is(database: ColourDatabase) -> None:
    database.calibration = None
    with connect(make_app(database, min_confidence=0.7)) as client:
        (photo,) = client.post("/api/locate", files={"photos": RED}).json()["photos"]
        description = client.get("/openapi.json").json()["components"]["schemas"]["PhotoAnswer"]["properties"]
    assert {name: photo[name] for name in ("agreement", "probability", "known", "calibrated")} == {
        **{"agreement": 0.8, "probability": None, "known": None, "calibrated": False}
    }
    assert database.confidences == [(None, False)]  # what cannot be told is not asked for, as after a rebuild
    for name in ("probability", "known"):
        assert {"type": "null"} in description[name]["anyOf"]
    with connect(make_app(database, min_confidence=0.7, even_unknown=True)) as client:
        client.post("/api/locate", files={"photos": RED})
    assert database.confidences[1:] == [(None, True)]  # positions are shown, but nothing is made up


def test_before_includes_its_day(database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
    (form,) = (schema for name, schema in schemas.items() if name.startswith("Body_locate"))
    assert "on this day or earlier" in form["properties"]["before"]["description"]


@pytest.mark.parametrize(
    ("known", "detail"),
    [
        ({"near": "the station"}, "near: String should match pattern"),
        ({"near": "95,13", "within": "5"}, "95.0,13.0 is no place on earth"),
        ({"near": "52,13"}, "near LAT,LON and within METRES belong together"),
        ({"near": "-52,13", "within": "5"}, "No photo of the database is within 5 m of -52, 13."),
        ({"within": "-3"}, "within: Input should be greater than 0"),
        ({"heading": "east"}, "heading: Input should be a valid number"),
        ({"after": "yesterday"}, "after: Input should be a valid date"),
    ],
)
def test_what_cannot_be_known(known: dict[str, str], detail: str, database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        answer = client.post("/api/locate", files={"photos": RED}, data=known)
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]


def test_files_that_are_no_photos_are_named(database: ColourDatabase) -> None:
    with connect(make_app(database, max_megapixels=0.001, max_images=2)) as client:

        def refusal(*photos: bytes) -> tuple[int, str]:
            files = [("photos", (f"photo_{number}.jpg", photo)) for number, photo in enumerate(photos)]
            answer = client.post("/api/locate", files=files)
            return answer.status_code, answer.json()["detail"]

        small = make_photo((200, 30, 30), (20, 20))
        status, detail = refusal(small, b"dear diary")
        assert status == 415
        assert "photo_1.jpg" in detail and "JPEG, PNG" in detail
        assert refusal(RED) == (413, "photo_0.jpg has 48 x 32 pixels, more than 0.001 megapixels.")
        assert refusal(small, small, small) == (413, "3 photos are too many; send at most 2.")
        assert client.post("/api/locate").json() == {"detail": "photos: Field required"}
        assert client.post("/api/locate", data={"photos": "text"}).status_code == 422


def test_places(database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        places = client.get("/api/places", params={"zoom": 22}).json()
        assert len(places["features"]) == places["total"] == 60
        assert {feature["properties"]["id"] for feature in places["features"]} == set(database.ids)
        box = f"13.3,52.4,13.5,{database.latitudes[9] + 1e-6}"
        assert len(client.get("/api/places", params={"bbox": box}).json()["features"]) == 10
        assert len(client.get("/api/places", params={"zoom": 3}).json()["features"]) == 1
        for wrong in ({"zoom": 23}, {"zoom": "near"}, {"bbox": "1,2,3"}, {"bbox": "nan,0,0,0"}):
            assert client.get("/api/places", params=wrong).status_code == 422, wrong


def test_photos_that_are_added_appear_on_the_map(database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        assert client.get("/api/places").json()["total"] == 60
        database.ids.append("f" * 64)
        database.latitudes.append(52.6)
        assert client.get("/api/places").json()["total"] == 61


def test_thumbnails(database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        answer = client.get(f"/api/photos/{database.ids[4]}")
        assert (answer.headers["content-type"], answer.content) == ("image/jpeg", database.thumbnail(database.ids[4]))
        missing = client.get("/api/photos/abc")
        assert (missing.status_code, missing.json()["detail"]) == (404, "There is no photo abc in the database.")
        for path in ("..%2f..%2fetc%2fpasswd", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "a'b", "A" * 65):
            assert client.get(f"/api/photos/{path}").status_code in (404, 422), path


def test_nothing_but_the_page_is_served_from_disk(database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        for path in ("/static/", "/static", "/static/leaflet", "/static/../app.py", "/static/%2e%2e/app.py"):
            assert client.get(path).status_code == 404, path
        assert client.get("/static/leaflet/LICENSE").text.startswith("BSD 2-Clause License")


def test_health_and_metrics(database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        health = client.get("/api/health").json()
        assert (health["status"], health["photos"]) == ("ok", 60)
        client.post("/api/locate", files={"photos": RED})
        client.request("BREW", "/api/locate")
        client.get("/nowhere")
        figures = dict(re.findall(r"^(progeo_\S+) (\S+)$", client.get("/metrics").text, re.MULTILINE))
    assert figures['progeo_requests_total{path="/api/locate",status="200"}'] == "1.0"
    assert figures['progeo_requests_total{path="/api/locate",status="405"}'] == "1.0"
    assert figures['progeo_requests_total{path="other",status="404"}'] == "1.0"
    assert figures["progeo_batch_images_sum"] == "1.0"
    assert figures["progeo_database_photos"] == "60.0"
    assert figures["progeo_waiting_images"] == "0.0"


def test_a_full_queue_asks_to_come_back(database: ColourDatabase) -> None:
    entered, opened = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        entered.set()
        assert opened.wait(10)

    database.encoder.before_describing = wait
    with connect(make_app(database, max_waiting=1)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/api/locate", files={"photos": RED})
        assert entered.wait(10)
        refused = client.post("/api/locate", files={"photos": RED})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json() == {"detail": "The queue is full, try again in 1 s."}
        opened.set()
        assert first.result().status_code == 200


def test_fifty_clients_at_once_get_their_own_answers(database: ColourDatabase) -> None:
    colours = choose_colours(50)

    def ask(row: int) -> list[float]:
        photo = make_photo(colours[row])
        answers = [client.post("/api/locate", files={"photos": photo}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200] * 4
        return [answer.json()["photos"][0]["latitude"] for answer in answers]

    everyone = httpx.Limits(max_connections=50)
    with (
        serve(make_app(database)) as address,
        httpx.Client(base_url=address, timeout=30, limits=everyone) as client,
        ThreadPoolExecutor(50) as pool,
    ):
        answers = list(pool.map(ask, range(50)))
    assert answers == [[database.latitudes[row]] * 4 for row in range(50)]


def test_pages_load_nothing_from_elsewhere(database: ColourDatabase) -> None:
    with connect(make_app(database)) as client:
        for path in ("/", "/docs"):
            page = client.get(path).text
            assert "progeo" in page
            loaded = re.findall(r'(?:src|href)="([^"#]+)', page)
            assert [address for address in loaded if ":" in address or address.startswith("/")] == []
            for address in loaded:
                assert client.get(f"/{address.removeprefix('./')}").status_code == 200, address
            assert "style=" not in page and "<style" not in page  # the policy forbids both
    scripts = [path for path in STATIC.rglob("*.js") if path.parent == STATIC]
    imported = {name for path in scripts for name in re.findall(r'from "\./(.+)"', path.read_text())}
    assert imported <= {path.name for path in scripts}
    assert not [path for path in STATIC.rglob("*.css") if re.search(r"url\(['\"]?(http|//)", path.read_text())]


def test_reference_names_everything_that_can_be_asked(database: ColourDatabase) -> None:
    with connect(make_app(database, token="secret")) as client:
        page = client.get("/docs").text
        description = client.get("/openapi.json").json()
    assert description["servers"] == [{"url": "./"}]
    for path, operations in description["paths"].items():
        assert f"<code>{path}</code>" in page
        for parameter in next(iter(operations.values())).get("parameters", ()):
            assert f"<code>{parameter['name']}</code>" in page
    for name in ("photos", "near", "within", "heading", "after", "before", "radius_metres", "descriptor_distance"):
        assert f"<code>{name}</code>" in page
    assert page.count("Needs the token.") == 5
