"""The one environment of all templates. A page that is a file holds all it needs and opens anywhere, offline."""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progeo.console import format_rounded
from progeo.files import atomic_write

if TYPE_CHECKING:
    import jinja2

STATIC = Path(__file__).with_name("static")
"""Style, map and Leaflet of every page."""


def render_page(template: str, **values: Any) -> str:
    """Return a page from a template of the package, such as ``html/report.html``."""
    return _environment().get_template(template).render(**values)


def write_page(template: str, path: str | Path, **values: Any) -> None:
    """Write a page from a template of the package.

    Raises:
        ProgeoError: the file cannot be written.
    """
    page = render_page(template, **values)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def read_asset(name: str) -> str:
    """Return a style sheet or a script of ``static/`` to stand within a page.

    What it would load from elsewhere is left out: Leaflet names pictures of controls that no page has, and its source.
    """
    text = (STATIC / name).read_text(encoding="utf-8")
    return re.sub(r"url\([^)]*\)", "none", text) if name.endswith(".css") else re.sub(r"//# source.*", "", text)


def describe_now() -> str:
    """Return the time as people write it: ``3 May 2026, 21:10 CEST``."""
    now = datetime.now().astimezone()
    return f"{now.day} {now:%B %Y, %H:%M %Z}".strip()


@cache
def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files("progeo").joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["rounded"] = format_rounded
    environment.globals["read_asset"] = lambda name: Markup(read_asset(name))
    return environment
