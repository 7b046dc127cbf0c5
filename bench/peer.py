"""One peer into a virtual environment of its own, kept between runs: REQUIREMENT and DIRECTORY are the arguments."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import venv
from pathlib import Path


def main() -> int:
    """pip's exit code; 0 at once when this requirement is there already."""
    requirement, home = sys.argv[1], Path(sys.argv[2])
    # written last, so that an interrupted installation begins anew
    done = home / "installed"
    # two runs at once would write into one environment
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == requirement:
            return 0
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        code = subprocess.run([*pip, requirement], check=False).returncode
        if code == 0:
            done.write_text(requirement)
        return code


if __name__ == "__main__":
    sys.exit(main())
