"""Pages that open anywhere, offline: one HTML file each, from the package's templates."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from progeo.files import atomic_write


def write_page(template: str, path: str | Path, **values: Any) -> None:
    """Write a page from a template of the package, such as ``evaluation/report.html``.

    Raises:
        ProgeoError: the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files("progeo.html").joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**values)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
