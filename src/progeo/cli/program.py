"""The command line: ``progeo <command>``. It only reads options and calls the package.

Nothing heavy is imported before a command needs it, so that ``progeo --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import warnings
from collections.abc import Collection, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from progeo.cli.spelling import spell_log, spell_options
from progeo.errors import ProgeoError, explain_lack_of_memory, explain_missing_library


class Command(NamedTuple):
    """What a command is for. Its file, ``cli/train.py`` or ``cli/data_split.py``, has its options and ``run``."""

    summary: str
    example: str


COMMANDS = {
    "demo": Command(
        "see it work: make a toy city, train on it, evaluate before and after (offline)",
        "progeo demo",
    ),
    "train": Command(
        "train a model on street photos with known positions",
        "progeo train --train_set_folder TRAIN --val_set_folder VAL --test_set_folder TEST",
    ),
    "eval": Command(
        "evaluate a model on a folder with database and queries",
        "progeo eval --model best_model.safetensors --test_set_folder TEST",
    ),
    "fit": Command(
        "fit a model to photos, without training and without positions",
        "progeo fit PHOTOS --model_out my_model.safetensors",
    ),
    "index": Command(
        "put photos with known positions into a place database",
        "progeo index PHOTOS --model best_model.safetensors --database DATABASE",
    ),
    "town": Command(
        "download open photos of a town and make a place database of them",
        "progeo town 45.4432,9.2179 --within 500 --database my_town",
    ),
    "calibrate": Command(
        "teach a place database how sure its estimates are",
        "progeo calibrate --database DATABASE --queries QUERIES",
    ),
    "locate": Command(
        "say where photos were taken",
        "progeo locate PHOTO --database DATABASE",
    ),
    "undo": Command(
        "take back the positions that locate has written into photos",
        "progeo undo logs/written/TIME/written.jsonl",
    ),
    "serve": Command(
        "start the web page and the HTTP service of a place database",
        "progeo serve --database DATABASE",
    ),
    "pairs": Command(
        "list photos that may show the same, for reconstruction with hloc or COLMAP",
        "progeo pairs IMAGES --model best_model.safetensors --out pairs.txt",
    ),
    "database credits": Command(
        "list the authors and licences of the photos in a place database",
        "progeo database credits DATABASE",
    ),
    "database info": Command(
        "print what is in a place database, and what it takes",
        "progeo database info DATABASE",
    ),
    "database tag": Command(
        "keep the present version of a place database under a name, for services that stay at it",
        "progeo database tag DATABASE NAME",
    ),
    "database compact": Command(
        "make the folder of a place database as small as it can be",
        "progeo database compact DATABASE",
    ),
    "database upgrade": Command(
        "bring a place database of an earlier progeo to the present form",
        "progeo database upgrade DATABASE",
    ),
    "models": Command(
        "list the models that there are, their sizes and licences",
        "progeo models '*ResNet50*'",
    ),
    "export": Command(
        "write a model as one graph for ONNX Runtime or OpenVINO, which run it without PyTorch",
        "progeo export best_model.safetensors best_model.onnx",
    ),
    "push": Command(
        "upload a model with a written model card to the Hugging Face Hub",
        "progeo push best_model.safetensors OWNER/NAME --dry_run",
    ),
    "prompts show": Command(
        "list the words nearest to the learned tokens of each class",
        "progeo prompts show logs/default/TIME/prompts.safetensors",
    ),
    "data check": Command(
        "look for what should be mended in a set of photos, and for settings to start with",
        "progeo data check PHOTOS",
    ),
    "data convert": Command(
        "write photos under SF-XL file names, or a manifest of them",
        "progeo data convert PHOTOS manifest.csv",
    ),
    "data split": Command(
        "make train, val and test that lie apart from each other",
        "progeo data split PHOTOS split.csv",
    ),
    "data frames": Command(
        "take frames with positions out of a video or photos, and a GPX track",
        "progeo data frames VIDEO FRAMES --gpx TRACK.gpx",
    ),
    "data imagery": Command(
        "download open street-level photos of an area, as reference photos",
        "progeo data imagery my_town_photos --near 45.4432,9.2179 --within 500",
    ),
    "data toy-city": Command(
        "render a small town with train, val and test photos",
        "progeo data toy-city toy_city",
    ),
}

FAMILIES = {name.split()[0] for name in COMMANDS if " " in name}
"""First words of commands that have two."""


def main(arguments: Sequence[str] | None = None, *, published: bool = False) -> int:
    """Run a command and return the exit code: 0 done, 1 a check found problems, 2 an error, 130 interrupted.

    With ``published``, ``train`` and ``eval`` have the defaults of the published commands where ours are others.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    family = [word for word in arguments[:1] if word in FAMILIES]
    if arguments[len(family) :] in ([], ["-h"], ["--help"]):
        print(describe_commands(*family))
        return 0
    if arguments == ["--version"]:
        from importlib.metadata import version

        print(f"progeo {version('progeo')}")
        return 0
    names: list[str] = []
    if not debug:  # what a photo's EXIF data lack; what comes of it is said of the photo
        warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        name, rest = _split_command(arguments)
        if name == "train" and not import_module("progeo.devices").is_first_process():
            import_module("progeo.console").console.quiet = True
        elif not {"-h", "--help"} & set(rest):
            print(f"progeo {name}: starting", file=sys.stderr, flush=True)  # its libraries may take seconds to load
        names = [field.name for field in dataclasses.fields(find_options_class(name))]
        if published:
            rest = _leave_out_published(rest, name)
        options = parse_options(name, rest)
        names = list(vars(options))
        remedy = _find_remedy(names)
        with spell_log(names), explain_lack_of_memory(remedy), explain_missing_library(f"progeo {name}"):
            import_command(name).run(options, **({"published": True} if published else {}))
        return 0
    except KeyboardInterrupt:
        _print_error("Interrupted", debug)
        return 130
    except (ProgeoError, OSError) as error:
        _print_error(f"Error: {spell_options(str(error), names)}", debug)
        return getattr(error, "exit_code", 2)


