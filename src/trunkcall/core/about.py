"""What is known of a model beside how to ask it, as engines plan it and their children tell it."""

from __future__ import annotations

import msgspec


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None for what is not known.

    context: most tokens of a prompt and its answer; images, tools: whether they are taken; reasoning: whether how long
    it thinks can be told; parameters: how many the model has; defaults: how it samples where a request does not say,
    by the names of the OpenAI API and its common extensions.
    """

    context: int | None = None
    images: bool | None = None
    tools: bool | None = None
    reasoning: bool | None = None
    parameters: int | None = None
    defaults: dict[str, int | float] = {}
