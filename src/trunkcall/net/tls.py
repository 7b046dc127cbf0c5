"""Who a listener says it is: a certificate and its private key."""

from __future__ import annotations

import ssl
from pathlib import Path

from trunkcall.core.errors import ServingError


def identity(certificate: str, private_key: str) -> ssl.SSLContext:
    """What a listener speaks TLS 1.2 and newer with; both are PEM files, the first with the chain behind it.

    Raises ServingError (bad_request) that names the file which cannot be used.
    """
    for name in (certificate, private_key):
        try:
            Path(name).open("rb").close()
        except OSError as error:
            raise ServingError("bad_request", f"TLS: {name!r} cannot be read: {error.strerror or error}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    renew(context, certificate, private_key)
    return context


def renew(context: ssl.SSLContext, certificate: str, private_key: str) -> None:
    """Have new connections told of another certificate. Raises ServingError (bad_request), and changes nothing then."""
    try:
        # A password would be asked for on the terminal, where nobody may be.
        context.load_cert_chain(certificate, private_key, password=lambda: b"")
    except ssl.SSLError as error:
        raise ServingError(
            "bad_request",
            f"TLS: {certificate!r} and {private_key!r} are no pair of a PEM certificate and its unencrypted private "
            f"key ({error.reason or error})",
        ) from None
