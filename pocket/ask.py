"""A child process that answers with the GGUF file, greedily: JSON list of questions in, JSON list of answers out."""

import json
import os
import sys
import urllib.request
from typing import Any

import xllamacpp


def answer(server: xllamacpp.Server, asked: Any) -> Any:
    """The text for a prompt, a list of messages or ``{"plain": text}``; for a chat request with ``messages`` the message,
    or with ``rendered`` in it what the chat template makes of the request."""
    limits = {"temperature": 0, "max_tokens": 256}
    if isinstance(asked, dict) and "plain" in asked:
        return server.handle_completions({"prompt": asked["plain"], **limits})["choices"][0]["text"]
    if isinstance(asked, dict) and asked.pop("rendered", False):
        request = urllib.request.Request(f"{server.listening_address}/apply-template", json.dumps(asked).encode())
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)["prompt"]
    if isinstance(asked, dict):
        return server.handle_chat_completions({**asked, **limits})["choices"][0]["message"]
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    return server.handle_chat_completions({"messages": messages, **limits})["choices"][0]["message"]["content"]


def main(model: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"pocket"}
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 1024, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.use_jinja = True
    params.cache_ram_mib = 0
    server = xllamacpp.Server(params)
    json.dump([answer(server, asked) for asked in json.load(sys.stdin)], sys.stdout)
    sys.stdout.flush()
    # Deleting the server in this process can hang, so the process leaves without doing it.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
