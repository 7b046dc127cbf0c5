"""`fastchat.serve.test_throughput`: many questions at once, and how many words a second come back."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from trunkcall.cli.client import Server
from trunkcall.cli.fastchat_client import answer, find_worker, question, template_of, worker_flags
from trunkcall.cli.output import complain, print_table
from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Sampling

_STORY = "Tell me a story, the longest that you know."


class _Answered(msgspec.Struct, frozen=True):
    """One thread's answer: who gave it, its words, and the seconds that it took."""

    address: str
    words: int
    seconds: float


def run(arguments: Sequence[str]) -> int:
    """Ask, and print what was found; gives the exit code. Raises ServingError for whoever does not answer."""
    parser = argparse.ArgumentParser(
        prog="fastchat.serve.test_throughput", description="Ask a worker from several threads at once."
    )
    worker_flags(parser)
    parser.add_argument("--max-new-tokens", type=int, default=2048)
    parser.add_argument("--n-thread", type=int, default=8, help="questions at once")
    parser.add_argument("--test-dispatch", action="store_true", help="let the controller choose a worker for each")
    asked = parser.parse_args(arguments)
    if asked.n_thread < 1:
        parser.error("--n-thread: at least 1")
    controller = Server(asked.controller_address)
    fixed: str = asked.worker_address or ("" if asked.test_dispatch else find_worker(controller, asked.model_name))
    request = question(
        asked.model_name,
        _STORY,
        Sampling(max_tokens=asked.max_new_tokens, temperature=0.0),
    )

    def ask(_: int) -> _Answered | ServingError:
        began = time.monotonic()
        try:
            address = fixed or find_worker(controller, asked.model_name)
            worker = Server(address)
            text = "".join(answer(worker, request, template_of(worker, asked.model_name)))
        except ServingError as error:
            return error
        return _Answered(address, len(text.split()), time.monotonic() - began)

    began = time.monotonic()
    with ThreadPoolExecutor(asked.n_thread) as threads:
        found = list(threads.map(ask, range(asked.n_thread)))
    seconds = time.monotonic() - began
    answered = [one for one in found if isinstance(one, _Answered)]
    failed = [one for one in found if isinstance(one, ServingError)]
    workers = Counter(one.address for one in answered)
    print_table(("worker", "answers"), [(address, str(count)) for address, count in sorted(workers.items())])
    words = sum(one.words for one in answered)
    print(f"Time (POST): {seconds:.2f} s. {words} words, throughput: {words / seconds:.1f} words/s")
    for error in failed:
        complain(error)
    return 1 if failed else 0
