"""Whether a caller may have what it asks for: held at the start of a request, settled at its end."""

from __future__ import annotations

from trunkcall.control.calls import Call
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings


class Admission:
    """Without keys everybody may have everything."""

    def admit(self, meter: Meter, model: ModelSettings | None, call: Call) -> None:
        """Hold what the request may use, in `meter.reserved`.

        Raises ServingError: forbidden, rate_limited and quota (with retry_after).
        """

    def settle(self, meter: Meter) -> None:
        """Count what was used instead of what was held, and set the cost."""
