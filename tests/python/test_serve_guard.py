"""What the server refuses before any route: keys, names, sizes, slowness, other origins, paths."""

import http.client
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")

from support.serving import serving  # noqa: E402

from spectralkv.cli import main  # noqa: E402
from spectralkv.serve.command import _parser, _settings, read_keys  # noqa: E402
from spectralkv.serve.errors import ApiError  # noqa: E402
from spectralkv.serve.guard import GuardOptions  # noqa: E402
from spectralkv.serve.openapi import description  # noqa: E402
from spectralkv.serve.protocol import ImpatientProtocol  # noqa: E402
from spectralkv.serve.streams import form_of  # noqa: E402

KEYS = ("right key", "other")
BODY = {"prompt": "a", "max_tokens": 2}


@pytest.fixture(scope="module")
def guarded(tiny_model):
    guard = GuardOptions(keys=KEYS, hosts=("127.0.0.1", "localhost"), body_bytes=20_000, body_seconds=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImpatientProtocol, "head_seconds", 0.5)
        with serving(tiny_model, guard, cors_origins=("https://mine.example",)) as running:
            yield running


def ask(server, path="/v1/completions", key="right key", **headers):
    return httpx.post(server.url + path, json=BODY, headers={"Authorization": f"Bearer {key}", **headers})


def test_a_client_that_goes_away_within_its_body_is_no_error_of_the_server(guarded):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(handler)
    try:
        with socket.create_connection(("127.0.0.1", guarded.port), timeout=3) as connection:
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer right key\r\n"
                b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"prompt"'
            )
            time.sleep(0.1)
        time.sleep(0.2)  # less than the body may take
        assert ask(guarded).status_code == 200
    finally:
        logger.removeHandler(handler)
    assert not [record.getMessage() for record in records if record.exc_info]


