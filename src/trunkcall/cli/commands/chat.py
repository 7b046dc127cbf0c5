"""`trunkcall chat`."""

from __future__ import annotations

from typing import Annotated

import typer

from trunkcall.cli.commands.flags import HomeFlag


def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]", help="Answer this and end; without it, converse.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's name. Default: the server's first.")] = None,
    url: Annotated[str | None, typer.Option(help="The server. Default: the one that runs on the home.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="TRUNKCALL_API_KEY", show_default=False, help="The API key.")
    ] = None,
    home: HomeFlag = None,
) -> int:
    """Talk to a model."""
    from trunkcall.cli.chat import chat as talk

    return talk(home, url, key, model, system, " ".join(prompt or ()))
