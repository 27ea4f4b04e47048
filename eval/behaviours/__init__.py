"""The behaviour suite: small cases that say how the service has to behave, asked of little corpora or of a running service.

case            the nouns: a case, what is expected, a reply, a verdict
case_files      cases as they are written, in `cases/*.yaml`
judging         replies to a verdict; pure
running         the verb: asks what cases ask for, each thing once
little_indexes  the pipelines that answer: each corpus built and opened the way that serves
live            a running service, asked over HTTP
"""

from eval.behaviours.case import Case, Documents, Expected, Reply, Verdict
from eval.behaviours.case_files import bundled_cases, live_cases, read_cases
from eval.behaviours.little_indexes import LittleIndexes, Original, little_indexes, reply_of
from eval.behaviours.live import run_live
from eval.behaviours.running import run_behaviours

__all__ = [
    "Case",
    "Documents",
    "Expected",
    "LittleIndexes",
    "Original",
    "Reply",
    "Verdict",
    "bundled_cases",
    "little_indexes",
    "live_cases",
    "read_cases",
    "reply_of",
    "run_behaviours",
    "run_live",
]
