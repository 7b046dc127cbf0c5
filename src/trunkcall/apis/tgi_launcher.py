"""What TGI's launcher does beside serving: it loads one model and says when that is done, or ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from trunkcall.control.loading import loaded
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Response, Route
from trunkcall.protocols.tgi import failure

CONNECTED: Final = "Connected"
"""The word that scripts wait for on standard output."""


class TgiLauncher:
    """Fits core.ports.Api and Resident; it stands beside the api `tgi` on a listener and has no routes of its own."""

    name = "tgi_launcher"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch

    def routes(self) -> Sequence[Route]:
        """None."""
        return ()

    def failure(self, error: ServingError) -> Response:
        """The error in TGI's shape."""
        return failure(error)

    async def live(self, url: str) -> None:
        """Say when the model can be asked.

        Raises ServingError when it cannot be loaded: such a server has nothing else to do.
        """
        await loaded(self._dispatch)
        print(CONNECTED, flush=True)
