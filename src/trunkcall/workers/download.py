"""A model from the Hub into its cache: listed, measured, fetched with resumption, and checked against its hashes.

huggingface_hub speaks to the Hub and keeps the cache; its own downloads start from zero when their process ended
(its issue 4196), so the bytes of a file are read here, into the `BLOB.incomplete` that its older versions resumed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Final, Protocol

# Before the import below, which would ask the Hub for the names of programs that may have started us.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import httpx2
import msgspec
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,  # pyright: ignore[reportUnknownVariableType]
    get_session,
    hf_hub_download,  # pyright: ignore[reportUnknownVariableType]
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    WeakFileLock,
    build_hf_headers,  # pyright: ignore[reportUnknownVariableType]
)

from trunkcall.core.errors import ServingError
from trunkcall.protocols.fetching import FetchSettings, Weighed, amount
from trunkcall.protocols.hub_files import File, needed

AT_ONCE: Final = 4
"""Files on their way at the same time."""
TRIES: Final = 5
"""In a row without a byte, before a file is given up."""
FIRST_PAUSE: Final = 0.25
"""Seconds, doubled with each try that brought nothing."""
ANSWER_SECONDS: Final = 10.0

_WEIGHTS: Final = (".gguf", ".safetensors", ".bin")
_ETAG: Final = re.compile(r"[\w-]{8,128}")
_RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})


class Watcher(Protocol):
    """Who is told how it goes; the calls come from several threads."""

    def begin(self, files: Sequence[Wanted]) -> None:
        """These are needed."""
        ...

    def got(self, path: str, size: int) -> None:
        """So many bytes more of a file are here; fewer than none when it is fetched from its start again."""
        ...


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the repository: its bytes, those of them that are here already, and what its content must hash to.

    sha256: of a large file; git: of a small one, the SHA-1 that git gives it; empty where the Hub does not tell.
    """

    path: str
    size: int
    here: int = 0
    sha256: str = ""
    git: str = ""


class _Stopped(Exception):
    """Another file has failed."""


def download(settings: FetchSettings, watcher: Watcher) -> Path:
    """Have the wanted model in the cache; gives its folder, or its (first) file when it is a .gguf model.

    Raises ServingError: what is wanted is not there, may not be had, does not fit on the disk or came damaged.
    """
    try:
        return _Download(settings, watcher).run()
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        raise explained(error, settings) from error


def explained(error: Exception, settings: FetchSettings) -> ServingError:
    """What a failure means, with the remedy."""
    repo, hub = settings.repo, constants.ENDPOINT
    match error:
        case GatedRepoError():
            return ServingError(
                "forbidden",
                f"{repo} is for those who agreed to its terms: do so at {hub}/{repo}, then set HF_TOKEN to a token of "
                f"{hub}/settings/tokens",
            )
        case RepositoryNotFoundError():
            return ServingError(
                "no_model", f"{hub} has no model {repo}, or it is private: check the name, or set HF_TOKEN"
            )
        case RevisionNotFoundError():
            return ServingError("no_model", f"{repo} has no revision {settings.revision}; leave out @ for its newest")
        case HfHubHTTPError() if error.response.status_code in {401, 403}:
            return ServingError(
                "unauthenticated" if error.response.status_code == 401 else "forbidden",
                f"{hub} does not accept the token for {repo}; set HF_TOKEN to a valid one, or to none if it is public",
            )
        case HfHubHTTPError():
            return ServingError(
                "upstream_error", f"{hub} answered {error.response.status_code} for {repo}; try again later"
            )
        case httpx2.HTTPError() | LocalEntryNotFoundError():
            return ServingError(
                "unreachable",
                f"{hub} cannot be reached for {repo} ({error or type(error).__name__}). Check the network, "
                "HTTPS_PROXY and HF_ENDPOINT, and start again: what has been fetched is kept",
            )
        case OSError():
            where = error.filename or settings.cache
            return ServingError(
                "no_capacity", f"{repo} cannot be kept in the cache: {where}: {error.strerror or error}; see HF_HOME"
            )
        case _:
            return ServingError("upstream_error", f"{hub} says what cannot be right of {repo}: {error}")


