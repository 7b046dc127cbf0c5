"""`trunkcall models` and `trunkcall pull`."""

from __future__ import annotations

from typing import Annotated

import typer

from trunkcall.cli.commands.flags import ConfigFlag, HomeFlag, JsonFlag, KeyFlag, UrlFlag

app = typer.Typer(help="List, add and remove models, on a running server or before one is started.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
SetFlag = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting as in trunkcall.yaml, such as ttl=10m; repeatable."),
]
ReplicaFlag = Annotated[str, typer.Option("--replica", metavar="N", help="Only this replica, by its number or id.")]


@app.command()
def ls(
    url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None, config: ConfigFlag = None, json: JsonFlag = False
) -> None:
    """List the models."""
    from trunkcall.cli import models, reached

    models.ls(reached.reach(home, url, key), config, json)


@app.command()
def add(
    name: NameArgument,
    source: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="A .gguf file, openai:URL[#model], pocket, …; a replica for each."),
    ],
    settings: SetFlag = None,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Add a model, for good."""
    from trunkcall.cli import models, reached

    models.add(reached.reach(home, url, key), config, name, source, settings or [])


@app.command()
def rm(
    name: NameArgument, url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None, config: ConfigFlag = None
) -> None:
    """Remove a model that was added."""
    from trunkcall.cli import models, reached

    models.rm(reached.reach(home, url, key), config, name)


@app.command()
def change(
    name: NameArgument,
    settings: SetFlag = None,
    asleep: Annotated[
        bool | None, typer.Option("--sleep/--wake", help="Free the GPU of a model that can sleep; or wake it.")
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option("--lora", metavar="NAME=PATH", help="Load an adapter; repeatable.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--no-lora", metavar="NAME", help="Take an adapter out; repeatable.")
    ] = None,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
) -> None:
    """Change a model of the running server; its settings only where it was added by command."""
    from trunkcall.cli import models, reached

    models.change(reached.required(home, url, key), name, asleep, lora or [], drop or [], settings or [])


@app.command()
def show(
    name: NameArgument,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Show a model and its replicas."""
    from trunkcall.cli import models, reached

    models.show(reached.reach(home, url, key), config, name, json)


@app.command()
def probe(
    address: Annotated[str, typer.Argument(metavar="URL", help="A server's address, also without scheme or path.")],
    upstream_key: Annotated[
        str, typer.Option("--upstream-key", metavar="REF", help="That server's key, as env:NAME or file:PATH.")
    ] = "",
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    json: JsonFlag = False,
) -> None:
    """Find out which kind of server stands at an address, and which models it offers."""
    from trunkcall.cli import looking, reached

    looking.probe(reached.reach(home, url, key), address, upstream_key, json)


@app.command()
def estimate(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As for add.")],
    settings: SetFlag = None,
    url: UrlFlag = None,
    key: KeyFlag = None,
    home: HomeFlag = None,
    config: ConfigFlag = None,
    json: JsonFlag = False,
) -> None:
    """Tell what a model would take in memory and download, before it is added."""
    from trunkcall.cli import looking, reached

    looking.estimate(reached.reach(home, url, key), config, source, settings or [], json)


@app.command()
def load(name: NameArgument, url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None) -> None:
    """Start a model's engines now; undoes drain."""
    from trunkcall.cli import models, reached

    models.act(reached.required(home, url, key), "load", name, "")


@app.command()
def unload(name: NameArgument, url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None) -> None:
    """End a model's engines after their running answers; the next request starts them again."""
    from trunkcall.cli import models, reached

    models.act(reached.required(home, url, key), "unload", name, "")


@app.command()
def drain(
    name: NameArgument, replica: ReplicaFlag = "", url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None
) -> None:
    """Send a model no new requests until it is loaded; running answers go on."""
    from trunkcall.cli import models, reached

    models.act(reached.required(home, url, key), "drain", name, replica)


@app.command()
def restart(
    name: NameArgument, replica: ReplicaFlag = "", url: UrlFlag = None, key: KeyFlag = None, home: HomeFlag = None
) -> None:
    """Start a model's engines anew, one after another, while the others serve."""
    from trunkcall.cli import models, reached

    models.act(reached.required(home, url, key), "restart", name, replica)


def pull(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="hf:ORG/NAME[:FILE][@REVISION]; FILE may be a kind such as Q4_K_M.")
    ],
) -> None:
    """Fetch a model from the Hugging Face Hub into its cache, where an interrupted download goes on."""
    from trunkcall.cli.pull import pull as fetch

    fetch(source)
