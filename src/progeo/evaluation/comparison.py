"""Several models on one test set, side by side: how good, how fast, how large."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from progeo.evaluation.metrics import RESAMPLES, Interval
from progeo.evaluation.recall import Evaluation
from progeo.html.pages import describe_now, write_page


def bootstrap_difference(first: Evaluation, other: Evaluation, seed: int = 0) -> tuple[float, Interval]:
    """Return how many points of R@1 ``other`` is better than ``first``, and the 95 % bootstrap interval of that.

    The queries are drawn in pairs, both models' answers together, because a query that is hard for one model is mostly
    hard for the other: an interval that leaves out 0 says more than two intervals that do not overlap.
    """
    gains = other.right[:, 0].astype(int) - first.right[:, 0]
    queries = len(gains)
    shares = np.bincount(gains + 1, minlength=3) / queries
    draws = np.random.default_rng(seed).multinomial(queries, shares, size=RESAMPLES)
    low, high = np.percentile(100.0 * (draws[:, 2] - draws[:, 0]) / queries, [2.5, 97.5])
    return 100.0 * float(gains.mean()), (float(low), float(high))


def draw_comparison(results: Sequence[dict[str, Any]], title: str) -> Table:
    """Lay out the results of several models as a table for the terminal, best R@1 marked; names stand below it."""
    header, rows = tabulate(results)
    best = max(result["recalls"]["R@1"] for result in results)
    names = "\n".join([*(f"{number}  {row[0]}" for number, row in enumerate(rows, start=1)), *_name_sources(results)])
    table = Table(
        title=title,
        caption=names,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE,
        pad_edge=False,
        padding=(0, 0),
    )
    for name in ("", *header[1:]):
        table.add_column(name, justify="right", no_wrap=True)
    for number, (row, result) in enumerate(zip(rows, results, strict=True), start=1):
        table.add_row(str(number), *row[1:], style="bold" if result["recalls"]["R@1"] == best else "")
    return table


def format_markdown(results: Sequence[dict[str, Any]], title: str) -> str:
    """Return the same table in Markdown."""
    header, rows = tabulate(results)
    lines = [header, [":--" if name == "model" else "--:" for name in header], *rows]
    table = f"{title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return "\n".join([table, *(f"{line}\n" for line in _name_sources(results))])


def write_comparison(results: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Write the same table as a page that opens offline.

    Raises:
        ProgeoError: the file cannot be written.
    """
    header, rows = tabulate(results)
    write_page(
        "html/comparison.html",
        path,
        title=title,
        header=header,
        rows=rows,
        sources=_list_sources(results),
        written=describe_now(),
    )


def tabulate(results: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the header and one row per model, as texts.

    Published R@1 has a column where it is known of one of the models at least.
    """
    ranks = list(results[0]["recalls"])
    known = any(result["published"] for result in results)
    published = ["R@1 published"] if known else []
    header = ["model", *ranks, *published, "R@1 to first", "dim", "ms/photo", "memory", "database"]
    rows = []
    for result in results:
        difference = result["difference_from_first"]
        time, memory = result["milliseconds_per_photo"], result["encoding_memory_bytes"]
        rows.append(
            [
                result["model"] + (" (batch-dependent)" if result["batch_dependent"] else ""),
                *(f"{result['recalls'][rank]:.1f}" for rank in ranks),
                *([f"{result['published']['recalls']['R@1']:.1f}" if result["published"] else ""] if known else []),
                "" if difference is None else _format_difference(difference),
                str(result["fc_output_dim"]),
                "kept" if time is None else f"{time:.1f}",
                "" if memory is None else format_bytes(memory),
                format_bytes(result["database_memory_bytes"]),
            ]
        )
    return header, rows


def format_bytes(count: float) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _name_sources(results: Sequence[dict[str, Any]]) -> list[str]:
    return [f"Published: {source}" for source in _list_sources(results)]


def _list_sources(results: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(result["published"]["source"] for result in results if result["published"]))


def _format_difference(difference: dict[str, Any]) -> str:
    low, high = difference["interval"]
    return f"{difference['R@1']:+.1f} ({low:+.1f} to {high:+.1f})"
