"""What one question costs over HTTP, new and from the cache, on the bundled questions over docs/: the ground of the capacity table."""

import json
import statistics
from http.client import HTTPConnection

from benchmarks.inputs import PROJECT
from benchmarks.server import Served, demo_indexes, service

ROUNDS = 5
QUESTIONS = 60


def run() -> None:
    lines = (PROJECT / "eval" / "datasets" / "docs.jsonl").read_text("utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines[:QUESTIONS]]
    with demo_indexes() as indexes, service(indexes) as served:
        _cpu_ms(served, questions, cache=False)
        _cpu_ms(served, questions, cache=True)
        new, cached = [], []
        for _ in range(ROUNDS):
            new.append(_cpu_ms(served, questions, cache=False))
            cached.append(_cpu_ms(served, questions * 3, cache=True))
        resident_mib = served.resident_mib()
    print(f"CPU-ms a question, {ROUNDS} interleaved rounds of {QUESTIONS} questions, recorded:")
    for name, found in (("new", new), ("from the cache", cached)):
        print(f"  {name:<14}  median {statistics.median(found):.2f}  min {min(found):.2f}  max {max(found):.2f}")
    print(f"  resident afterwards: {resident_mib:.0f} MiB")


def _cpu_ms(served: Served, questions: list[str], *, cache: bool) -> float:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
    began_s = served.cpu_s()
    for question in questions:
        connection.request("POST", "/ask", json.dumps({"question": question, "cache": cache}), {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"a question was answered with {response.status}")
    connection.close()
    return (served.cpu_s() - began_s) * 1000 / len(questions)
