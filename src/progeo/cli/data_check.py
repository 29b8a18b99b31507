"""``progeo data check``: what is in a set of photos, and what should be mended before it is used."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from progeo.cli.options import NUM_WORKERS, REQUIRED, HeadingOptions, option
from progeo.cli.spelling import say, spell_options
from progeo.cli.train import TrainOptions
from progeo.console import console, format_count
from progeo.errors import ProblemsFoundError

if TYPE_CHECKING:
    from progeo.checking.classes import Setting
    from progeo.checking.result import Result


@dataclass(kw_only=True)
class CheckOptions(HeadingOptions):
    """Checking"""

    source: str = option(REQUIRED, "a folder of photos, or a manifest", positional=True)
    page: str = option("check.html", "where to write the page: one HTML file that opens anywhere, offline")
    json: bool = option(False, "print the result as one JSON object, and nothing else, on stdout")
    positive_dist_threshold: PositiveFloat = option(25, "metres within which a database photo is right for a query")
    to_locate: bool = option(
        False,
        "check a folder of photos that are to be located: they need no position, and nothing is learned from them",
    )
    num_workers: NonNegativeInt | None = option(None, NUM_WORKERS)
    backbone: str | None = option(
        None, "backbone that will be trained, for which memory and time are estimated; without it what suits the set"
    )
    image_size: PositiveInt | None = option(
        None, "width and height of its training crops; without it 224 with EfficientNet-Lite0, else 512"
    )


def run(options: CheckOptions) -> None:
    """Run ``progeo data check``: print what was found, and write the page.

    Raises:
        ProblemsFoundError: there is something to mend; the page and the output are written all the same.
    """
    from progeo.checking.check import check_photos
    from progeo.checking.page import write_check_page

    settings = {name: value for name, value in vars(options).items() if value is not None}
    asked = {name: value for name, value in settings.items() if name not in ("page", "json")}
    result = check_photos(**asked, say=say)
    names = [*settings, *(field.name for field in dataclasses.fields(TrainOptions))]
    findings = [dataclasses.replace(one, text=spell_options(one.text, names)) for one in result.findings]
    way_out = result.way_out and spell_options(result.way_out, names)
    result = dataclasses.replace(result, findings=findings, way_out=way_out)
    start = spell_command(result) if result.recommendation else ""
    # Printed first: where the page cannot be written, the findings are there all the same.
    if options.json:
        print(json.dumps(result.to_dict()), flush=True)
    else:
        console.print(describe(result, start, options.page), markup=False, soft_wrap=True)
    write_check_page(result, options.page, start, settings)
    console.print(f"The page is {options.page}", markup=False, soft_wrap=True)
    problems = sum(finding.is_problem for finding in result.findings)
    if problems:
        raise ProblemsFoundError(
            f"{format_count(problems, 'kind')} of problem to mend; {options.page} names the photos"
        )


def spell_command(result: Result) -> str:
    """Return the command that trains with the recommended settings, on sets of one manifest where it has them."""
    assert result.recommendation is not None
    words = ["progeo train --train_set_folder", result.source]
    if not all(any(part.startswith(split) for part in result.counts) for split in ("val", "test")):
        words.append("--val_set_folder VAL --test_set_folder TEST")
    return " ".join([*words, spell_settings(result.recommendation.settings)])


def spell_index(result: Result) -> str:
    """Return the command that makes a place database of these photos, offline."""
    return f"progeo index {result.source} --model fit --database DATABASE"


def spell_settings(settings: dict[str, Any]) -> str:
    """Return settings as options of ``progeo train``."""
    return " ".join(f"--{name} {value}" for name, value in settings.items())


def describe(result: Result, start: str, page: str) -> str:
    """Return the check for the terminal; ``start`` is the recommended command, ``page`` has the pictures."""
    kind = "to locate" if result.to_locate else "with a position"
    lines = [f"{result.source}: {format_count(len(result.table), 'photo')} {kind}"]
    lines += [f"  {part:24} {count:10,}" for part, count in result.counts.items()]
    if not result.to_locate:
        known = len(result.table) - result.headings["unknown"]
        lines.append(f"Headings: {100 * known / len(result.table):.0f} % known")
    duplicates = result.duplicates
    lines.append(
        f"Duplicates: {len(duplicates.exact):,} the same file, {len(duplicates.near):,} nearly the same picture"
    )
    for part, counts in result.positives.items():
        found = ", ".join(f"{count:,} with {name}" for name, count in counts.items() if count)
        lines.append(f"Positives of {part}: {found}")
    if result.to_locate:
        return "\n".join([*lines, *_list_findings(result, page)])
    training_photos = format_count(result.training_images, "training photo")
    lines.append(
        f"Classes that {training_photos} make with an M and an alpha, by the least number of photos of a class:"
    )
    lines += _draw_classes(result.settings) or ["  none by any setting"]
    if result.recommendation:
        lines.append(f"To start with: {start}")
        lines.append(f"  {result.recommendation.why}.")
        lines.append(
            f"  This is {format_count(result.recommendation.steps, 'step')} in all, {result.memory}, and "
            f"{result.time}, without reading photos and validation."
        )
        if result.way_out:
            lines.append(f"  {result.way_out}")
    else:
        lines.append("No setting of these keeps half of the photos in classes: too few photos of each place.")
    lines.append(f"To locate photos among these, without training: {spell_index(result)}")
    return "\n".join([*lines, *_list_findings(result, page)])


def _draw_classes(settings: list[Setting]) -> list[str]:
    """Return the numbers of classes as the lines of a table; nothing stands for none."""
    from progeo.checking.classes import MINIMA, group_by_place

    def align(M: object, alpha: object, counts: Iterable[object]) -> str:
        return f"  {M:>5} {alpha:>6}" + "".join(f"{count:>13}" for count in counts)

    rows = [
        align(M, alpha, (one.classes or "" for one in found))
        for (M, alpha), found in group_by_place(settings).items()
        if any(one.classes for one in found)
    ]
    return [align("M", "alpha", (f"{least} or more" for least in MINIMA)), *rows] if rows else []


def _list_findings(result: Result, page: str) -> list[str]:
    """Return what was found, problems first; what pictures show better is in the page."""
    return [
        f"{'Problem' if finding.is_problem else 'Remark'}: {finding.text}"
        + (f": {page} shows them" if finding.pictured else "")
        for finding in sorted(result.findings, key=lambda one: not one.is_problem)
    ]
