"""The page of a `trunkcall up`: its files, who may have what, and what an operator decides about it."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from running import Server, eventually

from trunkcall.web.site import STATIC

Serve = Callable[..., Server]
ROOT = Path(__file__).parents[2]


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"} if secret else {}


def told(server: Server, path: str, secret: str = "") -> Any:
    status, headers, body = server.request("GET", path, headers=bearer(secret))
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "application/json", "no-store"), body
    return json.loads(body)


def raw(server: Server, target: str) -> tuple[int, bytes]:
    """The answer to a request target that is sent as it is written here."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    connection.putrequest("GET", target, skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_the_page_and_its_files(serve: Serve) -> None:
    server = serve("--no-pocket", "--model", "d=debug")
    page = (STATIC / "index.html").read_bytes()
    for accept in ({}, {"accept": "*/*"}, {"accept": "text/html,application/xhtml+xml"}):
        status, headers, body = server.request("GET", "/", headers=accept)
        assert (status, headers["content-type"], body) == (200, "text/html; charset=utf-8", page)
    rules = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert {rules[kind] for kind in ("script-src", "style-src", "connect-src", "font-src", "manifest-src")} == {
        "'self'"
    }
    assert rules["img-src"] == "'self' data: blob:"
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "set-cookie" not in headers
    assert server.request("GET", "/", headers={"if-none-match": headers["etag"]})[0] == 304
    status, found, body = server.request("HEAD", "/")
    assert (status, body, found["content-length"], found["etag"]) == (200, b"", str(len(page)), headers["etag"])
    for path in re.findall(r'(?:href|src)="(/web/[^"]+)"', page.decode()):
        if (STATIC / path.removeprefix("/web/")).is_file():
            status, headers, body = server.request("GET", path, headers={"accept-encoding": "gzip"})
            assert (status, headers["content-encoding"]) == (200, "gzip")
            assert gzip.decompress(body) == (STATIC / path.removeprefix("/web/")).read_bytes()
            assert server.request("POST", path, {})[0] == 405


@pytest.mark.parametrize(
    "target",
    [
        "/web/",
        "/web/index.html",
        "/web/../site.py",
        "/web/%2e%2e/site.py",
        "/web/..%2fsite.py",
        "/web/vendor/../../site.py",
        "/web//etc/passwd",
        "/web/%2fetc%2fpasswd",
        "/web/..\\site.py",
        "/web/styles",
        "/web/styles/",
        "/web/./styles/base.css",
        "/web/styles/base.css%00.js",
        "//web/styles/base.css",
    ],
)
def test_nothing_else_is_a_file(one_server: Server, target: str) -> None:
    status, body = raw(one_server, target)
    assert status in (400, 404)
    assert b"docstring" not in body and b"import" not in body and b"root:" not in body


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Server("--no-pocket", home=tmp_path_factory.mktemp("site") / "home") as server:
        yield server


@pytest.mark.timeout(120)
def test_who_is_shown_what(serve: Serve) -> None:
    server = serve("--model", "d=debug", "--model", "hidden=debug", "--no-pocket")
    session = told(server, "/web/api/session")
    assert (session["open"], session["signed_in"], session["principal"], session["role"]) == (True, True, "", "admin")
    assert session["pages"] == ["chat", "compare", "battle", "models", "operate", "keys"]
    assert told(server, "/web/api/usage") == {"key": None}

    root = server.post("/admin/keys", {"name": "root", "role": "admin"})[2]["secret"]
    made = server.post("/admin/keys", {"name": "ann", "models": ["d"], "tokens_per_day": 1000}, **bearer(root))
    ann = made[2]["secret"]
    for secret, signed_in, principal, role, pages in (
        ("", False, "", "", []),
        ("wrong", False, "", "", []),
        (root, True, "root", "admin", ["chat", "compare", "battle", "models", "operate", "keys"]),
        (ann, True, "ann", "user", ["chat", "compare", "battle", "usage"]),
    ):
        session = told(server, "/web/api/session", secret)
        assert session["open"] is False
        found = (session["signed_in"], session["principal"], session["role"], session["pages"])
        assert found == (signed_in, principal, role, pages)
        assert server.request("GET", "/", headers=bearer(secret))[0] == 200
        assert server.request("GET", "/web/theme_first.js", headers=bearer(secret))[0] == 200
        for path in ("/web/api/models", "/web/api/usage", "/web/api/templates"):
            assert server.request("GET", path, headers=bearer(secret))[0] == (200 if signed_in else 401)
        asked = {"template": "zero_shot", "messages": [{"role": "user", "content": "hi"}]}
        assert server.request("POST", "/web/api/render", asked, bearer(secret))[0] == (200 if signed_in else 401)
    assert [model["name"] for model in told(server, "/web/api/models", root)["models"]] == ["d", "hidden"]
    assert [model["name"] for model in told(server, "/web/api/models", ann)["models"]] == ["d"]

    body = {"model": "d", "messages": [{"role": "user", "content": "one two three"}]}
    assert server.post("/v1/chat/completions", body, **bearer(ann))[0] == 200
    key = told(server, "/web/api/usage", ann)["key"]
    assert (key["entry"]["name"], key["entry"]["models"]) == ("ann", ["d"])
    assert key["tokens_today"] > 0
    assert ann not in json.dumps(key)
    operator = (server.home / "operator.key").read_text().strip()
    assert told(server, "/web/api/usage", operator) == {"key": None}
    assert told(server, "/web/api/session", operator)["role"] == "admin"

    assert server.request("PATCH", "/admin/keys/ann", {"disabled": True}, bearer(root))[0] == 200
    assert told(server, "/web/api/session", ann)["signed_in"] is False
    assert server.request("DELETE", "/admin/keys/ann", {}, bearer(root))[0] == 200
    assert told(server, "/web/api/session", ann)["signed_in"] is False
    status, _, refused = server.request("GET", "/web/api/models", headers=bearer(ann))
    assert (status, json.loads(refused)["error"]["kind"]) == (401, "unauthenticated")


