"""Options of the published commands that have no meaning here are left out, with a line."""

from __future__ import annotations

import pytest

from progeo.cli.program import _leave_out_published


def test_options_without_a_meaning_are_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--backbone", "CLIP-RN50", "--checkpoint_period_stage1", "10", "--resume_model_stage1=x", "--use_amp16"]
    assert _leave_out_published(given, "train") == ["--backbone", "CLIP-RN50", "--use_amp16"]
    assert "--checkpoint_period_stage1, --resume_model_stage1" in capsys.readouterr().err


def test_eval_takes_the_options_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--M", "10", "--num_workers", "0", "--train_set_folder", "a", "--use_amp16", "--test_set_folder", "b"]
    assert _leave_out_published(given, "eval") == ["--num_workers", "0", "--test_set_folder", "b"]
    said = capsys.readouterr().err
    assert all(name in said for name in ("--M", "--train_set_folder", "--use_amp16")) and "--num_workers" not in said
    given = [
        "--prompt_learners",
        "x.pth",
        "--no_train_all_layers",
        "--exp_name",
        "y",
        "--seeds",
        "0",
        "1",
        "--json",
    ]
    assert _leave_out_published(given, "eval") == ["--exp_name", "y", "--json"]
    assert "--prompt_learners, --no_train_all_layers, --seeds" in capsys.readouterr().err
    assert _leave_out_published(["--seed", "1"], "eval") == ["--seed", "1"] and not capsys.readouterr().err
