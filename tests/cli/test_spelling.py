"""Messages of the library as the command line prints them."""

from __future__ import annotations

import logging

import pytest

from progeo.cli.spelling import spell_log, spell_options


def test_arguments_become_options_where_the_command_has_them() -> None:
    text = "`batch_size` 30 is no multiple of `images_per_class` 4; see `descriptor_dim`"
    expected = "--batch_size 30 is no multiple of images_per_class 4; see --fc_output_dim"
    assert spell_options(text, {"batch_size", "fc_output_dim"}) == expected


def test_log_lines_are_spelled_too(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("progeo")
    monkeypatch.setattr(logger, "propagate", False)  # or a line would be caught twice
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger="progeo"), spell_log({"seed"}):
            logger.info("`seed` %d of `seeds`", 3)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages == ["--seed 3 of seeds"]