def test_a_guess_at_the_open_session_is_in_the_log(serve: Serve) -> None:
    server = serve("--no-pocket", "--model", "d=debug")
    assert server.post("/admin/keys", {"name": "root", "role": "admin"})[0] == 201
    for secret in ("", "guessed"):
        assert told(server, "/web/api/session", secret)["signed_in"] is False
    (line,) = eventually(lambda: [line for line in server.lines if "refused 127.0.0.1" in line])
    assert "not known" in line and "guessed" not in line


def test_what_an_operator_decides(serve: Serve, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    options = {
        "locked": True, "models": ["b", "a", "gone"], "columns": -1, "pages": ["battle", "keys", "models", "chat"],
        "heading": "Ours", "terms": "Be kind.", "sign_in": "password", "most_characters": 12000, "most_turns": 50, "parameters": {"top_p": 0.5},
        "conversations": str(tmp_path / "log"),
    }  # fmt: skip
    main = {"port": 0, "options": {"web": options}}
    small = {"port": 0, "apis": ["openai", "landing", "web"]}
    settings.write_text(json.dumps({"listen": [main, small], "pocket": False, "models": {"a": "debug", "b": "debug"}}))
    server = serve("--config", str(settings))
    session = told(server, "/web/api/session")
    assert {name: session[name] for name in options if name not in ("conversations", "models")} == {
        name: value for name, value in options.items() if name not in ("conversations", "models")
    }
    assert (session["conversations"], session["models"]) == (True, ["b", "a", "gone"])
    root = server.post("/admin/keys", {"name": "root", "role": "admin"})[2]["secret"]
    ann = server.post("/admin/keys", {"name": "ann", "models": ["b"]}, **bearer(root))[2]["secret"]
    session = told(server, "/web/api/session", ann)
    assert (session["pages"], session["models"]) == (["battle", "usage", "chat"], ["b"])
    session = told(server, "/web/api/session")
    assert (session["pages"], session["models"], session["heading"]) == ([], [], "Ours")
    vote: dict[str, Any] = {"vote": "upvote", "anonymous": False, "conversations": []}
    assert server.post("/web/api/votes", vote, **bearer(ann))[0] == 400


def test_a_listener_without_administration_shows_no_pages_for_it(serve: Serve, free_port: int) -> None:
    server = serve("--no-pocket", "--model", "d=debug", "--listen", f"{free_port}=openai,landing,web")
    server.url = f"http://127.0.0.1:{free_port}"
    assert server.request("GET", "/")[0] == 200
    assert told(server, "/web/api/session")["pages"] == ["chat", "compare", "battle"]
    assert server.request("POST", "/web/api/votes", {})[0] == 404
    assert server.chat("d", "hi")[0] == 200


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        ({"options": {"web": {"lockd": True}}}, ["'web'", "lockd", "Did you mean 'locked'"]),
        ({"options": {"web": {"columns": 0}}}, ["'web'", "columns", "one of -1, 1"]),
        ({"options": {"web": {"columns": 9}}}, ["'web'", "columns"]),
        ({"options": {"web": {"pages": ["chat", "chatt"]}}}, ["'web'", "pages", "chatt", "battle"]),
        ({"options": {"web": {"sign_in": "cookie"}}}, ["'web'", "sign_in", "key, password"]),
        ({"options": {"web": {"most_turns": 0}}}, ["'web'", "most_turns", ">= 1"]),
        ({"options": {"webb": {}}}, ["'webb'", "not among the apis"]),
        ({"apis": ["openai"], "options": {"web": {}}}, ["'web'", "not among the apis"]),
    ],
)
@pytest.mark.timeout(120)
def test_options_that_cannot_be(tmp_path: Path, listener: dict[str, Any], words: list[str]) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(json.dumps({"listen": [{"port": 0, **listener}], "pocket": False}))
    command = [sys.executable, "-m", "trunkcall", "up", "--home", str(tmp_path / "home"), "--config", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_a_page_of_another_site_sends_in_vain(serve: Serve) -> None:
    server = serve("--no-pocket", "--model", "d=debug", env={"TRUNKCALL_CORS": "http://mine.example"})
    body = json.dumps({"model": "d", "messages": [{"role": "user", "content": "hi"}]}).encode()
    plain = {"content-type": "text/plain"}
    for headers, status in (
        ({}, 200),
        ({"sec-fetch-site": "same-origin", "origin": server.url}, 200),
        ({"origin": server.url}, 200),
        ({"sec-fetch-site": "cross-site", "origin": "http://mine.example"}, 200),
        ({"sec-fetch-site": "cross-site", "origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "http://evil.example"}, 403),
    ):
        assert server.request("POST", "/v1/chat/completions", body, {**plain, **headers})[0] == status, headers
    evil = {"sec-fetch-site": "cross-site", "origin": "http://evil.example"}
    assert server.request("GET", "/", headers=evil)[0] == 200
    for path in ("/admin/reload", "/web/api/render", "/web/api/votes"):
        status, _, answer = server.request("POST", path, b"{}", {**evil, "content-type": "application/json"})
        assert (status, json.loads(answer)["error"]["kind"]) == (403, "forbidden")
        assert "`cors`" in json.loads(answer)["error"]["message"]


@pytest.mark.timeout(240)
def test_a_wheel_holds_the_page(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, timeout=200)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("trunkcall/web/static/")}
    files = {path.relative_to(ROOT / "src").as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert "trunkcall/web/static/index.html" in files
    assert packed == files
