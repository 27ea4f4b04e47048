"""Failures that will come again: of one prompt, or of every prompt until somebody changes the settings."""

from rag_service.errors import GeneratorFailed


class PromptRefused(GeneratorFailed):
    """The prompt is too long, its answer was withheld, or the provider calls the request itself wrong. A `Breaker` counts it as a
    sign of life: whoever sends prompts that are refused must not get the model paused for everybody.
    """


class ProviderRefused(GeneratorFailed):
    """The key is wrong or may not do this, or there is no such model or address: asking again changes nothing."""
