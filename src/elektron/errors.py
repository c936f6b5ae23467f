"""The one exception that reaches a user as a message instead of a traceback."""


class ElektronError(Exception):
    """Bad input or an impossible request; the message is one line: what, where, what to do.

    The command line prints it and exits with status 2. Raise it before anything is written,
    or where what has been written is whole.
    """


class SaidError(ElektronError):
    """One that has been said already, by the process that speaks for all: this one ends alike, in silence."""
