"""``progeo serve``."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import PositiveFloat, PositiveInt

from progeo.cli.options import EstimateOptions, PortNumber, option


@dataclass(kw_only=True)
class ServeOptions(EstimateOptions):
    """Serving"""

    host: str = option(
        "127.0.0.1",
        "address to listen on. The default lets only this machine in; 0.0.0.0 lets everybody in who can reach it, so "
        "set --token too",
    )
    port: PortNumber = option(8000, "port to listen on; 0 takes any free one")
    token: str | None = option(
        None,
        "whoever asks must send this: Authorization: Bearer TOKEN. The web page asks for it. Put it into a "
        "--config file, as others on the machine can see a command's options",
    )
    tiles: str | None = option(
        None,
        "address of map tiles, with {z}, {x} and {y}, such as https://tile.openstreetmap.org/{z}/{x}/{y}.png. Without "
        "it the map shows the database on a plain ground, and the page loads nothing from elsewhere",
    )
    tiles_attribution: str = option("© OpenStreetMap contributors", "whom the map names as the source of its tiles")
    max_upload_mb: PositiveFloat = option(32, "size of a request in megabytes")
    max_megapixels: PositiveFloat = option(64, "size of a photo in millions of pixels")
    max_images: PositiveInt = option(16, "photos in a request")
    max_waiting: PositiveInt = option(64, "photos waiting or in work; requests beyond it are told to come back (429)")
    max_seconds: PositiveFloat = option(30, "time for a request, upload included")


def run(options: ServeOptions) -> None:
    """Run ``progeo serve``."""
    from progeo.serve.serve import run_server

    run_server(options)
