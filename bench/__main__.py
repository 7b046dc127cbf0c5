"""The benchmarks one after another: those of the core install, which `make bench` runs, or the ones that are named."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass

# what a benchmark needs to stop its children
GRACE = 30


@dataclass(frozen=True)
class Benchmark:
    """limit: in seconds, for a machine that does other things too; needs: beyond the core install."""

    limit: float
    what: str
    needs: str = ""


# the first six take well under ten minutes on a machine that does nothing else
BENCHMARKS = {
    "head_to_head": Benchmark(540, "Trunkcall against nginx and other gateways"),
    "engine_throughput": Benchmark(240, "tokens/s against llama.cpp bare, at 1, 8 and 32 streams"),
    "control": Benchmark(120, "the control plane: a choice among 1,000 replicas, and what a request pays"),
    "first_token": Benchmark(120, "waiting: to the first token, the first 200, an import; memory at rest"),
    "kuwa": Benchmark(120, "what Kuwa's kernel adds to a call"),
    "swap": Benchmark(120, "what swaps and reloads add to the streams of other models"),
    "recovery": Benchmark(300, "engines killed under 200 streams: answers as unbroken, longest silence"),
    "instructions": Benchmark(400, "instructions and cache misses of a request", "valgrind"),
    "web": Benchmark(300, "the web page in a browser: size, paints, frames and shifts while streaming", "Chromium"),
    "ledger": Benchmark(1200, "a million rows: import, sums, single requests, backup", "PostgreSQL for its half"),
    "fastchat": Benchmark(600, "Trunkcall against FastChat's controller, worker and OpenAI server", "make env-all"),
    "features": Benchmark(900, "engine x feature, with the reason for every no", "torch; TRUNKCALL_VLLM"),
    "transformers_throughput": Benchmark(600, "transformers engine against `transformers serve`", "torch"),
    "engine_listeners": Benchmark(1500, "tokens/s against each engine's own listener", "gguf; torch; TRUNKCALL_VLLM"),
    "engine_start": Benchmark(600, "seconds added to the start of vLLM", "TRUNKCALL_VLLM"),
    "tgi": Benchmark(1200, "TGI's /generate_stream: tokens/s, CPU of a token, validation", "gguf; nginx"),
}


def run(module: str, limit: float) -> int:
    """The benchmark's exit code; 124 when it took longer than the limit in seconds."""
    process = subprocess.Popen([sys.executable, "-m", module])
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        print(f"{module} took more than {limit:.0f} s", file=sys.stderr)
        return 124
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> int:
    """The highest exit code of those that were run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="`all`, or any of --list; default: the core install's")
    parser.add_argument("--list", action="store_true", help="say what there is and run nothing")
    options = parser.parse_args()
    if options.list:
        for name, one in BENCHMARKS.items():
            print(f"{name:25}{one.what}{f' (needs {one.needs})' if one.needs else ''}")
        return 0
    unknown = set(options.names) - {*BENCHMARKS, "all"}
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: there is no such benchmark; see --list")
    wanted = [
        name
        for name, one in BENCHMARKS.items()
        if "all" in options.names or (name in options.names if options.names else not one.needs)
    ]
    return max(run(f"bench.{name}", BENCHMARKS[name].limit) for name in wanted)


if __name__ == "__main__":
    sys.exit(main())
