"""A failure that says nothing against the model: it works, and will not or cannot do this one prompt."""

from rag_service.errors import GeneratorFailed


class PromptRefused(GeneratorFailed):
    """The prompt is too long, its answer was withheld, or the provider calls the request itself wrong. A `Breaker` counts it as a
    sign of life: whoever sends prompts that are refused must not get the model paused for everybody.
    """
