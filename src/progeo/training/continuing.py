"""What a run that stops early says: the command that goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from progeo.errors import ProgeoError, explain_lack_of_memory
from progeo.run_folder import logger
from progeo.training.checkpoint import LAST_CHECKPOINT


@contextmanager
def say_how_to_continue(folder: Path, left: str = "") -> Iterator[None]:
    """Add the command that continues the run in ``folder`` to an interruption or an error.

    Args:
        folder: the run folder.
        left: a sentence on what is still to be done.

    Raises:
        ProgeoError: that of the block, or one for running out of memory, with the command added.
    """
    command = f"progeo train --resume_train {folder}"
    checkpoint = folder / LAST_CHECKPOINT
    try:
        with explain_lack_of_memory():
            yield
    except KeyboardInterrupt:
        logger.info(" ".join(filter(None, ("Interrupted.", left, f"Continue with: {command}"))))
        raise
    except ProgeoError as error:
        if not checkpoint.is_file():
            raise
        kept = "The checkpoint before is kept; once this is mended, continue with:"
        raise ProgeoError(" ".join(filter(None, (str(error).rstrip(".") + ".", left, kept, command)))) from error
