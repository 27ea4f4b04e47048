"""`python -m eval`."""

import os


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the server does: what is measured is what is served
    from eval.cli.app import app  # afterwards, as it loads what reads that

    app()


if __name__ == "__main__":
    main()
