from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from progeo.cli import program as cli
from progeo.cli.eval import EvalOptions
from progeo.cli.options import load_options, save_options
from progeo.cli.train import TrainOptions, read_settings
from progeo.errors import ProgeoError
from progeo.training.resolve import resolve

FOLDERS = ["--train_set_folder", "a", "--val_set_folder", "b", "--test_set_folder", "c"]


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(arguments) == 2
    return " ".join(capsys.readouterr().err.split())


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(command in output for command in cli.COMMANDS)
    assert cli.main([]) == 0
    assert capsys.readouterr().out == output


@pytest.mark.parametrize("rest", [[], ["-h"], ["--help"]])
def test_help_of_a_family_lists_its_commands(capsys: pytest.CaptureFixture[str], rest: list[str]) -> None:
    assert cli.main(["data", *rest]) == 0
    shown = capsys.readouterr().out
    assert "  data split " in shown and "  data check " in shown and "progeo train" not in shown


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from progeo.cli import main; main(['--help']); "
        "print([name for name in ('torch', 'polars', 'jsonargparse') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.endswith("[]\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("progeo 0.")


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_help_of_a_command_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main([*command.split(), "--help"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: progeo {command}")


def test_published_training_defaults() -> None:
    given = cli.parse_options("train", FOLDERS)
    assert given.save_dir == "default"
    options = resolve(read_settings(given))
    published = {
        **{"M": 10, "alpha": 30, "N": 5, "L": 2, "groups_num": 8, "min_images_per_class": 10},
        **{"backbone": "ResNet18", "fc_output_dim": 512, "train_all_layers": False, "use_amp16": False},
        **{"batch_size": 32, "epochs_num": 50, "iterations_per_epoch": 10000, "lr": 1e-5, "classifiers_lr": 0.01},
        **{"image_size": 512, "brightness": 0.7, "contrast": 0.7, "saturation": 0.7, "hue": 0.5},
        **{"random_resized_crop": 0.5, "infer_batch_size": 16, "positive_dist_threshold": 25, "seed": 0},
        **{"num_preds_to_save": 0, "save_only_wrong_preds": False, "images_per_class": 1},
    }
    assert {name: getattr(options, name) for name in published} == published
    given = cli.parse_options("train", [*FOLDERS, "--backbone", "CLIP-RN50", "--soft_triplet"])
    options = resolve(read_settings(given))
    published = {
        **{"fc_output_dim": 1024, "epochs_num": 64, "text_targets": "prompts", "images_per_class": 4},
        **{"epochs_num_stage1": 480, "batch_size_stage1": 512, "lr_stage1": 0.01, "freeze_cnn": 2, "freeze_trans": 6},
    }
    assert {name: getattr(options, name) for name in published} == published


def test_published_flags() -> None:
    options = cli.parse_options("train", [*FOLDERS, "--use_amp16", "--backbone", "ResNet50", "--fc_output_dim", "128"])
    assert (options.use_amp16, options.backbone, options.fc_output_dim) == (True, "ResNet50", 128)
    flags = ["--num_preds_to_save=3", "--exp_name=on_stlucia", "--save_only_wrong_preds", "--resize_test_imgs"]
    options = cli.parse_options("eval", ["--test_set_folder", "c", "--resume_model", "best_model.pth", *flags])
    assert (options.num_preds_to_save, options.save_dir, options.save_only_wrong_preds) == (3, "on_stlucia", True)
    assert (options.resize_test_imgs, options.resume_model) == (True, "best_model.pth")
    assert cli.parse_options("eval", ["--test_set_folder", "c", "--model", "x"]).resume_model == "x"


def test_seeds_and_config_file(tmp_path: Path) -> None:
    options = cli.parse_options("train", [*FOLDERS, "--seeds", "0", "1", "2", "--M", "20", "--no_use_amp16"])
    assert options.seeds == [0, 1, 2]
    save_options(options, tmp_path / "config.yaml")
    assert load_options(TrainOptions, tmp_path / "config.yaml") == options
    again = cli.parse_options("train", ["--config", str(tmp_path / "config.yaml"), "--M", "30"])
    assert (again.M, again.seeds, again.train_set_folder) == (30, [0, 1, 2], "a")


def test_resume_takes_over_the_options_of_the_run(tmp_path: Path) -> None:
    save_options(cli.parse_options("train", [*FOLDERS, "--M", "20"]), tmp_path / "config.yaml")
    for argument in (str(tmp_path), str(tmp_path / "last_checkpoint.pth")):
        for form in (["--resume_train", argument], [f"--resume_train={argument}"]):
            options = cli.parse_options("train", [*form, "--epochs_num", "60"])
            assert (options.M, options.epochs_num, options.resume_train) == (20, 60, argument)


def test_options_of_another_kind_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(ProgeoError, match="Cannot read the options in"):
        load_options(EvalOptions, tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no command 'trian'. Did you mean progeo train?"),
        (["data", "toycity"], "Did you mean progeo data toy-city?"),
        (["train", *FOLDERS, "--fc_outpt_dim", "3"], "--fc_outpt_dim 3. Did you mean --fc_output_dim?"),
        (
            ["train", *FOLDERS, "--M", "-3"],
            "--M: Not of type PositiveInt: does not conform to restriction v>0, given -3",
        ),
        (["train", *FOLDERS, "--lr", "fast"], "--lr: Not of type NonNegativeFloat"),
        (["train", *FOLDERS, "--hue", "0.6"], "--hue: Not of type HalfTurn: 0.6 does not conform to restriction"),
        (
            ["train", *FOLDERS, "--patience", "0"],
            "Error: --patience: Not of type PositiveInt: does not conform to restriction v>0, given 0 (progeo",
        ),
        (["train", *FOLDERS, "--device", "tpu"], "--device: invalid choice: 'tpu' (choose from"),
        (["train", "--val_set_folder", "b"], "please give: --train_set_folder"),
        (
            ["train", "--train_set_folder", ".", "--val_set_folder", "b"],
            "please give: --test_set_folder. Neither is needed where --train_set_folder is a manifest",
        ),
        (["train", *FOLDERS, "--config", "nowhere.yaml"], "--config nowhere.yaml cannot be read: No such file"),
        (["eval"], "please give: --test_set_folder"),
        (["train", "--resume_train", "nowhere"], "--resume_train nowhere: there is no such run folder"),
        (["index", "photos", "--database", "nowhere"], "no place database in nowhere yet. Give --model too"),
        (["data", "toy-city"], "please give: out (progeo data toy-city --help"),
        (["eval", "--test_set_folder", "nowhere"], "There is no folder nowhere"),
    ],
)
def test_wrong_options_get_one_clear_error(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    output = error_of(arguments, capsys)
    assert message in output
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())  # nothing is written for a command that cannot start


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "Traceback" in error_of(["eval", "--test_set_folder", str(tmp_path / "nowhere"), "--debug"], capsys)


def test_interruption_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(name: str, arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse_options", interrupted)
    assert cli.main(["train"]) == 130
    assert "Interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["demo"], ["data", "toy-city", "town"]])
def test_toy_city_is_named_where_it_is_not_installed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "progeo_toy_city", None)
    assert "progeo-toy-city, which is not installed: from a clone of progeo, pip install" in error_of(arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_photos_can_be_read_without_further_threads(command: str) -> None:
    options = {field.name: field for field in dataclasses.fields(cli.find_options_class(command))}
    if "num_workers" not in options:
        pytest.skip("it has no such option")
    required = [field for field in options.values() if field.default is dataclasses.MISSING]
    given = [["x"] if field.metadata["positional"] else [f"--{field.name}", "x"] for field in required]
    assert cli.parse_options(command, [*chain.from_iterable(given), "--num_workers", "0"]).num_workers == 0


def test_oddities_of_photos_are_no_python_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EXIF data that end too early make Pillow warn, with the path of its own files."""
    monkeypatch.chdir(tmp_path)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\xff\x7f\x10\0\0\0\0\0\0\0"
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 48)).save("photos/@500005@4000005@31@S@@@@@0@@@@@@.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="Tag data"):
            ImageOps.exif_transpose(Image.open(next(Path("photos").iterdir())))
        assert cli.main(["data", "check", "photos"]) in (0, 1)
