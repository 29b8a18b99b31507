"""The services' answers, as their schemas say, and their traps."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from progeo.errors import ProgeoError
from progeo.imagery.area import Box, make_area
from progeo.imagery.client import FetchError
from progeo.imagery.searching import find_pictures
from progeo.imagery.sources import Mapillary, Panoramax, make_source, panoramax
from progeo.imagery.sources.source import Found
from progeo.imagery.sources.tiles import list_tiles, read_points

from .service import Answer, Query, Service, panoramax_feature, search_panoramax, vector_tile

BOX = Box(18.06, 59.32, 18.08, 59.34)


def search(name: str, service: Service, box: Box = BOX) -> Found:
    address = service.address + {"panoramax": "/api", "commons": "/w/api.php"}.get(name, "")
    source = make_source(name, address)
    with source.connect() as client:
        return source.search(client, box)


def test_panoramax(service: Service) -> None:
    features = [
        panoramax_feature(service.address, 1, 59.3293, 18.0686),
        panoramax_feature(
            service.address, 2, 59.3301, 18.0702, panorama=True, view__azimuth=365, pers__pitch=-3.2, pers__roll=1.1
        ),
        panoramax_feature(service.address, 3, 59.3301, 18.0702, view__azimuth=None),
        panoramax_feature(service.address, 4, 59.3301, 18.0702, geovisio__visibility="owner-only"),
        panoramax_feature(service.address, 5, 59.3301, 18.0702, geovisio__status="hidden"),
        panoramax_feature(service.address, 6, 59.3301, 18.0702, license="proprietary"),
        {"id": "half", "properties": {}},
    ]
    service.routes["/api/search"] = search_panoramax(features[:6])
    service.routes["/api/search"] = Answer({"features": features})
    found = search("panoramax", service)
    flat, panorama, without = found.pictures
    assert (flat.heading, flat.licence, flat.author, flat.sequence) == (270, "CC-BY-SA-4.0", "mapper 1", "sequence-1")
    assert flat.image_url.endswith("/files/1/sd.jpg") and flat.licence_url == "https://licence.example/"
    assert flat.page_url == f"https://api.panoramax.xyz/#focus=pic&pic={flat.id}"
    assert (panorama.heading, panorama.pitch, panorama.roll, panorama.is_panorama) == (5, -3.2, 1.1, True)
    assert panorama.image_url.endswith("/files/2/hd.jpg")  # the small one of a panorama is a crop
    assert without.heading is None
    assert sorted(found.left_out.values()) == [
        *("incomplete description", "no open licence", "not for everyone to see", "still being processed"),
    ]
    assert found.complete


def test_panoramax_in_parts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance cuts off without a word: boxes are split, and doubles dropped."""
    monkeypatch.setattr(panoramax, "LIMIT", 5)
    features = [panoramax_feature(service.address, n, 59.33 + n % 6 * 1e-4, 18.07 + n // 6 * 1e-4) for n in range(36)]
    service.routes["/api/search"] = search_panoramax(features)
    source = make_source("panoramax", f"{service.address}/api")
    with source.connect() as client:
        offer = find_pictures(source, client, make_area((59.33, 18.07), 2000))
    assert len(offer.pictures) == len({picture.id for picture in offer.pictures}) == 36
    assert {query["limit"] for _, query, _ in service.asked} == {"5"}
    assert all(east - west <= 0.02 for west, _, east, _ in boxes(service))


def boxes(service: Service) -> list[tuple[float, ...]]:
    return [tuple(map(float, query["bbox"].split(","))) for _, query, _ in service.asked]


def test_panoramax_with_pages(service: Service) -> None:
    """The catalogue may give an address for the rest."""
    first, second = (panoramax_feature(service.address, n, 59.33, 18.07) for n in (1, 2))
    link = {"rel": "next", "href": f"{service.address}/api/search?page=2"}

    def answer(query: Query) -> Answer:
        page = [second] if "page" in query else [first]
        return Answer({"features": page, "links": [] if "page" in query else [link]})

    service.routes["/api/search"] = answer
    assert len(search("panoramax", service).pictures) == 2


def test_places_too_dense_are_said(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panoramax, "LIMIT", 2)
    service.routes["/api/search"] = search_panoramax(
        [panoramax_feature(service.address, n, 59.33, 18.07) for n in range(9)]
    )
    source = make_source("panoramax", f"{service.address}/api")
    with source.connect() as client:
        offer = find_pictures(source, client, make_area((59.33, 18.07), 50))
    assert len(offer.pictures) == 2
    assert "more than it gives at once" in offer.remarks[0]


def mapillary_row(number: int, longitude: float, latitude: float, **fields: Any) -> dict[str, Any]:
    row = {
        "id": str(1000 + number),
        "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
        "computed_geometry": {"type": "Point", "coordinates": [longitude + 1e-5, latitude]},
        "compass_angle": 268.4,
        "computed_compass_angle": 271.9,
        "captured_at": 1777885951000,
        "width": 4032,
        "height": 3024,
        "is_pano": False,
        "camera_type": "perspective",
        "camera_parameters": [0.84, -0.012, 0.003],
        "sequence": "toy",
        "creator": {"username": "toy-mapper", "id": "2"},
        "thumb_2048_url": "https://scontent.fbcdn.net/2048",
        "thumb_original_url": "https://scontent.fbcdn.net/original",
        **fields,
    }
    return {name: value for name, value in row.items() if value is not None}


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MAPILLARY_TOKEN", "MLY|secret")
    return "MLY|secret"


def test_mapillary(service: Service, token: str) -> None:
    spherical = {"is_pano": True, "camera_type": "spherical", "width": 5760, "height": 2880}
    lacking = {"computed_geometry": None, "computed_compass_angle": None, "creator": None}
    rows = [
        mapillary_row(1, 18.07, 59.33),
        mapillary_row(2, 18.07, 59.33, **spherical, **lacking),
        mapillary_row(3, 18.07, 59.33, camera_type="fisheye"),
        mapillary_row(4, 18.07, 59.33, geometry=None, computed_geometry=None),
    ]
    service.routes["/images"] = Answer({"data": rows})
    found = search("mapillary", service)
    flat, panorama = found.pictures
    assert (flat.longitude, flat.heading) == (pytest.approx(18.07001), pytest.approx(271.9))
    assert flat.timestamp == "2026-05-04T09:12:31.000+00:00"
    assert flat.field_of_view == pytest.approx(61.5, abs=0.5)
    assert flat.image_url.endswith("2048") and panorama.image_url.endswith("original")
    assert (panorama.longitude, panorama.heading, panorama.author) == (18.07, 268.4, "Mapillary contributor")
    assert found.left_out == {"1003": "fisheye", "1004": "incomplete description"}
    ((_, query, headers),) = service.asked
    assert headers["Authorization"] == f"OAuth {token}" and token not in str(query)


def test_mapillary_in_dense_places(service: Service, token: str) -> None:
    """What is refused as too much is asked for in smaller boxes; none is 0.01 degrees large."""

    def answer(query: Query) -> Answer:
        west, south, east, north = map(float, query["bbox"].split(","))
        assert max(east - west, north - south) < 0.01
        if east - west > 0.003:
            return Answer({"error": {"message": "Please reduce the amount of data you're asking for", "code": 1}}, 500)
        is_inside = west <= 18.07 < east and south <= 59.33 < north
        return Answer({"data": [mapillary_row(1, 18.07, 59.33)] if is_inside else []})

    service.routes["/images"] = answer
    source = make_source("mapillary", service.address)
    with source.connect() as client:
        assert len(find_pictures(source, client, make_area((59.33, 18.07), 300)).pictures) == 1


def offer_dense(service: Service, monkeypatch: pytest.MonkeyPatch, missing: int = 0) -> list[tuple[float, float]]:
    """Have Mapillary refuse every box as too much, and show its pictures on a tile; return where they are."""
    ids = range(1, 131)
    monkeypatch.setattr(Mapillary, "tiles", f"{service.address}/tiles")
    (column, row), *_ = list_tiles(Box(18.07, 59.33, 18.07, 59.33), 14)
    refused = {"error": {"message": "Please reduce the amount of data you're asking for, then retry", "code": 1}}
    places = {number: (2000 + number % 13, 2000 + number // 13) for number in ids}
    content = vector_tile(places) + vector_tile({999: (2000, 2000)}, layer="sequence")
    where = read_points(content, "image", column, row, 14)

    def describe(query: Query) -> Answer:
        names = query["ids"].split(",")
        assert len(names) <= 50
        rows = {name: mapillary_row(int(name) - 1000, *where[name]) for name in names}
        return Answer({**rows, "gone": None})

    service.routes |= {
        "/images": Answer(refused, 500),
        f"/tiles/14/{column}/{row}": [*[Answer("", 404)] * missing, Answer(content)],
        "/": describe,
    }
    return [(latitude, longitude) for longitude, latitude in where.values()]


def test_mapillary_where_every_box_is_too_dense(
    service: Service, token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In large cities the tiles of the map name the pictures; a missing tile may be there a second later."""
    places = offer_dense(service, monkeypatch, missing=2)
    source = make_source("mapillary", service.address)
    caplog.set_level(logging.INFO)
    middle = np.mean(places, axis=0)
    with source.connect() as client:
        found = find_pictures(source, client, make_area((middle[0], middle[1]), 300))
    assert len(found.pictures) == len(places) == 130 and not found.remarks
    assert len(service.paths("/tiles")) == 3  # each tile once
    assert len(service.paths("/images")) < 100  # not down to boxes of a few metres
    assert all(query.get("access_token") == token for path, query, _ in service.asked if path.startswith("/tiles"))
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [Answer("", 404), Answer("<html>Log in</html>", headers={"Content-Type": "text/html"})],
    ids=["missing", "log-in page"],
)
def test_mapillary_without_its_map(
    answer: Answer, service: Service, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_dense(service, monkeypatch)
    (path,) = (path for path in service.routes if path.startswith("/tiles"))
    service.routes[path] = answer
    with pytest.raises(FetchError, match=r"map that names its pictures.*log-in page.*later") as raised:
        search("mapillary", service, Box(18.07, 59.33, 18.071, 59.331))
    assert "secret" not in str(raised.value)
    service.routes[path] = Answer(vector_tile({1001: (2000, 2000)})[:-9])
    with pytest.raises(FetchError, match="a vector tile that breaks off"):
        search("mapillary", service, Box(18.07, 59.33, 18.071, 59.331))


def test_points_of_a_tile_are_where_they_should_be() -> None:
    """The middle of a tile, its corner, and a point of the strip around it."""
    content = vector_tile({1: (2048, 2048), 2: (0, 0), 3: (-64, 4096 + 64)})
    points = read_points(content, "image", 1, 0, 1)  # the north-eastern quarter of the world
    assert points["1"] == pytest.approx([90, 66.5132604], abs=1e-6)
    assert points["2"] == pytest.approx([0, 85.0511288], abs=1e-6)
    assert points["3"][0] < 0 and points["3"][1] < 0
    assert list_tiles(Box(-1, -1, 1, 1), 1) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_mapillary_without_a_valid_token(service: Service, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    said = {"error": {"message": f"Invalid OAuth access token {token}", "type": "OAuthException", "code": 190}}
    service.routes["/images"] = Answer(said, 401)
    with pytest.raises(ProgeoError, match=r"status 401.*MAPILLARY_TOKEN still valid.*developers") as raised:
        search("mapillary", service)
    assert "secret" not in str(raised.value)
    monkeypatch.delenv("MAPILLARY_TOKEN")
    with pytest.raises(ProgeoError, match="environment variable MAPILLARY_TOKEN"):
        make_source("mapillary")


def amsterdam_row(number: int, address: str, **fields: Any) -> dict[str, Any]:
    sizes = {f"equirectangular_{size}": {"href": f"{address}/{size}.jpg"} for size in ("full", "medium", "small")}
    return {
        "pano_id": f"TOY1_pano_0000_{number:06d}",
        "timestamp": "2025-05-04T09:12:31.250000Z",
        "geometry": {"type": "Point", "coordinates": [4.8904, 52.3551, 0.0]},
        "heading": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "_links": {"self": {"href": f"{address}/{number}/"}, **sizes},
        **fields,
    }


def test_amsterdam(service: Service) -> None:
    first, second = (amsterdam_row(number, service.address) for number in (1, 2))
    del second["_links"]["equirectangular_medium"]
    following = {"next": {"href": f"{service.address}/panoramas/?page=2"}}

    def answer(query: Query) -> Answer:
        rows, links = ([second], {"next": {"href": None}}) if query.get("page") == "2" else ([first], following)
        return Answer({"_links": links, "_embedded": {"panoramas": rows}})

    service.routes["/panoramas/"] = answer
    found = search("amsterdam", service, Box(4.89, 52.355, 4.891, 52.356))
    assert [picture.image_url.rpartition("/")[2] for picture in found.pictures] == ["medium.jpg", "full.jpg"]
    picture = found.pictures[0]
    assert (picture.is_panorama, picture.heading, picture.licence) == (True, 0, "CC-BY-4.0")
    assert (picture.author, picture.sequence) == ("Gemeente Amsterdam", "TOY1")
    assert service.asked[0][1]["newest_in_range"] == "true"
    source = make_source("amsterdam")
    areas = [
        box.height_metres**2 * (box.east - box.west) / (box.north - box.south) * 0.61
        for box in source.tile(make_area((52.355, 4.89), 1500).boxes)
    ]
    assert max(areas) <= 250_000  # the newest ones are given for smaller boxes alone
    service.routes["/panoramas/"] = Answer([])
    with pytest.raises(FetchError, match="a list"):
        search("amsterdam", service)


def commons_page(number: int, **info: Any) -> dict[str, Any]:
    said = {
        "Artist": '<a href="https://commons.example/wiki/User:Toy">Toy &amp; Mapper</a>',
        "LicenseShortName": "CC BY-SA 4.0",
        "License": "cc-by-sa-4.0",
        "LicenseUrl": "https://creativecommons.org/licenses/by-sa/4.0",
        "DateTimeOriginal": "2024-05-04 11:12:31",
        **info.pop("said", {}),
    }
    return {
        "pageid": number,
        "coordinates": [{"lat": 59.33, "lon": 18.07}],
        "imageinfo": [
            {
                **{"mime": "image/jpeg", "user": "ToyMapper", "size": 2100456, "width": 4000, "height": 3000},
                **{"thumburl": "https://upload.example/1280px-Toy.jpg", "thumbwidth": 1280, "thumbheight": 960},
                **{"url": "https://upload.example/Toy.jpg", "descriptionurl": "https://commons.example/wiki/Toy"},
                "metadata": [{"name": "GPSImgDirection", "value": "2684/10"}],
                "extmetadata": {name: {"value": value} for name, value in said.items()},
                **info,
            }
        ],
    }


def test_commons(service: Service) -> None:
    bare = {"pageid": 1, "coordinates": [{"lat": 59.33, "lon": 18.07}]}

    def answer(query: Query) -> Answer:
        if "iicontinue" not in query:
            pages = [bare, commons_page(2, said={"License": "fair use", "LicenseShortName": "Fair use"})]
            return Answer({"continue": {"iicontinue": "x", "continue": "||"}, "query": {"pages": pages}})
        pages = [commons_page(1), commons_page(3, mime="application/pdf"), commons_page(4, width=800, metadata=None)]
        return Answer({"query": {"pages": pages}})

    service.routes["/w/api.php"] = answer
    found = search("commons", service)
    first, small = found.pictures
    assert (first.author, first.licence) == ("Toy & Mapper", "CC BY-SA 4.0")
    assert (first.heading, first.timestamp) == (pytest.approx(268.4), "2024-05-04 11:12:31")
    assert first.image_url.endswith("1280px-Toy.jpg") and small.image_url.endswith("/Toy.jpg")
    assert sorted(found.left_out.values()) == ["licence Fair use", "no photo (application/pdf)"]
    query = service.asked[0][1]
    north, west, south, east = map(float, query["ggsbbox"].split("|"))
    assert (north > south, east > west, query["iiurlwidth"]) == (True, True, "1280")


def test_commons_says_errors_with_status_200(service: Service) -> None:
    service.routes["/w/api.php"] = Answer({"error": {"code": "toobig", "info": "Bounding box is too big"}})
    with pytest.raises(FetchError, match="Bounding box is too big"):
        search("commons", service)
    service.routes["/w/api.php"] = Answer({"error": {"code": "badvalue", "info": "no"}})
    with pytest.raises(FetchError, match="refuses the question: badvalue"):
        search("commons", service)


@pytest.mark.parametrize(
    ("name", "file", "route"),
    [
        ("panoramax", "panoramax_search.json", "/api/search"),
        ("mapillary", "mapillary_images.json", "/images"),
        ("amsterdam", "amsterdam_panoramas.json", "/panoramas/"),
        ("commons", "commons_query.json", "/w/api.php"),
    ],
)
def test_documented_schemas(name: str, file: str, route: str, service: Service, token: str, parity_dir: Path) -> None:
    """The examples composed from the documented schemas."""
    service.routes[route] = Answer(json.loads((parity_dir.parent / "outside" / file).read_text(encoding="utf-8")))
    found = search(name, service)
    assert found.pictures and not found.left_out
    assert all(picture.licence and picture.author and picture.page_url for picture in found.pictures)
    assert any(picture.heading is not None for picture in found.pictures)


def test_panoramax_has_a_second_address(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.routes |= {
        "/first/search": Answer("", 503),
        "/second/search": search_panoramax([panoramax_feature(service.address, 1, 59.33, 18.07)]),
    }
    monkeypatch.setattr(Panoramax, "home", f"{service.address}/first")
    monkeypatch.setattr(Panoramax, "other", f"{service.address}/second")
    source = make_source("panoramax")
    with source.connect() as client:
        client.hosts.add("127.0.0.1")
        assert len(source.search(client, BOX).pictures) == len(source.search(client, BOX).pictures) == 1
    assert len(service.paths("/first")) == 5  # not asked again


GOOD: dict[str, tuple[str, Any]] = {
    "panoramax": ("/api/search", {"features": [None, panoramax_feature("https://pano.example", 1, 59.33, 18.07)]}),
    "mapillary": ("/images", {"data": [None, mapillary_row(1, 18.07, 59.33)]}),
    "amsterdam": ("/panoramas/", {"_embedded": {"panoramas": [None, amsterdam_row(1, "https://pano.example")]}}),
    "commons": ("/w/api.php", {"query": {"pages": [None, commons_page(1)]}}),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_source_is_patient(name: str, service: Service, token: str, no_waiting: list[float]) -> None:
    """Busy, failing, slow and cut answers are asked for again; what is no description is passed over."""
    route, content = GOOD[name]
    service.routes[route] = [
        Answer("", 429, {"Retry-After": "3"}),
        Answer("", 500),
        Answer(content, cut_at=20),
        Answer(content, seconds=0.7),
        Answer(content),
    ]
    assert len(search(name, service).pictures) == 1
    assert no_waiting[0] == 3 and len(service.asked) == 5


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer("", 404), "status 404"),
        (Answer("", 500), "status 500, 5 times"),
        (Answer("<html>Log in</html>", headers={"Content-Type": "text/html"}), "a web page instead of JSON"),
        (Answer({"nothing": 1}), "."),
        (Answer("", 302, {"Location": "http://localhost:9/"}), "leads to localhost, which is no host of it"),
    ],
    ids=["missing", "failing", "web page", "without rows", "led elsewhere"],
)
def test_every_source_says_what_is_wrong(name: str, answer: Answer, message: str, service: Service, token: str) -> None:
    service.routes[GOOD[name][0]] = answer
    if name == "commons" and answer.content == {"nothing": 1}:  # its answer where there are none
        assert not search(name, service).pictures
        return
    with pytest.raises(FetchError, match=message) as raised:
        search(name, service)
    assert "secret" not in str(raised.value)


def test_unknown_source_and_address() -> None:
    with pytest.raises(ProgeoError, match=r"`source` google: it must be panoramax, mapillary"):
        make_source("google")
    with pytest.raises(ProgeoError, match="`address` pano.example is no web address"):
        make_source("panoramax", "pano.example")
