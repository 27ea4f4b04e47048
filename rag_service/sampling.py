"""What a question may ask of a language model, brought within what the release allows. Pure."""

from collections.abc import Mapping
from dataclasses import fields

from rag_service.stored import Scalar
from rag_service.types import Notice, Sampling


def fitted(asked: Sampling, parameters: Mapping[str, Scalar]) -> tuple[Sampling, tuple[Notice, ...]]:
    """`asked` as a generator with these parameters can take it, and what had to be changed.

    A parameter that the generator does not have is left out, and `max_tokens` is at most the generator's own: its prompt budget was
    made for that.
    """
    kept: dict[str, int | float] = {}
    notices: list[Notice] = []
    for name in (field.name for field in fields(Sampling)):
        value, own = getattr(asked, name), parameters.get(name)
        if value is None:
            continue
        if name not in parameters:
            notices.append(Notice("parameter_adjusted", f"{name} was left out: this generator does not have it"))
        elif name == "max_tokens" and isinstance(own, int) and value > own:
            notices.append(Notice("parameter_adjusted", f"max_tokens is {own}, the most that this release allows, instead of {value}"))
        else:
            kept[name] = value
    return Sampling(**kept), tuple(notices)  # type: ignore[arg-type]  # values of the field that they are named after


def as_parameters(sampling: Sampling) -> dict[str, Scalar]:
    """Those that are set."""
    return {field.name: value for field in fields(Sampling) if (value := getattr(sampling, field.name)) is not None}
