from __future__ import annotations

import json
import logging
import struct
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from progeo.data.columns import FIELDS, SPELLINGS, parse_columns
from progeo.data.manifest import is_swapped, read_manifest, write_manifest
from progeo.errors import ProgeoError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the photos a.jpg, b.jpg and inner/c.jpg."""
    (tmp_path / "inner").mkdir()
    for name in ("a.jpg", "b.jpg", "inner/c.jpg"):
        (tmp_path / name).touch()
    return tmp_path


def read(folder: Path, text: str, columns: str | None = None, name: str = "m.csv") -> pl.DataFrame:
    (folder / name).write_text(text, encoding="utf-8")
    return read_manifest(folder / name, columns)


def error_of(folder: Path, text: str, columns: str | None = None, name: str = "m.csv") -> str:
    with pytest.raises(ProgeoError) as error:
        read(folder, text, columns, name)
    return str(error.value).replace(str(folder), "FOLDER")


def test_usual_spellings_and_further_columns(folder: Path) -> None:
    table = read(folder, "File Name,GPS Latitude,lng,Bearing,place_id,Season\ninner/c.jpg,59.3,18.1,-90,7,winter\n")
    assert table.select("path", "latitude", "longitude", "heading", "place", "Season").rows() == [
        (str(folder / "inner/c.jpg"), 59.3, 18.1, 270.0, "7", "winter")
    ]


def test_no_spelling_means_two_things() -> None:
    spellings = [spelling for field, others in SPELLINGS.items() for spelling in (field.replace("_", ""), *others)]
    assert len(set(spellings)) == len(spellings)
    assert SPELLINGS.keys() <= FIELDS.keys()


@pytest.mark.parametrize(
    ("columns", "row", "position"),
    [
        ("GPSLatitude,GPSLatitudeRef,GPSLongitude,GPSLongitudeRef", "33.86,S,70.65,W", (-33.86, -70.65)),
        ("GPSLatitude,GPSLatitudeRef,GPSLongitude,GPSLongitudeRef", "-33.86,South,-70.65,West", (-33.86, -70.65)),
        ("lat,lat_ref,lon,lon_ref", "33.86,n,70.65,w", (33.86, -70.65)),
        ("lat,N/S,lon,E/W", "33.86,S,70.65,E", (-33.86, 70.65)),
        ("lat,lat_hemisphere,lng,lng_hemisphere", "33.86,Sur,70.65,Este", (-33.86, 70.65)),
        ("lat,hemisphere,lon,longitude_direction", "33.86,South,70.65,W", (-33.86, -70.65)),
        ("lat,latitude_sign,lon,longitude_sign", "33.86,-,70.65,+", (-33.86, 70.65)),
        ("lat,lat_ref,lon,lon_ref", "-33.86,,70.65,E", (-33.86, 70.65)),
        ("lat,lat_ref,lon,lon_ref", "33.86,,70.65,", (33.86, 70.65)),
    ],
)
def test_hemispheres_in_columns_of_their_own(
    folder: Path, columns: str, row: str, position: tuple[float, float]
) -> None:
    table = read(folder, f"path,{columns}\na.jpg,{row}\n")
    assert table.select("latitude", "longitude").row(0) == position
    write_manifest(table, folder / "again.csv")
    assert read_manifest(folder / "again.csv").select("latitude", "longitude").row(0) == position


@pytest.mark.parametrize(
    ("columns", "row", "message"),
    [
        ("lat,lat_ref,lon,lon_ref", "33.86,0,70.65,1", "latitude 33.86 may be north or south, which its reference '0'"),
        ("lat,lat_ref,lon,lon_ref", "33.86,S,70.65,Ost", "longitude 70.65 may be east or west, which its reference"),
        ("lat,lat_ref,lon,lon_ref", "-33.86,N,70.65,E", "latitude -33.86 and its reference 'N' contradict each other"),
        ("lat,a,lon,b", "33.86,S,70.65,W", "`columns` latitude_reference=a,longitude_reference=b"),
    ],
)
def test_hemispheres_that_are_not_understood_are_refused(folder: Path, columns: str, row: str, message: str) -> None:
    assert message in error_of(folder, f"path,{columns}\na.jpg,{row}\n")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_byte_order_mark(folder: Path, separator: str) -> None:
    table = read(folder, "\ufeffpath,lat,lon\r\na.jpg,59.3,18.1\r\n".replace(",", separator))
    assert table.select("latitude", "longitude").row(0) == (59.3, 18.1)


@pytest.mark.parametrize("row", ["a.jpg;59,3293;18,1", '"a.jpg";"59,3293";"18,1"'])
def test_decimal_commas_are_understood_where_they_are_plain(folder: Path, row: str) -> None:
    assert read(folder, f"path;lat;lon\n{row}\n").select("latitude", "longitude").row(0) == (59.3293, 18.1)


def test_decimal_commas_that_tear_the_columns_apart(folder: Path) -> None:
    message = error_of(folder, "path,lat,lon\na.jpg,59,3293,18,1\n")
    assert "row 1 has more values than there are columns (3): a.jpg,59,3293,18,1" in message
    assert "decimal commas, separate the columns by semicolons" in message


@pytest.mark.parametrize(
    ("east", "message"),
    [
        ("549,100", "the comma in utm_east 549,100 can be a decimal comma or one between thousands"),
        ("549,100.5", "the utm_east '549,100.5' is no number: write a plain number"),
    ],
)
def test_commas_between_thousands_are_refused(folder: Path, east: str, message: str) -> None:
    assert f"row 1 (a.jpg): {message}" in error_of(folder, f'path,easting,northing,zone\na.jpg,"{east}",6578022,33\n')


def test_columns_by_option(folder: Path) -> None:
    table = read(folder, "photo,Y,X,latitude\na.jpg,59.3,18.1,wrong\n", "lat=Y, lon=X")
    assert table.select("latitude", "longitude").row(0) == (59.3, 18.1)
    assert parse_columns("lon=X,UTM Zone=z") == {"longitude": "X", "utm_zone": "z"}


@pytest.mark.parametrize("text", ["latitude", "latitude=", "colour=X", "latitude:Y", ""])
def test_columns_that_are_not_understood(folder: Path, text: str) -> None:
    with pytest.raises(ProgeoError, match=r"is not understood\. Write it as `columns` latitude=Y,longitude=X; on the"):
        parse_columns(text)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("img,Y,X", "no column for the latitude and longitude. Its columns are img, Y, X. Perhaps `columns` "
         "latitude=Y,longitude=X"),
        ("name,lat,lon", "no column for the path. Its columns are name, lat, lon. Perhaps `columns` path=name"),
        ("img,latitud,long", "no column for the latitude. Its columns are img, latitud, long. Perhaps `columns` "
         "latitude=latitud"),
        ("img,easting,n", "no column for the utm_north. Its columns are img, easting, n. Name them with `columns` "
         "utm_north=COLUMN"),
        ("img,lat,gps_lat,lon", "lat and gps_lat can both be the latitude. Say which: `columns` latitude=lat"),
    ],
)  # fmt: skip
def test_missing_columns_list_what_was_found_and_suggest(folder: Path, header: str, message: str) -> None:
    assert message in error_of(folder, f"{header}\n{','.join('1' for _ in header.split(','))}\n")


def test_chosen_column_that_is_not_there(folder: Path) -> None:
    message = error_of(folder, "img,lat,lon\na.jpg,1,1\n", "lat=Y")
    assert message.endswith("has no column 'Y', which `columns` takes for the latitude. Its columns are img, lat, lon.")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,,", "row 1 (a.jpg): there is no latitude and longitude."),
        ("a.jpg,0,0", "row 1 (a.jpg): latitude and longitude are both 0, which devices write"),
        ("a.jpg,95,170", "row 1 (a.jpg): latitude 95.0 is not between -90 and 90."),
        ("a.jpg,59,181", "row 1 (a.jpg): longitude 181.0 is not between -180 and 180."),
        ("a.jpg,59°19',18", "row 1 (a.jpg): the latitude \"59°19'\" is no number: write decimal degrees such as"),
        ("a.jpg,114.2,22.3", "beyond 90, and no longitude is: latitude and longitude look swapped. If they are, say "
         "`columns` latitude=lon,longitude=lat"),
        (",1,1", "row 1 names no file."),
        ("d.jpg,1,1", "1 of 1 file named in FOLDER/m.csv cannot be found. FOLDER/m.csv, row 1 (FOLDER/d.jpg): "
         "paths are taken relative to the manifest's folder FOLDER."),
    ],
)  # fmt: skip
def test_rows_without_a_possible_position_or_a_file(folder: Path, row: str, message: str) -> None:
    assert message in error_of(folder, f"img,lat,lon\n{row}\n")


def test_first_wrong_row_is_named_and_all_are_counted(folder: Path) -> None:
    message = error_of(folder, "img,lat,lon\na.jpg,1,1\nb.jpg,,\ninner/c.jpg,,2\n")
    assert message.startswith("2 of 3 rows without a possible position. FOLDER/m.csv, row 2 (b.jpg)")


def test_single_row_with_latitude_and_longitude_swapped(folder: Path) -> None:
    message = error_of(folder, "img,lat,lon\na.jpg,59.3,18.1\nb.jpg,18.1,59.3\ninner/c.jpg,59.4,18.1\n")
    assert message.startswith("1 of 3 rows without a possible position. FOLDER/m.csv, row 2 (b.jpg): latitude and long")
    assert "look swapped: the other way round, they lie among those of the other rows" in message


def test_times_that_are_not_understood_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "img,lat,lon,time\na.jpg,1,1,1680776345.0\nb.jpg,1,1,4/6/2023 10:19\ninner/c.jpg,1,1,\n"
    assert read(folder, text)["timestamp"].to_list() == ["2023-04-06T10:19:05Z", "4/6/2023 10:19", None]
    assert "row 2" in caplog.text
    assert "the time '4/6/2023 10:19' is not understood, and so it is with 1 row" in caplog.text


def test_heading_that_is_no_angle(folder: Path) -> None:
    assert "row 1 (a.jpg): the heading 1234.0 is no angle" in error_of(folder, "img,lat,lon,yaw\na.jpg,1,1,1234\n")


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\npath;lat;lon\na.jpg;59.3;18.1\n",
        "# exported 2023\npath,lat,lon\na.jpg,59.3,18.1\n",
        "#path,lat,lon\na.jpg,59.3,18.1\n",
        "path|lat|lon\na.jpg|59.3|18.1\n",
        "path,lat,lon\na.jpg,59.3,18.1,\n",
        "path,lat,lon\na.jpg,59.3,18.1\n,,\n\n\n",
        "path,lat,lon\ra.jpg,59.3,18.1\r",
        " path , lat , lon \n a.jpg , 59.3 , 18.1 \n",
        "path,lat,lon\n.\\a.jpg,59.3,18.1\n",
        "path,lat,lon\nA.JPG,59.3,18.1\n",
    ],
)
def test_tables_as_programs_write_them(folder: Path, text: str) -> None:
    (folder / "m.csv").write_bytes(text.encode())
    assert read_manifest(folder / "m.csv").select("path", "latitude", "longitude").rows() == [
        (str(folder / "a.jpg"), 59.3, 18.1)
    ]


def test_further_values_are_told_from_decimal_commas(folder: Path) -> None:
    assert "Name the further columns" in error_of(folder, "path,lat,lon\na.jpg,59.3,18.1,more\n")
    assert "decimal commas" in error_of(folder, "path,lat,lon\na.jpg,59,3,18,1\n")


def test_photo_at_two_places(folder: Path) -> None:
    text = "path,lat,lon\na.jpg,59.3293,18.1\nb.jpg,59.3,18.1\na.jpg,59.4293,18.1\n"
    assert "2 of 3 rows without a possible position" in error_of(folder, text)
    assert "its rows say places 11.1 km apart" in error_of(folder, text)
    assert len(read(folder, text.replace("59.4293", "59.3294"))) == 3


def test_names_come_back_as_they_are(tmp_path: Path) -> None:
    names = [" leading.jpg", "back\\slash.jpg", "a,b.jpg", 'quo"te.jpg', "#1.jpg", "trailing .jpg", "e\u0301.jpg"]
    for name in names:
        (tmp_path / name).touch()
    table = pl.DataFrame({"path": [str(tmp_path / name) for name in names], "latitude": 59.3, "longitude": 18.1})
    write_manifest(table, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv")["path"].to_list() == table["path"].to_list()
    (tmp_path / "n.csv").write_text("path,lat,lon\n\u00e9.jpg,59.3,18.1\n")
    assert read_manifest(tmp_path / "n.csv")["path"].to_list() == [str(tmp_path / "e\u0301.jpg")]


def test_geoparquet(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    point = struct.pack("<BIdd", 1, 1, 18.1, 59.3)
    high = struct.pack(">BIIddd", 0, 0xA0000001, 4326, 18.2, 59.4, 7.0)
    geo = json.dumps({"primary_column": "where", "columns": {"where": {"encoding": "WKB"}}})
    pl.DataFrame(
        {
            "path": ["a.jpg", "b.jpg"],
            "where": [point, high],
            "tags": [["x", "y"], []],
            "camera": [{"make": "X"}, None],
            "price": pl.Series(["1.10", "2.20"]).cast(pl.Decimal(3, 2)),
            "thumb": [b"1", b"2"],
        }
    ).write_parquet(folder / "m.parquet", metadata={"geo": geo})
    table = read_manifest(folder / "m.parquet")
    assert table.select("latitude", "longitude").rows() == [(59.3, 18.1), (59.4, 18.2)]
    assert table.row(0, named=True) | {"path": "", "latitude": 0, "longitude": 0} == {
        **dict.fromkeys(("utm_east", "utm_north", "utm_zone", "utm_letter")),
        **{"path": "", "latitude": 0, "longitude": 0, "tags": '["x", "y"]', "camera": '{"make": "X"}', "price": 1.1},
    }
    assert "Left out: the binary columns thumb of" in caplog.text
    for name in ("again.csv", "again.geojson", "again.parquet"):
        write_manifest(table, folder / name)
        assert read_manifest(folder / name)["latitude"].to_list() == [59.3, 59.4]


@pytest.mark.parametrize(
    ("name", "column"),
    [("geometry", {"x": 18.1, "y": 59.3}), ("bbox", {"xmin": 18.1, "ymin": 59.3, "xmax": 18.1, "ymax": 59.3})],
)
def test_points_and_boxes_as_structures(folder: Path, name: str, column: dict[str, float]) -> None:
    pl.DataFrame({"path": ["a.jpg"], name: [column]}).write_parquet(folder / "m.parquet")
    table = read_manifest(folder / "m.parquet")
    assert table.select("latitude", "longitude").row(0) == pytest.approx((59.3, 18.1))


def test_geometry_of_another_kind_is_refused(folder: Path) -> None:
    frame = pl.DataFrame({"path": ["a.jpg"], "geometry": [struct.pack("<BIdd", 1, 1, 674000.0, 6580000.0)]})
    geo = {"columns": {"geometry": {"crs": {"id": {"authority": "EPSG", "code": 25832}}}}}
    frame.write_parquet(folder / "m.parquet", metadata={"geo": json.dumps(geo)})
    with pytest.raises(ProgeoError, match="not latitude and longitude on WGS 84"):
        read_manifest(folder / "m.parquet")


def test_geojson_with_values_of_every_kind(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def make_feature(path: str, note: object, kind: str = "Point") -> dict[str, object]:
        place = [18.1, 59.3] if kind == "Point" else [[18.1, 59.3]]
        return {"properties": {"path": path, "note": note}, "geometry": {"type": kind, "coordinates": place}}

    features = [make_feature("a.jpg", 12), None, make_feature("b.jpg", {"n": [1, 2]}, "MultiPoint")]
    table = read(folder, json.dumps({"crs": None, "features": features}), name="m.geojson")
    assert table.select("latitude", "note").rows() == [(59.3, "12"), (59.3, '{"n": [1, 2]}')]
    assert "feature 2" in caplog.text


def test_paths_that_are_no_texts_are_refused(folder: Path) -> None:
    for path in (["a.jpg"], {"a": "b.jpg"}, 5, None, ""):
        features = [{"properties": {"path": path}, "geometry": {"type": "Point", "coordinates": [18.1, 59.3]}}]
        message = error_of(folder, json.dumps({"features": features}), name="m.geojson")
        assert "FOLDER/m.geojson" in message and len(message) < 700


def test_columns_of_every_kind_become_texts(folder: Path) -> None:
    columns: dict[str, pl.Series] = {
        "path": pl.Series(["a.jpg", "b.jpg"]),
        "latitude": pl.Series([59.3, 59.4]),
        "longitude": pl.Series([18.1, 18.2]),
        "raw": pl.Series([b"\xff\x00", b"text"]),
        "tags": pl.Series([["x", "y"], []]),
        "camera": pl.Series([{"name": "A", "lenses": [1, 2]}, {"name": "B", "lenses": []}]),
        "price": pl.Series(["1.50", "2.25"]).cast(pl.Decimal(10, 2)),
    }
    pl.DataFrame(columns).write_parquet(folder / "m.parquet")
    write_manifest(read_manifest(folder / "m.parquet"), folder / "o.csv")
    written = pl.read_csv(folder / "o.csv", infer_schema=False)
    assert written["latitude"].to_list() == ["59.3", "59.4"]
    assert json.loads(written["tags"][0]) == ["x", "y"]
    assert json.loads(written["camera"][0]) == {"name": "A", "lenses": [1, 2]}
    assert float(written["price"][1]) == 2.25


def test_files_without_a_row_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "progeo"):
        table = read(folder, "img,lat,lon\na.jpg,1,1\n")
    assert len(table) == 1
    assert f"Left out: 1 image without a row in {folder}/m.csv, beside those that it names" in caplog.text
    assert "b.jpg" in caplog.text


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("33", (33, None)),
        ("33N", (33, "N")),
        ("33 v", (33, "V")),
        ("EPSG:32633", (33, "N")),
        ("32733", (33, "M")),
        ("33.0", (33, None)),
        ("33 south", (33, "M")),
    ],
)
def test_zones(folder: Path, zone: str, expected: tuple[int, str | None]) -> None:
    table = read(folder, f"img,easting,northing,zone\na.jpg,549100.12,6578022.5,{zone}\n")
    assert table.select("utm_zone", "utm_letter").row(0) == expected


def test_hemisphere_in_a_column_of_its_own(folder: Path) -> None:
    table = read(folder, "img,easting,northing,zone,hemisphere\na.jpg,549100.12,6578022.5,33,South\n")
    assert table["utm_letter"].to_list() == ["M"]


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("EPSG:3006", "EPSG:3006 is no UTM zone such as 33, 33N or EPSG:32633"),
        ("61", "61 is no UTM zone"),
        ("33I", "33I is no UTM zone"),
        ("33S", "letter S is the band from 32 to 40 degrees north, and north 6578022.5 is not in it; for the southern "
         "hemisphere write south"),
    ],
)  # fmt: skip
def test_zones_that_do_not_exist(folder: Path, zone: str, message: str) -> None:
    assert message in error_of(folder, f"img,easting,northing,zone\na.jpg,549100.12,6578022.5,{zone}\n")


def test_zone_without_a_letter_is_told_where_it_matters(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(folder, "img,east,north,zone,lat,lon\na.jpg,549100,6578022,33,59.3,18.1\nb.jpg,549100,6578022,33V,,\n")
    assert "letter" not in caplog.text
    read(
        folder,
        "img,east,north,zone\na.jpg,549100,6578022,33V\nb.jpg,549100,6578022,33\ninner/c.jpg,549100,6578022,33\n",
    )
    assert (
        "row 2 (b.jpg): zone 33 has no letter or hemisphere, so that latitude and longitude stay unknown for 2 rows."
        in caplog.text
    )
    assert "progeo data convert add it" in caplog.text


def test_utm_outside_its_zone(folder: Path) -> None:
    message = error_of(folder, "img,east,north,zone\na.jpg,6578022.5,549100.5,33\n")
    assert "row 1 (a.jpg): UTM east 6578022.5 and north 549100.5 are in no zone" in message


def test_made_up_coordinates_need_no_zone(folder: Path) -> None:
    assert read(folder, "img,utm_east,utm_north\na.jpg,54,65\n").select("utm_east", "utm_zone").row(0) == (54.0, None)


def test_values_of_split_and_role(folder: Path) -> None:
    table = read(folder, "img,lat,lon,subset,role\na.jpg,1,1,Validation,DB\nb.jpg,1,1,training,query\n")
    assert table.select("split", "role").rows() == [("val", "database"), ("train", "queries")]
    table = read(folder, "img,lat,lon,split\na.jpg,1,1,gallery\nb.jpg,1,1,query\n")
    assert table["role"].to_list() == ["database", "queries"]
    assert "split" not in table.columns


def test_parquet_with_types_of_its_own(folder: Path) -> None:
    rows = {
        **{"path": ["a.jpg", "inner\\c.jpg"], "lat": [59, 60], "lon": [18.5, 18.5], "place": [7, 8]},
        **{"date": [date(2023, 4, 6), date(2023, 4, 7)]},
    }
    pl.DataFrame(rows).write_parquet(folder / "m.parquet")
    table = read_manifest(folder / "m.parquet")
    assert table.select("latitude", "place", "timestamp").rows() == [
        (59.0, "7", "2023-04-06"),
        (60.0, "8", "2023-04-07"),
    ]
    assert table["path"].to_list() == [str(folder / "a.jpg"), str(folder / "inner/c.jpg")]
    moment = pl.Series([datetime(2023, 4, 6, 10, 19, 5)]).dt.replace_time_zone("Europe/Stockholm")
    pl.DataFrame({"path": ["a.jpg"], "lat": [59], "lon": [18], "time": moment}).write_parquet(folder / "m.parquet")
    assert read_manifest(folder / "m.parquet")["timestamp"].to_list() == ["2023-04-06T10:19:05+02:00"]


def test_geojson_has_longitude_first(folder: Path) -> None:
    feature = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [18.1, 59.3, 12.0]},
        "properties": {"file": "a.jpg", "season": "winter"},
    }
    text = json.dumps({"type": "FeatureCollection", "features": [feature]})
    row = read(folder, text, name="m.geojson").row(0, named=True)
    assert (row["latitude"], row["longitude"], row["season"]) == (59.3, 18.1, "winter")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "img,lat,lon\n", "m.csv has no rows"),
        ("m.csv", "", "m.csv cannot be read, it may be damaged"),
        ("m.parquet", "x", "m.parquet cannot be read, it may be damaged"),
        ("m.geojson", "{", "m.geojson cannot be read, it may be damaged"),
        ("m.geojson", "[]", "there is no list of features"),
        ("m.geojson", '{"features": [{"geometry": {"type": "Polygon"}}]}', "feature 1 is a Polygon, not a Point"),
        ("m.geojson", '{"crs": {"name": "EPSG:3006"}, "features": []}', "not latitude and longitude on WGS 84"),
        ("m.xlsx", "", "is no table that can be read: it must be one of .csv, .tsv, .parquet, .geojson, .json"),
    ],
)
def test_files_that_are_no_manifests(folder: Path, name: str, text: str, message: str) -> None:
    assert message in error_of(folder, text, name=name)


def test_text_that_is_not_utf8(folder: Path) -> None:
    (folder / "m.csv").write_bytes("img,lat,lon\nstraße.jpg,1,1\n".encode("latin-1"))
    with pytest.raises(ProgeoError, match="is not written in UTF-8 .*please save it in UTF-8"):
        read_manifest(folder / "m.csv")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    positions=st.lists(
        st.tuples(st.floats(-80, 84), st.floats(-180, 180)).filter(lambda position: position != (0, 0)),
        min_size=3,
        max_size=3,
    ),
    notes=st.lists(st.one_of(st.none(), st.text("aé ,;\"'@/\n", min_size=1)), min_size=3, max_size=3),
    extension=st.sampled_from(["csv", "parquet", "geojson"]),
)
def test_what_is_written_is_read_again(
    folder: Path, positions: list[tuple[float, float]], notes: list[str | None], extension: str
) -> None:
    latitude, longitude = zip(*positions, strict=True)
    table = pl.DataFrame(
        {
            "path": [str(folder / name) for name in ("a.jpg", "b.jpg", "inner/c.jpg")],
            **{"latitude": latitude, "longitude": longitude, "heading": [0.0, None, 359.99], "my column": notes},
        },
        schema_overrides={"my column": pl.String},
    )
    assume(not table.select(is_swapped().any()).item())  # as (0, 2), (0, 2), (2, 0) look, and are refused
    path = folder / f"manifests/{extension}/m.{extension}"
    write_manifest(table, path)
    again = read_manifest(path)
    assert [Path(photo).resolve() for photo in again["path"]] == [Path(photo) for photo in table["path"]]
    for name in ("latitude", "longitude", "heading"):
        assert again[name].to_list() == table[name].to_list()
    if any(note is not None for note in notes):
        assert again["my column"].to_list() == notes


def test_manifest_of_another_kind_cannot_be_written(folder: Path) -> None:
    with pytest.raises(ProgeoError, match=r"m\.xlsx: a manifest must be one of \.csv, \.parquet, \.geojson"):
        write_manifest(pl.DataFrame({"path": ["a.jpg"]}), folder / "m.xlsx")
