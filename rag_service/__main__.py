"""The command line: `rag-service` and `python -m rag_service`."""

import os
import sys


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # parallelism comes from requests; must be set before FAISS loads
    try:
        from rag_service.cli.app import app  # takes most of a second: Ctrl-C must end that quietly too

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
