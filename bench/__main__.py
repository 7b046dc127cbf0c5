"""All benchmarks one after another: what `make bench` runs."""

from __future__ import annotations

import subprocess
import sys

# seconds; on a machine that does nothing else the whole takes well under ten minutes
LIMITS = {"bench.head_to_head": 540, "bench.engine_throughput": 240, "bench.first_token": 120, "bench.kuwa": 120}
# what a benchmark needs to stop its children
GRACE = 30


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


if __name__ == "__main__":
    sys.exit(max([run(module, limit) for module, limit in LIMITS.items()]))
