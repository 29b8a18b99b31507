"""Going on where a run was: the command for it, which a run that stops early says, and what must stay the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from progeo.cli.options import load_options
from progeo.cli.train import TrainOptions
from progeo.console import logger
from progeo.errors import ProgeoError, explain_lack_of_memory
from progeo.files import CONFIG
from progeo.training import checkpoint
from progeo.training.checkpoint import LAST_CHECKPOINT, list_differences
from progeo.training.methods import prompt_learning
from progeo.training.methods.prompt_learning import STAGE1_CHECKPOINT
from progeo.training.resolve import uses_text

# What text targets come from, beside what stage 1 must keep.
TEXT_OPTIONS = ("prompts", "backbone_weights")


def check_kept_options(options: TrainOptions, folder: Path) -> None:
    """Raise ProgeoError, saying what differs, unless what the run in ``folder`` has done so far fits the options.

    The options of its last start are compared, so that those which it refuses never take their place.
    """
    if not (folder / CONFIG).is_file():
        return
    text_options = (*prompt_learning.KEPT_OPTIONS, *TEXT_OPTIONS) if uses_text(options) else ()
    kept = dict.fromkeys((*checkpoint.KEPT_OPTIONS, *text_options))
    before = vars(load_options(TrainOptions, folder / CONFIG))
    different = list_differences(before, {name: getattr(options, name) for name in kept})
    if different:
        raise ProgeoError(
            f"The run {folder} was started with {', '.join(different)}. Resume with the same options, or start a new "
            "run."
        )


@contextmanager
def say_how_to_continue(folder: Path, left: str = "") -> Iterator[None]:
    """Add the command that continues the run in ``folder`` to an interruption or an error.

    Args:
        folder: the run folder.
        left: a sentence on what is still to be done.

    Raises:
        ProgeoError: that of the block, or one for running out of memory, with the command added.
    """
    command = f"progeo train `resume_train` {folder}"
    try:
        with explain_lack_of_memory("lower `batch_size`, `infer_batch_size` or `image_size`, or give `use_amp16`"):
            yield
    except KeyboardInterrupt:
        logger.info(" ".join(filter(None, ("Interrupted.", left, f"Continue with: {command}"))))
        raise
    except ProgeoError as error:
        kept = "Once this is mended, continue with:"
        if any((folder / name).is_file() for name in (LAST_CHECKPOINT, STAGE1_CHECKPOINT)):
            kept = "The checkpoint before is kept; once this is mended, continue with:"
        raise ProgeoError(" ".join(filter(None, (str(error).rstrip(".") + ".", left, kept, command)))) from error
