"""From an area to a folder of photos with a manifest: search, download, cut panoramas, and go on where it stopped."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from progeo.console import format_count
from progeo.errors import ProgeoError
from progeo.files import atomic_write
from progeo.imagery.area import Area
from progeo.imagery.client import BusyError, Client, FetchError, is_private
from progeo.imagery.journal import Journal, Row, open_journal
from progeo.imagery.picture import Picture
from progeo.imagery.searching import Offer, find_pictures
from progeo.imagery.sources import Source
from progeo.imagery.views import cut_view, list_yaws, shrink
from progeo.pixels.decoding import decode, open_image

QUALITY = 90
MOST_BUSY = 3
"""Pictures in a row for which the service does not answer; then the run ends."""
EXTENSIONS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"}
BYTES_PER_PIXEL = 0.1
"""Of a JPEG, where a service does not say how large a file is: 1.4 MB for 5760 x 2880 pixels."""
UNFIT_FOR_NAMES = r"[^\w.-]"
EXPIRED = {"status 401", "status 403", "status 404", "status 410"}


@dataclass(frozen=True)
class Views:
    """How a panorama becomes photos."""

    count: int = 12
    field_of_view: float = 60.0
    """Degrees across each."""
    size: int = 512
    """Pixels of a side."""

    def __post_init__(self) -> None:
        """Refuse what gives no photos."""
        if not 10 <= self.field_of_view <= 150:
            raise ProgeoError(f"`field_of_view` {self.field_of_view:g} must be from 10 to 150 degrees.")
        if not 32 <= self.size <= 4096:
            raise ProgeoError(f"`view_size` {self.size} must be from 32 to 4096 pixels.")

    def to_settings(self) -> dict[str, Any]:
        """Return what must be the same for all photos of a folder."""
        return {"views": self.count, "field_of_view": self.field_of_view, "view_size": self.size}


@dataclass
class Report:
    """What was offered, and what has come of it."""

    offer: Offer
    chosen: list[Picture]
    views: Views
    downloaded: int = 0
    """Pictures of this run."""
    kept: int = 0
    """Pictures that were there already."""
    photos: int = 0
    """In the folder now."""
    failed: Counter[str] = field(default_factory=Counter)
    """How many could not be downloaded, by reason."""
    stopped: str | None = None
    """Why the run ended before all was tried."""

    @property
    def panoramas(self) -> int:
        """How many of the chosen pictures are cut into views."""
        return sum(picture.is_panorama for picture in self.chosen)

    @property
    def expected_photos(self) -> int:
        """How many photos the chosen pictures make."""
        return len(self.chosen) + self.panoramas * (self.views.count - 1)

    @property
    def expected_bytes(self) -> int:
        """About how much the chosen pictures take to download."""
        return sum(
            picture.size or int(BYTES_PER_PIXEL * (picture.width or 2048) * (picture.height or 1536))
            for picture in self.chosen
        )

    @property
    def licences(self) -> dict[str, int]:
        """How many of the chosen pictures have each licence, the most frequent first."""
        return dict(Counter(picture.licence for picture in self.chosen).most_common())

    @property
    def authors(self) -> dict[str, int]:
        """How many of the chosen pictures each author has, the most frequent first."""
        return dict(Counter(picture.author for picture in self.chosen).most_common())


Tell = Callable[[str, int, int | None], object]
"""Is told what is going on, how far it is, and how far it goes."""


def download_imagery(
    area: Area,
    out: str | Path,
    source: Source,
    *,
    views: Views | None = None,
    max_photos: int | None = None,
    dry_run: bool = False,
    contact: str | None = None,
    say: Callable[[str], object] = lambda text: None,
    tell: Tell = lambda text, done, total: None,
) -> Report:
    """Download the pictures of an area as photos with a manifest, which ``read_photos`` reads.

    What a run has downloaded stays, and the next one with the same folder goes on.

    Args:
        area: whose pictures are wanted.
        out: folder for ``manifest.csv`` and a folder of photos for each source.
        source: of ``make_source``.
        views: how panoramas are cut.
        max_photos: at most about so many photos, spread over the area; None takes all.
        dry_run: only search.
        contact: how the service can reach the user.
        say: is told what the user should know.
        tell: is told how far it is.

    Raises:
        ProgeoError: nothing can be had, the service does not answer, or the folder cannot be written.
    """
    views = views or Views()
    with source.connect(contact=contact, say=say) as client:
        offer = find_pictures(
            source, client, area, lambda done, total, count: tell(f"Searching: {count:,} pictures", done, total)
        )
        report = Report(offer, choose(offer.pictures, views, max_photos), views)
        for remark in offer.remarks:
            say(remark)
        if not report.chosen:
            others = "; ".join(f"{count:,}: {reason}" for reason, count in offer.left_out.most_common())
            raise ProgeoError(
                f"{source.title} has no picture that can be used in {area.text}"
                + (f" ({others})" if others else "")
                + ". Try a larger area or another source."
            )
        _admit_hosts(client, report.chosen, say)
        if not dry_run:
            with open_journal(Path(out), views.to_settings()) as journal:
                _download_all(client, source, report, journal, tell)
    return report


def choose(pictures: list[Picture], views: Views, max_photos: int | None) -> list[Picture]:
    """Return the first pictures that make at most so many photos, and at least one."""
    if max_photos is None:
        return pictures
    chosen: list[Picture] = []
    photos = 0
    for picture in pictures:
        photos += views.count if picture.is_panorama else 1
        if chosen and photos > max_photos:
            break
        chosen.append(picture)
    return chosen


def _admit_hosts(client: Client, pictures: list[Picture], say: Callable[[str], object]) -> None:
    """Let the client ask the hosts that the service names for its pictures, and say which are not its own.

    Machines of this network are never asked, unless the service is one of them.
    """
    foreign: Counter[str] = Counter()
    for picture in pictures:
        if not client.allows(picture.image_url) and not is_private(picture.image_url):
            foreign[urlsplit(picture.image_url).hostname or ""] += 1
    if foreign:
        hosts = ", ".join(f"{host} ({count:,})" for host, count in foreign.most_common())
        say(f"{client.title} keeps pictures at hosts that are not its own: {hosts}")
    client.hosts |= set(foreign)


def _download_all(client: Client, source: Source, report: Report, journal: Journal, tell: Tell) -> None:
    """Download what the folder does not hold yet."""
    busy = 0
    for number, picture in enumerate(report.chosen):
        tell("Downloading", number, len(report.chosen))
        if picture.key in journal.rows:
            report.kept += 1
            continue
        try:
            rows = _download(client, source, picture, report.views, journal.folder)
        except FetchError as error:
            report.failed[error.reason] += 1
            busy = busy + 1 if isinstance(error, BusyError) else 0
            if busy >= MOST_BUSY:
                report.stopped = str(error)
                break
            continue
        busy = 0
        journal.add(picture.key, rows)
        report.downloaded += 1
    tell("Downloading", len(report.chosen), len(report.chosen))
    report.photos = sum(len(rows) for rows in journal.rows.values())


def _download(client: Client, source: Source, picture: Picture, views: Views, folder: Path) -> list[Row]:
    """Download one picture, write its photos, and return their rows of the manifest.

    Raises:
        FetchError: it cannot be had, or is no picture.
    """
    try:
        content = client.download(picture.image_url)
    except FetchError as error:
        renewed = source.renew(client, picture) if error.reason in EXPIRED else picture
        if renewed.image_url == picture.image_url:
            raise
        content = client.download(renewed.image_url)
    photos = _make_photos(content, picture, views)
    rows = []
    for row, photo in photos:
        with atomic_write(folder / row["path"]) as temporary:
            temporary.write_bytes(photo)
        rows.append(row)
    return rows


def _make_photos(content: bytes, picture: Picture, views: Views) -> list[tuple[Row, bytes]]:
    """Return the photos that a picture makes, each with its row of the manifest.

    Raises:
        FetchError: it is damaged, or a panorama that does not go all around.
    """
    name = f"{picture.source}/{re.sub(UNFIT_FOR_NAMES, '_', picture.id)}"
    try:
        encoded = open_image(content, name=picture.key, formats=tuple(EXTENSIONS))
        image = decode(encoded, picture.key)
    except ProgeoError as error:
        raise FetchError(str(error), "a damaged picture") from error
    if not picture.is_panorama:
        return [(_describe(picture, name + EXTENSIONS[encoded.format or ""]), content)]
    try:
        frame = shrink(image, views.field_of_view, views.size)
    except ProgeoError as error:
        raise FetchError(str(error), "a panorama that is cropped") from error
    photos = []
    for yaw in list_yaws(views.count):
        view = cut_view(
            frame,
            yaw,
            field_of_view=views.field_of_view,
            size=views.size,
            camera_pitch=picture.pitch or 0.0,
            camera_roll=picture.roll or 0.0,
        )
        jpeg = io.BytesIO()
        Image.fromarray(view).save(jpeg, format="JPEG", quality=QUALITY)
        heading = None if picture.heading is None else (picture.heading + yaw) % 360
        row = _describe(replace(picture, heading=heading), f"{name}_{yaw:03.0f}.jpg")
        photos.append(({**row, "pano_id": picture.key}, jpeg.getvalue()))
    return photos


def _describe(picture: Picture, path: str) -> Row:
    """Return the row of the manifest of a photo."""
    return {
        "path": path,
        "latitude": picture.latitude,
        "longitude": picture.longitude,
        "heading": picture.heading,
        "timestamp": picture.timestamp,
        "sequence": picture.sequence,
        "pano_id": None,
        "source": picture.source,
        "licence": picture.licence,
        "licence_url": picture.licence_url,
        "author": picture.author,
        "page_url": picture.page_url,
    }


def describe_report(report: Report) -> str:
    """Return what a search has found, in words."""
    chosen = format_count(len(report.chosen), "picture")
    parts = [
        f"{chosen} ({report.panoramas:,} of 360 degrees) make {format_count(report.expected_photos, 'photo')}, "
        f"about {report.expected_bytes / 1e6:,.0f} MB to download",
        "Licences: " + ", ".join(f"{name} ({count:,})" for name, count in report.licences.items()),
    ]
    beyond = len(report.offer.pictures) - len(report.chosen)
    if beyond:
        parts.append(f"Not taken, as `max_photos` is reached: {format_count(beyond, 'picture')}")
    if report.offer.left_out:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in report.offer.left_out.most_common())
        parts.append(f"Left out: {reasons}")
    return "\n".join(parts)
