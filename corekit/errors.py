"""The one exception for what a user can put right."""


class CorekitError(Exception):
    """What is wrong, where, and what to do, in one or two sentences.

    The commands print the message alone and exit with status 2; any other exception is a
    programming error and keeps its traceback.
    """
