"""How well ways to answer do, which of two is better, and whether the better one may be served.

    candidates + questions → samples → scores → decision → what is served

    questions/   what is asked, and what would be right; one file per format
    candidate  experiment
                 ways to answer, as settings files; what is compared with what (`eval.yaml`)
    gold  locating  quotes  places
                 where the right answers stand, in documents and in the chunks of one index
    clusters  splits  looks
                 which questions hang together; dev and test; how often test was looked at
    preparing  asking  stages/  trivial
                 candidate → release → sample; no stage is done twice; candidates that must lose
    sample  scores  results  runs
                 what came of a question; what a metric gives; a run, and where runs live
    metrics/  scoring  summary  question_values
                 what is measured: pure functions, each with the source of its formula
    bounds  attribution  waterfall
                 what could be reached at best; where answers are lost; what a difference is owed to
    statistics/  intervals, tests of a difference, and how many questions it takes
    running  planning
                 the verbs: candidates + questions → run, and what that would cost
    policy  comparable  rules  gate  decision  choosing
                 what a candidate must do; whether it does; the one of many to take to the test part
    promote  adopt  live_release  target
                 decision → what is served, and what a running service says and answers
    behaviours/  small cases that must hold, whatever is measured
    lint  findings  duplicates  gold_faults  importing
                 what is wrong with a question set; question sets of other tools
    reports/     what people and other programs see of a run
    cli/         `python -m eval`, one module a command

Nothing in `rag_service` imports this package, and it drives the very object that `/ask` serves. A sample holds nothing of what would have
been right: a corrected reference or a new metric needs no new answer.
"""
