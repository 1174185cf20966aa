"""Errors that a person can act on: one line, with the value, the place and the remedy."""


class UserError(Exception):
    """Something outside the program is wrong. Its message is the one line that the person sees."""
