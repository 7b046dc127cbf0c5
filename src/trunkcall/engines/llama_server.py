"""How to start a llama-server that the operator has, in place of the llama.cpp that is part of us.

Its flags are those of 2026; builds from before April 2026 name the ones of a draft model differently.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.protocols.llamacpp_host import HostSettings
from trunkcall.protocols.outside_host import OutsideSettings

ALL_LAYERS: Final = 999


def server_command(host: HostSettings, program: str) -> tuple[str, ...]:
    """The runner of outside servers, told to run the program.

    Raises ServingError (bad_request) when there is no such program.
    """
    found = shutil.which(os.path.expanduser(program))
    if found is None:
        raise ServingError(
            "bad_request",
            f"option server: {program} is no program that can be started; give the path of llama-server",
            param="server",
        )
    outside = OutsideSettings(name="llama-server", command=(found, *server_flags(host)))
    return (sys.executable, "-P", "-m", "trunkcall.workers.outside", msgspec.json.encode(outside).decode())


def server_flags(host: HostSettings) -> tuple[str, ...]:
    """What llama-server is told, so that it does as our own host does."""
    batch = max(host.batch, host.context if host.embeddings else 0)
    flags: dict[str, object] = {
        "--host": "{host}",
        "--port": "{port}",
        "--model": host.path,
        "--alias": host.name,
        "--ctx-size": host.context * host.slots,
        "--parallel": host.slots,
        "--threads": host.threads,
        "--batch-size": batch,
        "--ubatch-size": batch,
        "--n-gpu-layers": ALL_LAYERS if host.gpu_layers < 0 else host.gpu_layers,
        "--cache-ram": host.cache_ram_mib,
        "--cache-type-k": host.kv,
        "--cache-type-v": host.kv,
    }
    if host.template:
        flags["--chat-template"] = host.template
    if host.seed is not None:
        flags["--seed"] = host.seed
    if host.mmproj:
        flags["--mmproj"] = host.mmproj
    if host.lora:
        flags["--lora-scaled"] = ",".join(f"{one.path}:{one.scale}" for one in host.lora)
    if host.draft:
        flags["--model-draft"] = host.draft
        flags["--spec-type"] = "draft-simple"
        flags["--spec-draft-n-max"] = host.draft_tokens
    if host.embeddings:
        flags["--pooling"] = host.pooling
    words = [word for flag, value in flags.items() for word in (flag, str(value))]
    return (*words, *(["--embeddings"] if host.embeddings else []), "--jinja", "--slots", "--metrics", "--no-webui")
