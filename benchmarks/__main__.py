"""`python -m benchmarks [NAME …]`: encoder, startup, stores, quality; all of them without a name."""

import argparse

from benchmarks import encoder, quality, startup, stores

BENCHMARKS = {"encoder": encoder.run, "startup": startup.run, "stores": stores.run, "quality": quality.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    names = parser.parse_args().names
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        BENCHMARKS[name]()


main()
