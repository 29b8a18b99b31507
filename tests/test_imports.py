"""The order of the house: a room imports only lower rooms, names no option below the command line, and loads little."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import progeo

PACKAGE = Path(progeo.__file__).parent
ROOMS = (
    *("base", "pixels", "data", "models", "search", "html", "imagery", "locating", "places"),
    *("evaluation", "training", "checking", "serve", "cli"),
)
"""From the lowest to the highest; ``base`` are the files of the package that are in no room."""
WITHOUT_TORCH = {"pixels", "data", "search", "html", "imagery", "locating", "places", "serve"}
SPELLS_OPTIONS = {"cli", "serve"}
DOORS = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
"""The two ways in, which lead to rooms above."""
MODULES = sorted(set(PACKAGE.rglob("*.py")) - DOORS)


def room_of(module: str) -> str:
    """Return the room of a module such as ``progeo.data.table``."""
    first = module.split(".")[1]
    return first if (PACKAGE / first).is_dir() else "base"


def walk_code(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below one, without what stands there for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from walk_code(child)


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Yield the absolute names of all modules that a file imports, wherever it does."""
    for node in walk_code(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            if node.module == "progeo":
                yield from (f"progeo.{alias.name}" for alias in node.names)


def find_offences(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what one file does against the order: its room, and what it should not name."""
    relative = path.relative_to(PACKAGE)
    room = relative.parts[0] if len(relative.parts) > 1 else "base"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for module in imported_modules(tree):
        if module.startswith("progeo."):
            if ROOMS.index(room_of(module)) > ROOMS.index(room):
                yield room, room_of(module)
        elif room in WITHOUT_TORCH and module.split(".")[0] in ("torch", "torchvision"):
            yield room, "torch"
        elif module.split(".")[0] == "progeo_toy_city" and room != "cli":
            yield room, "progeo_toy_city"
    if room in SPELLS_OPTIONS:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            # What follows "var(" or stands before a colon and a value is a variable of a style sheet.
            for option in re.findall(r"(?<![\w(-])--[a-z]\w*(?!\w*: )", node.value):
                yield room, option


@pytest.mark.parametrize("path", MODULES, ids=[path.relative_to(PACKAGE).as_posix() for path in MODULES])
def test_rooms_know_only_lower_rooms_and_no_options(path: Path) -> None:
    assert set(find_offences(path)) == set()


def test_rooms_are_those_of_the_house() -> None:
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()} == set(ROOMS) - {"base"}


@pytest.mark.parametrize("code", ["import progeo", "from progeo.cli import main; main(['--help'])"])
def test_nothing_heavy_is_loaded_at_the_start(code: str) -> None:
    heavy = "torch", "torchvision", "polars", "lancedb", "pyarrow", "jsonargparse", "faiss", "PIL", "numpy", "rich"
    ask = f"import sys; {code}; print([name for name in {heavy} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    assert output.endswith("[]\n")


def test_help_of_a_command_loads_nothing_heavy() -> None:
    code = """
import sys
from progeo.cli.program import COMMANDS, import_command
for name in COMMANDS:
    import_command(name)
    for heavy in ("torch", "polars", "lancedb", "numpy", "PIL", "jinja2", "fastapi"):
        assert heavy not in sys.modules, (name, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


WITHOUT_EXTRAS = """
import sys
from progeo.errors import EXTRAS
for library in EXTRAS:
    sys.modules[library] = None
from progeo.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("eval --backbone ResNet18 --backbone_weights none --test_set_folder test --resize_test_imgs", None),
        ("train --train_set_folder train --val_set_folder val --test_set_folder test", "train"),
        ("index test/database --database places --model cosplace:ResNet18:512", "places"),
        ("serve --database places", "(serve|places)"),
    ],
)
def test_commands_without_extras(command: str, extra: str | None, tiny_city: Path, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        (tmp_path / part).symlink_to(tiny_city / part)
    words = [sys.executable, "-c", WITHOUT_EXTRAS, *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    if extra is None:
        assert done.returncode == 0, done.stderr
    else:
        assert len(errors) == 1 and re.search(rf'not installed: pip install .*\[{extra}\]"', errors[0]), done.stderr