def raw(server, data, wait=3.0):
    """What comes back for bytes that are sent as they are, until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        connection.sendall(data)
        got = b""
        while part := connection.recv(4096):
            got += part
    return got


def test_keys(guarded):
    assert ask(guarded).status_code == ask(guarded, key="other").status_code == 200
    for key in ("x", "right", "right key2", "Right key", "\xfc"):
        answer = httpx.post(
            guarded.url + "/v1/completions", json=BODY, headers={b"Authorization": b"Bearer " + key.encode("latin-1")}
        )
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer" and "X-Api-Key" in answer.json()["error"]["message"]
    for path in ("/v1/models", "/metrics", "/slots", "/cache", "/openapi.json", "/nothing"):
        assert httpx.get(guarded.url + path).status_code == 401
    for path in ("/", "/health", "/page/app.js", "/page/style.css"):
        assert httpx.get(guarded.url + path).status_code == 200


def test_the_description_names_both_headers_of_a_key():
    told = description()
    schemes = told["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("name", "Authorization")) for scheme in schemes.values()} == {
        ("http", "Authorization"),
        ("apiKey", "X-Api-Key"),
    }
    assert [name for way in told["security"] for name in way] == list(schemes)


@pytest.mark.parametrize(
    ("path", "last"),
    [("/v1/completions", "[DONE]"), ("/completion", ""), ("/v1/messages", "error"), ("/v1/responses", "error")],
)
def test_how_a_stream_ends_that_fails(path, last):
    form = form_of(path)
    events = [form.failed(ApiError(503, "lost", code="replica_lost")), *form.end()]
    told = json.loads(events[0]["data"])
    assert told["error"]["code"] == "replica_lost"
    assert (events[-1] == {"data": "[DONE]"}) == (last == "[DONE]")
    assert (events[0].get("event") == told.get("type") == "error") == (last == "error")


def test_names_of_other_hosts(guarded):
    assert ask(guarded, Host="localhost:99").status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        assert ask(guarded, Host=host).status_code == 403


def test_only_json_is_read(guarded):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert ask(guarded, **{"Content-Type": kind}).status_code == 415
    assert ask(guarded, **{"Content-Type": "application/json; charset=utf-8"}).status_code == 200


def test_bodies_that_are_too_large(guarded):
    headers = {"Authorization": "Bearer other", "Content-Type": "application/json"}
    large = json.dumps({"prompt": "a" * 30_000}).encode()
    answer = httpx.post(guarded.url + "/tokenize", content=large, headers=headers)
    assert answer.status_code == 413 and "20000 bytes" in answer.json()["error"]["message"]
    chunked = httpx.post(
        guarded.url + "/tokenize", content=(large[i : i + 999] for i in range(0, 30_000, 999)), headers=headers
    )
    assert chunked.status_code == 413


def test_heads_that_are_too_large(guarded):
    answer = raw(guarded, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000)
    assert b" 400 " in answer.splitlines()[0] if answer else True
    assert httpx.get(guarded.url + "/health").status_code == 200


def test_slow_and_half_open_connections_end(guarded):
    head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer other\r\n"
    for data in (b"", b"GET /hea", head):
        started = time.monotonic()
        assert raw(guarded, data) == b""
        assert 0.3 < time.monotonic() - started < 2.5
    body = head + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    answer = raw(guarded, body)
    assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive" in answer


def test_connections_are_kept_for_requests_that_come_soon(guarded):
    connection = http.client.HTTPConnection("127.0.0.1", guarded.port)
    for _ in range(3):
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        time.sleep(0.3)
    time.sleep(0.7)  # longer than a head may take: it has not begun
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()


def test_other_origins(guarded, tiny_model):
    mine = {"Origin": "https://mine.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(guarded.url + "/v1/completions", headers=mine)
    assert answer.headers["access-control-allow-origin"] == "https://mine.example"
    other = httpx.options(guarded.url + "/v1/completions", headers={**mine, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    with serving(tiny_model) as plain:
        answer = httpx.options(plain.url + "/v1/completions", headers=mine)
        assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers


def test_no_path_becomes_a_file(guarded):
    for path in (
        "/page/../guard.py",
        "/page/%2e%2e/guard.py",
        "/page/",
        "/page/index.html",
        "//etc/passwd",
        "/page/app.js/",
    ):
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer other\r\nConnection: close\r\n\r\n"
        assert raw(guarded, request.encode()).split()[1] in (b"404", b"307")


def test_the_page(guarded):
    page = httpx.get(guarded.url + "/")
    assert (
        page.headers["content-type"].startswith("text/html")
        and "default-src 'self'" in page.headers["content-security-policy"]
    )
    for name, kind in (("page/app.js", "text/javascript"), ("page/style.css", "text/css")):
        assert f'"{name}"' in page.text
        assert httpx.get(f"{guarded.url}/{name}").headers["content-type"].startswith(kind)
    everything = (
        page.text + httpx.get(guarded.url + "/page/app.js").text + httpx.get(guarded.url + "/page/style.css").text
    )
    assert "http://" not in everything and "https://" not in everything and "//cdn" not in everything


def test_more_requests_than_may_wait(make_tiny):
    with serving(make_tiny(context_length=8192), max_requests=1) as small:
        first = {"prompt": "a", "max_tokens": 8000, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", small.url + "/v1/completions", json=first) as stream:
            lines = stream.iter_lines()  # held: without it the answer is closed
            next(lines)
            answer = httpx.post(small.url + "/v1/completions", json=BODY)
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "overloaded"
        assert small.idle()
        assert httpx.post(small.url + "/v1/completions", json={**BODY, "n": 2}).status_code == 503
        assert small.idle()


def test_where_keys_come_from(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    path.write_text("one\n\ntwo \n")
    monkeypatch.setenv("SPECTRALKV_API_KEY", "three")
    assert read_keys(["zero"], str(path)) == ["zero", "three", "one", "two"]
    path.write_text("\n")
    with pytest.raises(ValueError, match="no key"):
        read_keys([], str(path))
    with pytest.raises(ValueError, match="empty"):
        read_keys([""], None)


def test_the_command_tells_what_is_wrong(capsys, tmp_path):
    assert main(["serve", "-m", str(tmp_path / "none.gguf")]) == 1
    assert "none.gguf" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["serve", "--port", "x"])
    with pytest.raises(SystemExit):
        main(["help", "serve"])
    assert "--cache-ram" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], ("default", "default")),
        (["-ctk", "q8_0"], ("q8_0", "q8_0")),
        (["-ctk", "q8_0", "-ctv", "default"], ("q8_0", "default")),
        (["-ctv", "q8_0"], ("default", "q8_0")),
    ],
)
def test_the_type_of_keys_is_that_of_values(args, expected):
    settings = _settings(_parser().parse_args(["-m", "x.gguf", *args]))
    assert (settings.type_k, settings.type_v) == expected


def test_what_llama_servers_users_type(tmp_path, capsys):
    """Defaults of requests, templates, and options without effect."""
    (tmp_path / "t.jinja").write_text("{{ messages }}")
    sampling = [
        "--temp",
        "0.6",
        "--top-k",
        "-1",
        "--top-p",
        "0.95",
        "--repeat-penalty",
        "1.1",
        "-s",
        "-1",
        "--mirostat",
        "2",
    ]
    idle = ["-fa", "on", "--jinja", "-cb", "--mlock", "-tb", "4", "--metrics", "-fa", "--no-webui"]
    options = _parser().parse_args(["-m", "x.gguf", *sampling, *idle, "-ub", "64", "--gpu-layers", "0", "-cram", "5"])
    settings = _settings(options)
    assert settings.sampling == {"temperature": 0.6, "top_k": -1, "top_p": 0.95, "repeat_penalty": 1.1, "mirostat": 2}
    assert (settings.n_batch, settings.cache_bytes, settings.template) == (64, 5 << 20, "")
    assert options.ignored == ["-fa", "--jinja", "-cb", "--mlock", "-tb", "--metrics", "--no-webui"]
    templates = [
        "--chat-template-file",
        str(tmp_path / "t.jinja"),
        "--chat-template-kwargs",
        '{"enable_thinking": false}',
    ]
    settings = _settings(_parser().parse_args(["-m", "x.gguf", *templates, "--seed", "7"]))
    assert settings.template == "{{ messages }}" and settings.template_variables == {"enable_thinking": False}
    assert settings.sampling == {"seed": 7}
    assert "<|im_start|>" in _settings(_parser().parse_args(["-m", "x.gguf", "--chat-template", "chatml"])).template
    for wrong in (["--min-p", "2"], ["--chat-template", "phi9"], ["--chat-template-kwargs", "[]"], ["--top-p", "-1"]):
        with pytest.raises(ValueError, match="min_p|phi9|kwargs|top_p"):
            _settings(_parser().parse_args(["-m", "x.gguf", *wrong]))
    for refused, why in (
        ("--lora", "adapters"),
        ("-md", "no speculative decoding"),
        ("--ssl-key-file", "TLS in front"),
    ):
        with pytest.raises(SystemExit):
            _parser().parse_args(["-m", "x.gguf", refused, "x"])
        assert f"option '{refused}' is not supported: " in (told := capsys.readouterr().err) and why in told


def test_help_has_no_defaults_that_say_nothing(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "(default: 4096)" in told
    assert "None" not in told and "[]" not in told and "(default: )" not in told and "(default: False)" not in told


def test_the_command_serves_until_it_is_told_to_end(tiny_model):
    command = [sys.executable, "-m", "spectralkv.cli", "serve", "-m", tiny_model, "-c", "0", "--port", "0"]
    environment = {**os.environ, "SPECTRALKV_API_KEY": "secret"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail("".join(lines))
        answer = httpx.post(found[1] + "/v1/completions", json=BODY, headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 200 and httpx.get(found[1] + "/v1/models").status_code == 401
        process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert "secret" not in "".join(lines) + process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
