"""What the subcommands of `haipool` share: the error that a person at the terminal is meant to read."""


class CommandError(Exception):
    """An expected failure of a command: one line for stderr, then the exit status.

    Subcommands raise it for what the user can put right (a port in use, a file that is not there). Anything else
    is a bug and keeps its traceback.
    """

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        #: Exit status; 2 is kept for a wrong command line, as argparse does.
        self.status = status
