"""What is measured. Pure functions of rankings, places, texts, decisions and durations: no pipeline, no files, no clock.

    catalogue    every metric by its name: what it says, what it takes, which way is better
    retrieval    ranked documents, as trec_eval defines it
    passages  spans
                 passages against places in documents, by place and by character: what holds for any chunking
    answers  wording  numbers
                 answers against references, by the SQuAD script, by wording, by numbers and dates
    grounding    citations, and the support of sentences
    abstention  curves
                 whether the service knew when not to answer, and what its confidence is worth
    operations   times and tokens

A value of one question is a number or `Undefined` with a reason, never NaN; a question that failed counts 0.
"""
