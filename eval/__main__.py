"""`python -m eval`."""

import os
import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the server does: what is measured is what is served
    try:
        from eval.cli.app import app  # afterwards, as it loads what reads that

        app()
    except KeyboardInterrupt:  # before a command could begin
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
