"""Whether a model's reply means that the passages hold no answer."""

NO_ANSWER = "NO_ANSWER"
"""What the prompt template asks for in that case. Only a reply that is nothing else counts; an answer may mention it."""

_AROUND = " \t\r\n\v\f\u00a0\u200b\ufeff.,:;!?…*_`~#>-–—\"'“”„‟‘’‚«»‹›()[]{}<>"


def declined(text: str) -> bool:
    """True when `text`, without punctuation, quotes and white space around it, is NO_ANSWER in any case, or nothing at all."""
    return text.strip(_AROUND).casefold() in {NO_ANSWER.casefold(), ""}


def may_be_declined(beginning: str) -> bool:
    """Whether a reply that begins so may still turn out to be `declined`."""
    return NO_ANSWER.casefold().startswith(beginning.strip(_AROUND).casefold())
