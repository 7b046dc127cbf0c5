"""The transformers host: a child process that loads one model with torch and serves OpenAI's HTTP protocol on loopback.

`python -m trunkcall.workers.transformers JSON`, JSON being protocols.transformers_host.HostSettings.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
import traceback
from typing import Any, Final

import msgspec
import uvloop

from trunkcall.core.about import About
from trunkcall.core.errors import ServingError
from trunkcall.net.link import ChildLink
from trunkcall.net.relay import Relay
from trunkcall.protocols.transformers_host import HostSettings
from trunkcall.workers.program import run
from trunkcall.workers.serving import serve

_SWITCH_SECONDS: Final = 0.0005
"""The model's thread holds the interpreter between its calls to torch; at the default of 5 ms answers would wait."""


async def host(settings: HostSettings, link: ChildLink) -> None:
    """Load, report, serve until SIGTERM, and finish what is running.

    Raises ServingError when the model cannot be loaded, or not as it was told to.
    """
    with link.fatal():
        api, relay, about = _load(settings)
    link.watch()
    gc.collect()
    await serve(api, relay, link, settings.grace, about)


def _load(settings: HostSettings) -> tuple[Any, Relay, dict[str, Any]]:
    """The api for the loaded model, and what is told of it."""
    # Here and not at the top, so that a missing package is reported over the link.
    import torch

    from trunkcall.workers.transformers_batching import Batch
    from trunkcall.workers.transformers_embeddings import Embedder, read_recipe
    from trunkcall.workers.transformers_host import HostApi
    from trunkcall.workers.transformers_loading import load
    from trunkcall.workers.transformers_passes import Apart, best_passes
    from trunkcall.workers.transformers_scoring import Scorer

    loaded = load(settings)
    embedder = None
    if settings.embeddings:
        embedder = Embedder(loaded.model, loaded.words, read_recipe(settings), settings.context)
    scorer = Scorer(loaded.model)
    passes: Any = Apart(loaded.model)
    reason = ""
    if settings.generates:
        with torch.inference_mode():
            passes, reason = best_passes(loaded.model, settings.slots, settings.context)
    if reason:
        print(f"{settings.name}: requests take turns at each token, because {reason}", flush=True)
    batch = Batch(passes, settings.slots, settings.batch, _broken)
    relay = Relay()
    api = HostApi(
        settings.name,
        int(time.time()),
        batch,
        loaded.words,
        loaded.defaults,
        relay,
        context=settings.context,
        generates=settings.generates,
        embedder=embedder,
        scorer=scorer,
    )
    batch.start_thread()
    told = msgspec.structs.asdict(loaded.defaults)
    known = About(
        context=settings.context,
        images=False,
        tools=loaded.words.takes_tools,
        reasoning=loaded.words.takes_effort or None,
        defaults={name: value for name, value in told.items() if name != "ends"},
    )
    device = {"device": loaded.device, "dtype": str(loaded.model.dtype), "batched": passes.together}
    return api, relay, {**device, **msgspec.to_builtins(known)}


def _broken(error: BaseException) -> None:
    """After an error of the device nothing works any more: end, so that the supervisor starts a new one."""
    traceback.print_exception(error)
    sys.stderr.flush()
    os._exit(1)


def _run(settings: HostSettings, link: ChildLink) -> None:
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(host(settings, link))
    except ImportError as error:
        raise ServingError(
            "unsupported", f"{error}; install what this engine needs with: pip install 'trunkcall[transformers]'"
        ) from error


if __name__ == "__main__":
    run("trunkcall.workers.transformers", HostSettings, _run)
