"""Where a replica answers, for traces."""

from __future__ import annotations

from trunkcall.control.dispatch import Dispatch


def locate(dispatch: Dispatch, model: str, replica: str) -> tuple[str, str]:
    """The scheme of a replica's source and its base URL, each empty where it is not known."""
    pool = dispatch.find(model)
    found = None if pool is None else next((one for one in pool.replicas if one.id == replica), None)
    if found is None:
        return "", ""
    target = found.source.target
    return found.source.scheme, found.address or (target if "://" in target else "")
