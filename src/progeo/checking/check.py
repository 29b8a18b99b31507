"""``progeo data check``: what is in a set of photos, and what should be mended before it is used."""

from __future__ import annotations

import dataclasses
import json

from progeo.checking.classes import estimate_training_memory, estimate_training_time, group_by_place
from progeo.checking.page import write_check_page
from progeo.checking.result import Result, examine
from progeo.cli.data_check import CheckOptions
from progeo.console import console, format_count
from progeo.data.faults import Faults
from progeo.data.table import read_image_table
from progeo.data.tools.looks import read_looks
from progeo.errors import ProblemsFoundError


def run_check(options: CheckOptions) -> None:
    """Run ``progeo data check``.

    Raises:
        ProblemsFoundError: there is something to mend; the page and the output are written all the same.
        ProgeoError: the set cannot be read at all.
    """
    faults: Faults = []
    table = read_image_table(
        options.source, None, columns=options.columns, heading_from=options.heading_from, faults=faults
    )
    looks = read_looks(table["path"], options.num_workers)
    result = examine(options.source, table, faults, looks, options.positive_dist_threshold)
    if best := result.recommendation:
        result = dataclasses.replace(
            result,
            memory=estimate_training_memory(best.largest_group),
            time=estimate_training_time(best.steps),
        )
    settings = {name: value for name, value in vars(options).items() if value is not None}
    write_check_page(result, options.page, settings)
    if options.json:
        print(json.dumps(result.to_dict()))
    else:
        console.print(describe(result), markup=False, soft_wrap=True)
    console.print(f"The page is {options.page}", markup=False, soft_wrap=True)
    problems = sum(finding.is_problem for finding in result.findings)
    if problems:
        raise ProblemsFoundError(
            f"{format_count(problems, 'kind')} of problem to mend; {options.page} names the photos"
        )


def describe(result: Result) -> str:
    """Return the check as one page for the terminal."""
    lines = [f"{result.source}: {format_count(len(result.table), 'photo')} with a position"]
    lines += [f"  {part:24} {count:10,}" for part, count in result.counts.items()]
    known = len(result.table) - result.headings["unknown"]
    lines.append(f"Headings: {100 * known / len(result.table):.0f} % known")
    duplicates = result.duplicates
    lines.append(
        f"Duplicates: {len(duplicates.exact):,} the same file, {len(duplicates.near):,} nearly the same picture"
    )
    for part, counts in result.positives.items():
        lines.append(f"Positives of {part}: " + ", ".join(f"{count:,} with {name}" for name, count in counts.items()))
    training_photos = format_count(result.training_images, "training photo")
    lines.append(f"Classes of {training_photos}, and groups they are in, by the least number of photos of a class:")
    for (M, alpha), settings in group_by_place(result.settings).items():
        cells = ", ".join(f"{one.classes:,} in {one.groups:,} with {one.min_images_per_class}" for one in settings)
        lines.append(f"  `M` {M} `alpha` {alpha}: {cells}")
    if result.recommendation:
        lines.append(f"To start with: {result.recommendation.options}")
        lines.append(f"  {result.recommendation.why}.")
        lines.append(
            f"  With the default network, training takes {format_count(result.recommendation.steps, 'step')} in all, "
            f"{result.memory}, and {result.time}."
        )
    else:
        lines.append("No setting of these keeps half of the photos in classes: too few photos of each place.")
    for finding in sorted(result.findings, key=lambda one: not one.is_problem):
        lines.append(f"{'Problem' if finding.is_problem else 'Remark'}: {finding.text}")
    return "\n".join(lines)
