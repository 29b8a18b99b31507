"""What was published of models by protocols: known names, sane figures, a source of each, the same in the docs."""

from __future__ import annotations

from progeo.evaluation.protocols import PROTOCOLS
from progeo.evaluation.published_figures import find_published_figures, list_published_figures
from progeo.models.catalogue import list_published

from ..conftest import REPOSITORY


def test_every_figure_is_of_a_known_model_and_protocol_and_names_its_source() -> None:
    figures = list_published_figures()
    assert len({(one.model, one.protocol) for one in figures}) == len(figures) > 20
    for one in figures:
        assert one.model in list_published()
        assert one.protocol in PROTOCOLS
        assert one.source.startswith("https://")
        values = list(one.recalls.values())
        assert values == sorted(values)
        assert values[0] > 0 and values[-1] <= 100


def test_figures_are_found_by_names() -> None:
    found = find_published_figures("cosplace:ResNet18:512", "st-lucia")
    assert found is not None
    assert found.recalls == {"R@1": 98.8, "R@5": 99.7, "R@10": 99.9, "R@20": 100.0}
    assert found.to_dict() == {"recalls": found.recalls, "source": found.source}
    assert find_published_figures("cosplace:ResNet18:512", None) is None
    assert find_published_figures(None, "st-lucia") is None
    assert find_published_figures("my_model.safetensors", "st-lucia") is None


def test_the_docs_show_these_figures() -> None:
    page = (REPOSITORY / "docs/choosing.md").read_text(encoding="utf-8")
    for one in list_published_figures():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{one.protocol}` |"))
        header = next(line for line in page.splitlines() if line.startswith("| protocol |"))
        column = header.split("|").index(f" `{one.model}` ")
        assert row.split("|")[column].strip() == f"{one.recalls['R@1']:.1f}"
        assert one.source in page
