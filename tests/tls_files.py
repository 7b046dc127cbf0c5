"""A self-made certificate for localhost and 127.0.0.1, for tests of encrypted listeners."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def self_made(folder: Path) -> tuple[Path, Path]:
    """The certificate and its key, as PEM files in `folder`."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext".split()
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, names, *files], check=True, capture_output=True, timeout=30)
    return cert, key
