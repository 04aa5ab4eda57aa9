"""The one exception for what a user can mend."""


class UserError(Exception):
    """A mistake outside the program: the message says what, where, and what would be right.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """
