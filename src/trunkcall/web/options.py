"""What an operator decides about the page of one listener."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Page = Literal["chat", "compare", "battle", "models", "operate", "keys"]
SignIn = Literal["key", "password"]
_Amount = Annotated[int, msgspec.Meta(ge=1)]


class SiteOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A listener's options of this api.

    locked: models are neither added nor loaded nor unloaded in the page; models: the order in which they are shown,
    empty for that of the server; columns: of the comparison, -1 for all in one row; pages: those that are shown, in
    order, empty for all; conversations: the folder where chats and votes are noted, empty for nowhere; heading, terms:
    texts above the chat, and what must be accepted once; sign_in: what the form asks for where a key is needed, a
    password with its user's name being sent as HTTP basic; most_characters, most_turns: of a question and of a
    conversation; parameters: of sampling, with which a new conversation begins, by the names of the OpenAI API.
    """

    locked: bool = False
    models: tuple[str, ...] = ()
    columns: Literal[-1, 1, 2, 3, 4, 5, 6, 7, 8] | None = None
    pages: tuple[Page, ...] = ()
    conversations: str = ""
    heading: str = ""
    terms: str = ""
    sign_in: SignIn = "key"
    most_characters: _Amount | None = None
    most_turns: _Amount | None = None
    parameters: dict[str, float] = {}
