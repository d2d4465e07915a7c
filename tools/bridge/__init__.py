"""From PyTorch's state dicts, as NumPy arrays by name, to the project's networks.

`names` says which key holds which array, `convert` turns the arrays round, `sources`
reads checkpoints, installed packages and the hub; torch is imported only there, and
only for a file or a library that needs it.
"""
