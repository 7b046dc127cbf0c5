"""Stands in for vLLM's module of this name: `python -m vllm.entrypoints.openai.api_server`."""

import os
import sys

if __name__ == "__main__":
    # -P: a folder called trunkcall in the working directory is not this package.
    command = [sys.executable, "-P", "-m", "trunkcall", "as", "vllm.entrypoints.openai.api_server", *sys.argv[1:]]
    os.execv(sys.executable, command)
