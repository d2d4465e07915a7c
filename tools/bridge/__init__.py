"""Conversion of PyTorch's state dicts, as NumPy arrays by name, to jaxgrow's networks.

`names` maps keys to arrays, `convert` changes the layout, and `sources` reads
checkpoints, installed packages and the hub. Only `sources` imports torch, and only for
a file or a library that needs it.
"""