def describe_commands(family: str = "") -> str:
    """Return the help of ``progeo`` itself, or of the commands of one family, such as ``data``."""
    commands = {name: command for name, command in COMMANDS.items() if family in ("", name.split()[0])}
    width = max(map(len, commands))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in commands.items()]
    examples = [f"  {command.example}" for command in commands.values()]
    return "\n".join(
        [
            "progeo: where was this photo taken? Visual place recognition, from photos to positions.",
            "",
            "usage: progeo COMMAND [OPTIONS]      progeo COMMAND --help explains all options",
            "",
            "commands:",
            *lines,
            "",
            "examples:",
            *examples,
            "",
            "--version prints the version; --debug, with any command, shows tracebacks.",
        ]
    )


def import_command(name: str) -> ModuleType:
    """Return the module of a command."""
    return import_module("progeo.cli." + name.replace(" ", "_").replace("-", "_"))


def find_options_class(name: str) -> type:
    """Return the dataclass of a command's options: the last one that its file defines."""
    module = import_command(name)
    classes = [value for value in vars(module).values() if isinstance(value, type) and is_dataclass(value)]
    return [value for value in classes if value.__module__ == module.__name__][-1]


def parse_options(name: str, arguments: list[str]) -> Any:
    """Return the options of a command, an instance of its dataclass; ``--help`` prints them and exits.

    Raises:
        ProgeoError: an option is unknown, missing or has a value it cannot have.
    """
    from argparse import ArgumentError

    from jsonargparse import ArgumentParser

    import progeo.cli.options as config

    command = COMMANDS[name]
    options_class = find_options_class(name)
    parser = ArgumentParser(
        prog=f"progeo {name}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}. Example: {command.example}",
        exit_on_error=False,
    )
    config.add_options(parser, options_class)
    if recipe := _find_recipe(arguments, options_class):
        from progeo.training.recipes import describe_recipe, find_recipe

        parser.set_defaults({**find_recipe(recipe).settings})
        if {"-h", "--help"} & set(arguments):
            names = [field.name for field in dataclasses.fields(options_class)]
            print(spell_options(describe_recipe(recipe), names), end="\n\n")
    says_where = {"--save_dir", "--exp_name", "--resume_train"} & {argument.partition("=")[0] for argument in arguments}
    try:
        arguments = _join_negative_values(_take_over_resumed_options(arguments))
        for path in _list_values(arguments, "--config"):
            config.check_config(path, may_lead_out=bool(says_where))
        namespace = parser.parse_args(config.join_repeated(arguments, options_class))
    except ArgumentError as error:
        raise ProgeoError(_explain(str(error), name, parser)) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits
        raise ProgeoError(f"An option has a value that cannot be: {' '.join(str(error).split())[:200]}.") from error
    return config.create_options(options_class, namespace)


PUBLISHED_ONLY = ("checkpoint_period_stage1", "checkpoint_period_stage2", "resume_model_stage1")
"""Options of the published code that have no meaning here: a checkpoint is written whenever it is worth it, and
prompts are read by ``prompts`` alone."""


