"""The one family of errors that a user can do something about."""


class ProgeoError(Exception):
    """Something the user can mend: the message says what was wrong, where (path, row, option), and what to do.

    The command line prints the message alone and exits with 2; a traceback appears only with ``--debug``.
    """
