"""The exception for mistakes that the user can correct."""


class UserError(ValueError):
    """Wrong input. The message is one sentence: the mistake and how to correct it.

    Command lines catch only this class, print `error: <sentence>` and exit with
    status 2. Every other exception is a defect of the program and keeps its traceback.

    A message names fields of a config as Python does, such as `growth.steps` or
    `batch_size`, and no flags. The command line that prints it spells them as its own
    flags, see `jaxgrow.cli.flags.spell_flags`.
    """