def _leave_out_published(arguments: list[str], name: str) -> list[str]:
    """Return the arguments of a published command without the options that have no meaning for it, and say so.

    The published ``eval.py`` takes, and does not use, the options of training.
    """
    others = {f"--{one}" for one in PUBLISHED_ONLY}
    if name == "eval":
        training, own = (_list_spellings(find_options_class(one)) for one in ("train", "eval"))
        others |= training - own
    kept: list[str] = []
    ignored: list[str] = []
    is_value = False
    for argument in arguments:
        option, equals, _ = argument.partition("=")
        if option.startswith("--"):
            is_value = option in others and not equals
            if option in others:
                ignored.append(option)
                continue
        elif is_value:
            continue
        kept.append(argument)
    if ignored:
        print(f"Ignored, as progeo {name} has no use for them: {', '.join(ignored)}", file=sys.stderr, flush=True)
    return kept


def _list_spellings(options_class: type) -> set[str]:
    """Return all that the options of a command may be called."""
    from progeo.cli.options import list_names

    names = {name for one in dataclasses.fields(options_class) for name in list_names(one)}
    return names | {name.replace("--", "--no_", 1) for name in names}


def _list_values(arguments: list[str], option: str) -> list[str]:
    """Return the values that an option is given, one for each time."""
    parts = ((argument.partition("="), i) for i, argument in enumerate(arguments, start=1))
    return [value or "".join(arguments[i : i + 1]) for (name, _, value), i in parts if name == option]


def _find_recipe(arguments: list[str], options_class: type) -> str | None:
    """Return the recipe that the arguments of a command name, which sets its defaults."""
    if all(field.name != "recipe" for field in dataclasses.fields(options_class)):
        return None
    return next(iter(_list_values(arguments, "--recipe")), None) or None


def _split_command(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the command that the arguments start with, and the rest of them."""
    for name in COMMANDS:
        words = name.split()
        if arguments[: len(words)] == words:
            return name, arguments[len(words) :]
    given = " ".join(arguments[:2]) if arguments[0] in FAMILIES else arguments[0]
    near = difflib.get_close_matches(given, COMMANDS, n=1)
    hint = f" Did you mean progeo {near[0]}?" if near else ""
    raise ProgeoError(f"There is no command {given!r}.{hint} The commands are: {', '.join(COMMANDS)}.")


def _take_over_resumed_options(arguments: list[str]) -> list[str]:
    """Put the options of the run that ``--resume_train`` names before the others, so that these come on top."""
    for position, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name != "--resume_train":
            continue
        value = value or next(iter(arguments[position + 1 :]), "")
        path = Path(value)
        config_file = (path if path.is_dir() else path.parent) / "config.yaml"
        if config_file.is_file():
            return ["--config", str(config_file), *arguments]
        if not path.exists():
            raise ProgeoError(f"--resume_train {value}: there is no such run folder or checkpoint.")
    return arguments


def _join_negative_values(arguments: list[str]) -> list[str]:
    """Write ``--near -33.9,151.2`` as ``--near=-33.9,151.2``, as the parser takes what starts with - for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1].startswith("--") and re.match(r"-[\d.]+,", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(f" {argument}" if re.match(r"-[\d.]+,", argument) else argument)
    return joined


def _explain(message: str, name: str, parser: Any) -> str:
    """Return a message of the parser as one clear line, with the option that was probably meant."""
    message = re.sub(r'Parser key "(\w+)"(?: element \d+)?:', r"--\1:", " ".join(message.split()))
    # Of an optional value's two complaints, the one that is not about it being null.
    message = re.sub(
        r"Does not validate against any.*?Errors: - (.*?) - Expected.*value: (.*)", r"\1, given \2", message
    )
    message = re.sub(r"a typing\.Literal\[(.*?)\]", lambda values: values[1].replace(", ", " or "), message)
    known = [spelling for action in parser._actions for spelling in action.option_strings]
    for word in message.split():
        option = word.split("=")[0].rstrip(":")
        if option.startswith("--") and option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            message += f". Did you mean {near[0]}?" if near else ""
    if "required" in message:
        missing = message.removeprefix("the following arguments are required: ").split(", ")
        message = "please give: " + ", ".join(f"--{name}" if f"--{name}" in known else name for name in missing)
    return f"{message} (progeo {name} --help explains the options)"


def _find_remedy(names: Collection[str]) -> str:
    """Return what to do about too little memory with the options that a command has."""
    remedies = {
        "batch_size": "lower --batch_size",
        "infer_batch_size": "lower --infer_batch_size",
        "image_size": "lower --image_size",
        "use_amp16": "give --use_amp16",
    }
    possible = [remedy for name, remedy in remedies.items() if name in names]
    return ", or ".join(possible) or "close other programs, or use a machine that has more"


def _print_error(message: str, debug: bool) -> None:
    """Print an error for people; with ``--debug`` the traceback first."""
    from progeo.console import console

    if debug:
        console.print_exception()
    console.print(message, style="bold red", markup=False, soft_wrap=True)
