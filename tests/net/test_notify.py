"""What a service manager is told, and that nobody misses it who is not there."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

import pytest

from trunkcall.net.notify import VARIABLE, Manager


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_each_state_is_a_datagram(tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "s") if kind == "path" else f"@{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(address.replace("@", "\0", 1))
        ours.settimeout(5)
        manager = Manager(address)
        manager.ready("Serving")
        manager.stopping()
        assert ours.recv(100) == b"READY=1\nSTATUS=Serving"
        assert ours.recv(100).startswith(b"STOPPING=1\n")


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here"])
def test_telling_nobody_is_no_mistake(address: str) -> None:
    Manager(address).ready("Serving")


def test_children_do_not_inherit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere")
    Manager.of_this_process()
    assert VARIABLE not in os.environ
