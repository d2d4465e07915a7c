"""Command lines: how the fields of a config are spelled there."""
