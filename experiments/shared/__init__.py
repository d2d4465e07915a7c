"""What every experiment has: a command line with presets, and a run directory."""
