"""The exception for a mistake that the user can mend."""


class UserError(ValueError):
    """Wrong input: its message is one sentence that says what, and how to mend it.

    Command lines catch this class alone, print `error: <sentence>` and exit with
    status 2; every other exception is a defect of the program and keeps its
    traceback.

    A message names fields of a config as Python does, such as `growth.steps` or
    `batch_size`, and no flags. The command line that prints it spells them as its own
    flags, see `jaxgrow.cli.flags.spell_flags`.
    """
