"""`trunkcall models probe` and `models estimate`: what stands at an address, and what a model would cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trunkcall import plugins
from trunkcall.catalogue import key_reference, would_be
from trunkcall.cli.models import Reached, settings_of
from trunkcall.cli.offline import load
from trunkcall.cli.output import print_json, print_table, printable
from trunkcall.control import estimating, probing
from trunkcall.control.estimating import Estimate
from trunkcall.control.probing import Probed
from trunkcall.control.rooms import Rooms
from trunkcall.core.errors import ServingError
from trunkcall.machine import look
from trunkcall.protocols.fetching import amount

_FITS: Final = {True: "fits now", False: "does not fit now", None: "whether it fits is not known"}


def probe(reached: Reached, url: str, upstream_key: str, as_json: bool) -> None:
    """Print what stands at an address, asked by the running server, else from here.

    Raises ServingError (unreachable) with the remedy when it is nothing that is known.
    """
    _, server = reached
    reference = key_reference(upstream_key)
    if server is not None:
        found = server.ask("POST", "/admin/probe", Probed, {"url": url, "key": reference})
    else:
        found = asyncio.run(probing.probe(url, reference, plugins.find_connect, plugins.names("backends")))
    if as_json:
        print_json(found)
    elif found.found:
        rows = [(one.kind, model.name or "-", model.source) for one in found.found for model in one.models]
        print_table(("KIND", "MODEL", "SOURCE"), rows)
        for one in found.found:
            if one.note:
                print(printable(f"{one.kind}: {one.note}"))
    else:
        print_table(("TRIED", "WHY NOT"), [(one.kind, one.why) for one in found.tried])
    if not found.found:
        raise ServingError("unreachable", found.remedy)


def estimate(reached: Reached, file: Path | None, source: str, given: Sequence[str], as_json: bool) -> None:
    """Print what a model would cost, on the running server, else on this machine with nothing running."""
    home, server = reached
    settings = settings_of(given)
    read = would_be(source, settings)
    if server is not None:
        asked = {"source": str(read.sources[0]), "settings": settings}
        found = server.ask("POST", "/admin/estimate", Estimate, asked)
    else:
        machine = look()
        rooms = Rooms(machine, load(home, file).settings.memory)
        found = asyncio.run(
            estimating.estimate(
                read,
                machine,
                rooms.budget,
                plugins.find_engine,
                plugins.find_connect,
                plugins.find_placements()["local"],
            )
        )
    if as_json:
        print_json(found)
        return
    for word, said in _lines(found):
        print(printable(f"{word:<9} {said}"))


def _lines(found: Estimate) -> list[tuple[str, str]]:
    if not found.engine:
        return [("engine", f"none: it {found.why}")]
    size = f"about {amount(found.memory)}" if found.memory else "not known"
    where = f" on {found.gpus} GPU{'s' * (found.gpus > 1)}" if found.gpus else ""
    if found.download is None:
        fetched = "not known"
    else:
        fetched = amount(found.download) if found.download else "nothing"
    told = [
        ("engine", f"{found.engine} ({found.why})" if found.why else found.engine),
        ("memory", f"{size}{where}, {amount(found.rss_free)} free: {_FITS[found.fits]}"),
        ("download", fetched),
    ]
    return told + [(word, said) for word, said in (("faster", found.faster), ("note", found.note)) if said]
