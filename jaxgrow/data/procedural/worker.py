"""The program that `workers` starts, which renders the requests on stdin.

A request is a line of JSON: [[[class name, index], ...], seed, azimuths, size]. The
answer on stdout is the bytes of the objects' views in order.
"""

import json
import signal
import sys

from jaxgrow.data.procedural.objects import render_object


def main() -> None:
    """Serve one parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent kills its workers
    if hasattr(signal, "SIGPIPE"):  # end silently if the parent is gone
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for line in sys.stdin.buffer:
        items, seed, azimuths, size = json.loads(line)
        for name, index in items:
            views = render_object(name, index, seed=seed, azimuths=azimuths, size=size)
            sys.stdout.buffer.write(views.tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
