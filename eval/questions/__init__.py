"""What is asked, and what would be right: question sets in three formats, read into one form."""

from eval.questions.question import EvalQuestion, Form, QuestionSet
from eval.questions.reading import read_questions

__all__ = ["EvalQuestion", "Form", "QuestionSet", "read_questions"]
