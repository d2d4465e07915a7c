"""The program that `workers` starts: renders what stdin asks for, until it ends.

A line of stdin is JSON: [[[class name, index], ...], seed, azimuths, size]. The answer
is the bytes of the objects' views, one after another.
"""

import json
import signal
import sys

from jaxgrow.data.procedural.objects import render_object


def main() -> None:
    """Serves one parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    if hasattr(signal, "SIGPIPE"):  # end without a word if the parent is gone
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for line in sys.stdin.buffer:
        items, seed, azimuths, size = json.loads(line)
        for name, index in items:
            views = render_object(name, index, seed=seed, azimuths=azimuths, size=size)
            sys.stdout.buffer.write(views.tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
