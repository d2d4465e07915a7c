"""The command line with presets and the run directory of every experiment."""