def weigh(settings: FetchSettings) -> Weighed:
    """What `download` would bring; raises ServingError as it does."""
    try:
        return _Download(settings, _Nobody()).weigh()
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        raise explained(error, settings) from error


class _Nobody:
    """Fits Watcher where nothing is fetched."""

    def begin(self, files: Sequence[Wanted]) -> None: ...

    def got(self, path: str, size: int) -> None: ...


class _Download:
    def __init__(self, settings: FetchSettings, watcher: Watcher) -> None:
        self._settings = settings
        self._watcher = watcher
        self._cache = Path(settings.cache)
        self._home = self._cache / f"models--{settings.repo.replace('/', '--')}"
        self._commit = ""
        self._stopped = threading.Event()

    def weigh(self) -> Weighed:
        chosen = self._choose()
        return Weighed(
            size=sum(one.size for one in chosen),
            here=sum(one.here for one in chosen),
            weights=sum(one.size for one in chosen if one.path.endswith(_WEIGHTS)),
        )

    def run(self) -> Path:
        settings = self._settings
        chosen = self._choose()
        first = chosen[0].path
        # The small ones first: who finds the weights complete may then rely on the rest.
        wanted = sorted(chosen, key=lambda one: one.size)
        self._check_space(wanted)
        self._watcher.begin(wanted)
        self._fetch_all([one for one in wanted if not (self._snapshot / one.path).is_file()])
        self._note_revision()
        model = first.lower().endswith(".gguf") or settings.file
        return self._snapshot / first if model else self._snapshot

    @property
    def _snapshot(self) -> Path:
        return self._home / "snapshots" / self._commit

    def _choose(self) -> list[Wanted]:
        """The files of what is wanted, for a .gguf model its first part first."""
        settings = self._settings
        listed = self._list()
        chosen = needed(
            [File(one.path, one.size) for one in listed],
            file=settings.file,
            kind=settings.kind,
            memory=settings.memory,
            repo=settings.repo,
        )
        by_path = {one.path: one for one in listed}
        return [self._with_what_is_here(by_path[one.path]) for one in chosen]

    def _list(self) -> list[Wanted]:
        settings = self._settings
        info = HfApi().model_info(
            settings.repo, revision=settings.revision, files_metadata=True, timeout=ANSWER_SECONDS
        )
        if not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
            raise ValueError("it names no commit")
        self._commit = info.sha or ""
        return [
            Wanted(
                path=one.rfilename,
                size=one.size or 0,
                sha256=one.lfs.sha256 if one.lfs else "",
                git="" if one.lfs else one.blob_id or "",
            )
            for one in info.siblings or ()
        ]

    def _with_what_is_here(self, one: Wanted) -> Wanted:
        if (self._snapshot / one.path).is_file():
            return msgspec.structs.replace(one, here=one.size)
        partial = self._partial(one.sha256 or one.git)
        return msgspec.structs.replace(one, here=min(one.size, partial.stat().st_size)) if partial.is_file() else one

    def _partial(self, etag: str) -> Path:
        return self._home / "blobs" / f"{etag}.incomplete"

    def _check_space(self, wanted: Sequence[Wanted]) -> None:
        missing = sum(one.size - one.here for one in wanted)
        self._cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._cache).free
        if missing > free:
            raise ServingError(
                "no_capacity",
                f"{self._settings.repo} needs {amount(missing)} more in {self._cache}, where {amount(free)} are free. "
                "Make room there, or set HF_HOME to a folder on a larger disk",
            )

    def _fetch_all(self, missing: Sequence[Wanted]) -> None:
        with ThreadPoolExecutor(AT_ONCE, "fetch") as pool:
            futures = [pool.submit(self._fetch, one) for one in missing]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                # Also when it is interrupted: the others stop at their next chunk.
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
            for future in done:
                future.result()

    def _fetch(self, one: Wanted) -> None:
        repo = self._settings.repo
        url = hf_hub_url(repo, one.path, revision=self._commit)
        about = get_hf_file_metadata(url, timeout=ANSWER_SECONDS, retry_on_errors=True)
        etag = about.etag or ""
        # The library does on its own what is larger than plain HTTP may be.
        if _ETAG.fullmatch(etag) and about.size is not None and about.size <= constants.MAX_HTTP_DOWNLOAD_SIZE:
            if about.size != one.size:
                raise ValueError(f"{one.path} is listed with {one.size} bytes and offered with {about.size}")
            blob = self._home / "blobs" / etag
            blob.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(etag):
                if blob.exists():
                    self._watcher.got(one.path, one.size - one.here)
                else:
                    self._fill(one, url, self._partial(etag))
                    self._partial(etag).replace(blob)
        hf_hub_download(repo, one.path, revision=self._commit, cache_dir=self._cache, etag_timeout=ANSWER_SECONDS)

    @contextmanager
    def _locked(self, etag: str) -> Generator[None, None, None]:
        """Hold the library's own lock of a blob; another process may be fetching it, which can take hours."""
        path = self._cache / ".locks" / self._home.name / f"{etag}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(WeakFileLock(path, timeout=1.0))
                    break
                except TimeoutError:
                    if self._stopped.is_set():
                        raise _Stopped from None
            yield

    def _fill(self, one: Wanted, url: str, partial: Path) -> None:
        """Have all of a file's bytes in `partial`, and the right ones."""
        with partial.open("ab", buffering=0) as file:
            self._watcher.got(one.path, file.tell() - one.here)
            failures = 0
            while (have := file.tell()) < one.size:
                trouble: Exception = ValueError(f"{one.path} ends after {have} of {one.size} bytes")
                try:
                    self._read(one, url, file)
                except (httpx2.TransportError, HfHubHTTPError) as error:
                    if isinstance(error, HfHubHTTPError) and error.response.status_code not in _RETRIED:
                        raise
                    trouble = error
                failures = 0 if file.tell() > have else failures + 1
                if failures == TRIES:
                    raise trouble
                if file.tell() < one.size and self._stopped.wait(FIRST_PAUSE * 2**failures):
                    raise _Stopped
        self._verify(one, partial)

    def _read(self, one: Wanted, url: str, file: FileIO) -> None:
        have = file.tell()
        headers = {**build_hf_headers(), "accept-encoding": "identity"}
        if have:
            headers["range"] = f"bytes={have}-"
        with get_session().stream("GET", url, headers=headers, timeout=ANSWER_SECONDS) as answer:
            hf_raise_for_status(answer)
            if have and answer.status_code != 206:
                # It does not do ranges, and sends all of it.
                file.truncate(0)
                file.seek(0)
                self._watcher.got(one.path, -have)
            for chunk in answer.iter_bytes():
                if self._stopped.is_set():
                    raise _Stopped
                file.write(chunk)
                self._watcher.got(one.path, len(chunk))
                if file.tell() > one.size:
                    break

    def _verify(self, one: Wanted, partial: Path) -> None:
        with partial.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if one.sha256:
                right = hashlib.file_digest(file, "sha256").hexdigest() == one.sha256
            elif one.git:
                right = hashlib.sha1(b"blob %d\0%s" % (size, file.read()), usedforsecurity=False).hexdigest() == one.git
            else:
                right = size == one.size
        if not right:
            partial.unlink()
            raise ValueError(f"{one.path} came damaged: its content is not what its hash says; start again")

    def _note_revision(self) -> None:
        """Now that all of it is here the revision's name leads to it."""
        if self._settings.revision == self._commit:
            return
        note = self._home / "refs" / self._settings.revision
        note.parent.mkdir(parents=True, exist_ok=True)
        new = note.with_name(f"{note.name}.{os.getpid()}.new")
        new.write_text(self._commit, encoding="ascii")
        new.replace(note)
