"""A follow-up turned into a question that can be searched for without the conversation around it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rag_service.cancellation import Cancellation
from rag_service.errors import GeneratorFailed, GeneratorPaused
from rag_service.followup import render_history, standalone, usable_rewrite
from rag_service.ports import Generator
from rag_service.prompt import Template, fill
from rag_service.types import NOT_COUNTED, Notice, Prompt, Sampling, Turn, Usage

_MAX_HISTORY_CHARS = 6000
_MAX_TOKENS = 128
"""Of a rewritten question."""


@dataclass(frozen=True, slots=True)
class Standalone:
    query: str
    notices: tuple[Notice, ...] = ()
    usage: Usage = NOT_COUNTED


def condense(
    question: str,
    history: Sequence[Turn],
    generator: Generator,
    template: Template,
    *,
    max_chars: int,
    deadline_s: float | None,
    cancellation: Cancellation | None,
) -> Standalone:
    """By the language model where there is one, otherwise by rule: the questions before it, if it leans on them.

    A model that fails, or gives nothing usable, is replaced by the rule and reported. Raises `DeadlineExceeded` or `Cancelled`.
    """
    by_rule = standalone(question, history, max_chars=max_chars)
    if not generator.follows_instructions:
        return Standalone(by_rule)
    shown = fill(template, {"history": render_history(history, max_chars=_MAX_HISTORY_CHARS), "question": question})
    own = generator.parameters.get("max_tokens")
    most = min(_MAX_TOKENS, own) if isinstance(own, int) else None
    try:
        completion = generator.generate(
            Prompt(system=shown.system, user=shown.user, question=question, passages=()),
            sampling=Sampling(max_tokens=most),
            deadline_s=deadline_s,
            cancellation=cancellation,
        )
    except (GeneratorFailed, GeneratorPaused) as error:
        return Standalone(by_rule, (Notice("follow_up_not_rewritten", f"the generator failed ({error.code}); the rule was used"),))
    rewritten = usable_rewrite(completion.text, max_chars=max_chars)
    if rewritten is None:
        notice = Notice("follow_up_not_rewritten", "the generator gave no usable question; the rule was used")
        return Standalone(by_rule, (notice,), completion.usage)
    return Standalone(rewritten, completion.notices, completion.usage)
