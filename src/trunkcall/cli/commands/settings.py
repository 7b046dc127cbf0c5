"""`trunkcall config`."""

from __future__ import annotations

from typing import Annotated

import typer

from trunkcall.cli.commands.flags import ConfigFlag, HomeFlag, JsonFlag

app = typer.Typer(help="Look at the settings and where they come from.")


@app.command()
def show(home: HomeFlag = None, config: ConfigFlag = None, json: JsonFlag = False) -> None:
    """Print the settings in force; secrets only as references."""
    from trunkcall.cli import settings

    settings.show(home, config, json)


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as log_level or models.NAME.")],
    home: HomeFlag = None,
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Say where a setting's value comes from."""
    from trunkcall.cli import settings

    settings.explain(home, config, key, json)


@app.command()
def schema() -> None:
    """Print the JSON schema of trunkcall.yaml, for editors."""
    from trunkcall.cli import settings

    settings.schema()
