"""Whether the questions that come in, and what becomes of them, are still what they were.

observation    what one record says for this, without its texts
reference      observations of a time that was well, as a file
features       what is compared: questions on one hand, what became of them on the other
compare        the verb: reference + window → findings
canaries       the same for the system: questions that never change, asked again
report         what comes of both, as a file

permuting, numbers, categories, vectors, multiple    the statistics; pure
"""
