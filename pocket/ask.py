"""A child process that answers chat prompts with the GGUF file, greedily: JSON list of prompts in, JSON list of answers out."""

import json
import os
import sys

import xllamacpp


def main(model: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"pocket"}
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 1024, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.use_jinja = True
    params.cache_ram_mib = 0
    server = xllamacpp.Server(params)
    answers = []
    for prompt in json.load(sys.stdin):
        if isinstance(prompt, dict):
            reply = server.handle_completions({"prompt": prompt["plain"], "temperature": 0, "max_tokens": 256})
            answers.append(reply["choices"][0]["text"])
            continue
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        reply = server.handle_chat_completions({"messages": messages, "temperature": 0, "max_tokens": 256})
        answers.append(reply["choices"][0]["message"]["content"])
    json.dump(answers, sys.stdout)
    sys.stdout.flush()
    # Deleting the server in this process can hang, so the process leaves without doing it.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
