"""The replica that always gives the same answer: for load tests and for a place that a model will take."""

from __future__ import annotations

from trunkcall.backends.scripted import Scripted, ScriptedOptions, for_each_prompt
from trunkcall.core.models import ModelSettings, read_options


class DummyOptions(ScriptedOptions, frozen=True):
    """A model's `options`. text: the answer."""

    text: str = "This is a fixed answer from the dummy model."


def connect(target: str, settings: ModelSettings, model: str) -> Scripted:
    """`dummy` answers at once; `dummy:0.05` waits so many seconds before each piece.

    Raises ServingError (bad_request) as Scripted does, and for wrong options.
    """
    options = read_options(settings, DummyOptions)
    return Scripted(lambda request: for_each_prompt(request, options.text), target, settings, options)
