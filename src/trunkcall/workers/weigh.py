"""The program that tells what a download from the Hub would bring; it prints that as a line of JSON and ends.

`python -m trunkcall.workers.weigh JSON`, JSON being protocols.fetching.FetchSettings.
"""

from __future__ import annotations

import msgspec

from trunkcall.net.link import ChildLink
from trunkcall.protocols.fetching import FetchSettings
from trunkcall.workers.download import weigh
from trunkcall.workers.program import run


def _weigh(settings: FetchSettings, link: ChildLink) -> None:
    link.watch()
    print(msgspec.json.encode(weigh(settings)).decode(), flush=True)


if __name__ == "__main__":
    run("trunkcall.workers.weigh", FetchSettings, _weigh)
