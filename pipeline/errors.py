"""The one exception for what a user can mend: the command line prints its message, without a traceback, and exits 1."""


class UserError(Exception):
    """Something outside the program is wrong. The message names the file or field and the mend."""
