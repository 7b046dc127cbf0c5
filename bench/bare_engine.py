"""llama.cpp's own C++ HTTP listener in a process of its own, with no Python on the way of a token."""

from __future__ import annotations

import argparse
import threading

import xllamacpp


def main() -> None:
    """Prints the listener's URL and serves until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.bare_engine", description=__doc__)
    parser.add_argument("model", metavar="GGUF")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=512, help="tokens per slot")
    options = parser.parse_args()

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {"m"}
    params.n_parallel = options.slots
    # llama.cpp divides the context among the slots
    params.n_ctx = options.context * options.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.ui = False
    if options.port:
        params.port = options.port
    server = xllamacpp.Server(params)
    print("URL", server.listening_address, flush=True)
    # the listener's threads do the work; deleting the server can hang, so nothing here ever returns
    threading.Event().wait()


if __name__ == "__main__":
    main()
