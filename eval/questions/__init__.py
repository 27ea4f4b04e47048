"""What is asked, and what would be right.

A run reads three formats: our own (`native`), SQuAD and BEIR. The others here (`trec`, `ragas`, `promptfoo`, `table`, `records`) are
imported into our own first: see `eval.importing`.
"""

from eval.questions.question import EvalQuestion, Form, GoldPlace, QuestionSet, Split
from eval.questions.reading import read_questions

__all__ = ["EvalQuestion", "Form", "GoldPlace", "QuestionSet", "Split", "read_questions"]
