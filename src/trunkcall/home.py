"""The state directory: one server's lock, its address, and the models that were added to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean

MODELS_FILE: Final = "models.json"
_WORKERS: Final = "workers.json"
_LOCK: Final = "lock"
_SERVER: Final = "server.json"
_OPERATOR_KEY: Final = "operator.key"
_LOCK_PATIENCE: Final = 0.25
_PROBE_PATIENCE: Final = 3.0
"""Seconds; where no server that lives has said that the home is its own, `running` may hold its shared probe so long on
a machine that stands still."""


class ServerInfo(msgspec.Struct, frozen=True):
    """The server that holds a home; `url` is empty until it listens, `pid` is 0 while it has not said its own.

    command: the old command that it stands for, empty for a server of its own right; since: unix seconds; born: when
    its process began, in the kernel's count, 0 where that is not known: no other process of this number has it; ending:
    it was told to end, and finishes its running answers.
    """

    pid: int = 0
    url: str = ""
    command: str = ""
    since: float = 0.0
    born: int = 0
    ending: bool = False

    @property
    def alive(self) -> bool:
        """Whether the process of this number is the one that wrote this."""
        return self.pid > 0 and self.born in (0, born(self.pid))

    def __str__(self) -> str:
        if not self.pid:
            return "a process that is starting"
        if not self.url:
            return f"process {self.pid}, still starting"
        return f"process {self.pid} at {self.url}{', which is ending' if self.ending else ''}"


def born(pid: int) -> int:
    """When a process began, in clock ticks since the machine did; 0 where there is no such process, or no /proc."""
    try:
        # The name before may hold spaces and brackets.
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def locate(flag: Path | None, environ: Mapping[str, str]) -> Path:
    """The state directory: --home, else TRUNKCALL_HOME, else the platform's place for state."""
    chosen = flag or environ.get("TRUNKCALL_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("trunkcall", appauthor=False)


def read_models(home: Path) -> dict[str, Any]:
    """What `trunkcall models add` has stored: name -> entry as in trunkcall.yaml.

    Raises ServingError (bad_request) for a file that is not such a mapping.
    """
    path = home / MODELS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(home, error) from None
    except msgspec.DecodeError as error:
        raise ServingError("bad_request", f"{path}: not a list of models ({error}); correct or delete it") from None


class Home:
    """A state directory; reading leaves nothing behind, writing makes it (mode 0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def journal(self) -> Path:
        """Where request journals stand."""
        return self.path / "journal"

    @property
    def logs(self) -> Path:
        """Where logs of children stand."""
        return self.path / "logs"

    @property
    def server_log(self) -> Path:
        """Where a server in the background writes its log."""
        return self.logs / "server.log"

    @property
    def ledger_url(self) -> str:
        """The database URL of the ledger while `store` is `sqlite`."""
        return f"sqlite:///{self.path / 'ledger.db'}"

    def ledger(self, store: str) -> str:
        """The database URL of the ledger by the setting `store`."""
        return self.ledger_url if store == "sqlite" else store

    @property
    def models_file(self) -> Path:
        """The models that were added by command."""
        return self.path / MODELS_FILE

    def ensure(self) -> None:
        """Make the directories; raises ServingError (forbidden) when that cannot be, or nothing can be written."""
        try:
            for path in (self.path, self.journal, self.logs):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(self.path))
        except OSError as error:
            raise _unusable(self.path, error) from None

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold the home for one server, and forget its address at the end.

        Raises ServingError (conflict) that names the server which already holds it.
        """
        self.ensure()
        descriptor = self._open(_LOCK)
        try:
            patience = _LOCK_PATIENCE if _read_server(self.path).alive else _PROBE_PATIENCE
            if not _try_lock(descriptor, fcntl.LOCK_EX, patience):
                held = _read_server(self.path)
                raise ServingError(
                    "conflict",
                    f"a server already uses {self.path}: {held}. Stop it, or start this one with another --home",
                )
            self.write_server(os.getpid(), "")
            try:
                yield
            finally:
                (self.path / _SERVER).unlink(missing_ok=True)
                (self.path / _OPERATOR_KEY).unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def write_server(self, pid: int, url: str, command: str = "") -> None:
        """Note who serves and where; for the holder of the lock only."""
        self._replace(_SERVER, msgspec.json.encode(ServerInfo(pid, url, command, time.time(), born(pid))))

    def write_ending(self) -> None:
        """Note that the server is told to end; for the holder of the lock only."""
        info = msgspec.structs.replace(_read_server(self.path), ending=True)
        # A full disk does not keep it from ending.
        with contextlib.suppress(ServingError):
            self._replace(_SERVER, msgspec.json.encode(info))

    def write_operator_key(self) -> str:
        """Make the secret by which who may read the home administers its server; for the holder of the lock only."""
        secret = f"tk-{secrets.token_urlsafe(32)}"
        self._replace(_OPERATOR_KEY, secret.encode())
        return secret

    def operator_key(self) -> str:
        """The secret of the server that runs on the home; empty without one, and for who may not read it."""
        try:
            return (self.path / _OPERATOR_KEY).read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""

    def read_workers(self) -> bytes:
        """What `write_workers` left; empty without."""
        try:
            return (self.path / _WORKERS).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise _unusable(self.path, error) from None

    def write_workers(self, data: bytes) -> None:
        """Keep the list of workers that registered; for the holder of the lock only."""
        self._replace(_WORKERS, data)

    def running(self) -> ServerInfo | None:
        """The server that holds this home now, by its lock and not by what it left in a file."""
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return None if _try_lock(descriptor, fcntl.LOCK_SH, 0) else _read_server(self.path)
        finally:
            os.close(descriptor)

    def models(self) -> dict[str, Any]:
        """The models that were added, name -> entry as in trunkcall.yaml."""
        return read_models(self.path)

    def add_model(self, name: str, entry: Any) -> None:
        """Store a model; raises ServingError (conflict) when the name is there."""
        with self._changing_models() as models:
            if name in models:
                raise ServingError(
                    "conflict", f"the model {name!r} is there already; remove it first: trunkcall models rm {name}"
                )
            models[name] = entry

    def change_model(self, name: str, entry: Any) -> None:
        """Store another entry of a model; raises ServingError (no_model) when it was not added."""
        with self._changing_models() as models:
            if name not in models:
                raise ServingError("no_model", f"no model {name!r} was added. {did_you_mean(name, models)}")
            models[name] = entry

    def remove_model(self, name: str) -> None:
        """Forget a model; raises ServingError (no_model) when it was not added."""
        with self._changing_models() as models:
            if name not in models:
                raise ServingError("no_model", f"no model {name!r} was added. {did_you_mean(name, models)}")
            del models[name]

    @contextmanager
    def _changing_models(self) -> Generator[dict[str, Any]]:
        self.ensure()
        descriptor = self._open("models.lock")
        try:
            if not _try_lock(descriptor, fcntl.LOCK_EX, 5.0):
                raise ServingError("conflict", f"another process is changing {self.models_file}; try again")
            models = self.models()
            yield models
            self._replace(MODELS_FILE, msgspec.json.format(msgspec.json.encode(models)) + b"\n")
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        try:
            return os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from None

    def _replace(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all."""
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.path)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                os.replace(temporary, self.path / name)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise _unusable(self.path, error) from None


def _read_server(home: Path) -> ServerInfo:
    try:
        return msgspec.json.decode((home / _SERVER).read_bytes(), type=ServerInfo)
    except (OSError, msgspec.DecodeError):
        return ServerInfo()


def _try_lock(descriptor: int, kind: int, patience: float) -> bool:
    limit = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= limit:
                return False
            time.sleep(0.02)


def _unusable(home: Path, error: OSError) -> ServingError:
    return ServingError(
        "forbidden",
        f"the state directory {home} cannot be used: {error.strerror or error}. "
        "Choose another with --home DIR or TRUNKCALL_HOME",
    )
