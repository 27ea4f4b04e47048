"""`python -m benchmarks [NAME …]`: without a name those that `make bench` runs; the others are run by name."""

import argparse

from benchmarks import (
    drift,
    encoder,
    http,
    load,
    memory,
    metrics,
    million,
    otlp,
    postgres,
    quality,
    questions,
    records,
    replays,
    scale,
    startup,
    stores,
)
from benchmarks.answers import groundedness, injection

BENCHMARKS = {"encoder": encoder.run, "startup": startup.run, "stores": stores.run, "quality": quality.run}
BY_NAME = {
    "load": load.run,
    "http": http.run,
    "memory": memory.run,
    "metrics": metrics.run,
    "otlp": otlp.run,
    "postgres": postgres.run,
    "records": records.run,
    "replays": replays.run,
}
BY_NAME |= {"drift": drift.run, "questions": questions.run, "injection": injection.run, "groundedness": groundedness.run}
BY_NAME |= {"scale": scale.run, "scale-million": scale.run_million, "million": million.run}
"""They keep a server busy for minutes."""


def main() -> None:
    every = BENCHMARKS | BY_NAME
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(every)}")
    names = parser.parse_args().names
    if unknown := set(names) - set(every):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        every[name]()


main()
