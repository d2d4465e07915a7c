"""The one exception that stands for a mistake its user can mend."""


class UserError(ValueError):
    """Wrong input: its message is one sentence that says what, and how to mend it.

    Command lines catch this class alone, print `error: <sentence>` and exit with
    status 2; every other exception is a defect of the program and keeps its
    traceback.
    """
