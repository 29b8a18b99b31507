"""The command line: one file a command."""

from progeo.cli.program import main

__all__ = ["main"]
