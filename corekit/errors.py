"""The one exception for errors that a user can mend."""


class CorekitError(Exception):
    """An error that a user can mend: what is wrong, where, and what to do.

    The commands print the message alone and exit with status 2; any other exception is a
    programming error and keeps its traceback.
    """
