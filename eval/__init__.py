"""How well a release answers: question set + release → report.

    questions/   what is asked, and what would be right; one file per format
    metrics/     what is measured: pure functions, each with the source of its formula
    run          how it is measured: the served pipeline, question by question
    summary      rows → scores
    report       what comes out, as data and as JSON
    table        the same for people

Nothing in `rag_service` imports this package, and it drives the very object that `/ask` serves.
"""
