"""Models by their address, from a server that drops connections, lies and redirects."""

from __future__ import annotations

import base64
import errno
import hashlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import file_server
from support.file_server import Served, Server, serving
from support.tiny_model import write_tiny_model

from spectralkv import PullError, cli, pull
from spectralkv.convert import ConvertOptions, convert
from spectralkv.fetch import place, web
from spectralkv.fetch.http import shown
from spectralkv.fetch.web import file_name, part_addresses


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A GGUF file of some hundred kilobytes."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "m.gguf").read_bytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(web, "PAUSE", 0.001)
    with serving() as running:
        yield running


def left(tmp_path: Path) -> list[str]:
    """The files in the cache."""
    found = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    return sorted(path.name for path in found)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_path_that_cannot_be_told(server: Server, model: bytes, tmp_path: Path) -> None:
    server.files["/a/m.gguf"] = Served(model)
    words = [sys.executable, "-m", "spectralkv", "pull", server.url("/a/m.gguf")]
    for _ in range(2):  # fetched, and there
        with open("/dev/full", "wb") as full:
            failed = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert failed.returncode == 1
        assert failed.stderr.splitlines()[-1] == "error: [Errno 28] No space left on device"
        assert "Traceback" not in failed.stderr
    assert left(tmp_path) == ["m.gguf"]


def test_once(server: Server, model: bytes, tmp_path: Path) -> None:
    server.files["/a/m.gguf"] = Served(model)
    path = pull(server.url("/a/m.gguf"))
    assert Path(path).read_bytes() == model and Path(path).name == "m.gguf"
    assert pull(server.url("/a/m.gguf")) == path
    assert server.asked == [("/a/m.gguf", "")]
    assert left(tmp_path) == ["m.gguf"]
    pull(server.url("/a/m.gguf"), force=True)
    assert len(server.asked) == 2
    server.files["/b/m.gguf"] = Served(model)
    other = pull(server.url("/b/m.gguf"))
    assert other != path and Path(other).name == "m.gguf"


def test_what_was_there_stays(server: Server, model: bytes, tmp_path: Path) -> None:
    """A file that is fetched anew and turns out to be damaged does not take the place of the one before."""
    server.files["/m.gguf"] = Served(model)
    path = Path(pull(server.url("/m.gguf")))
    server.files["/m.gguf"] = Served(model[:-1000])
    with pytest.raises(PullError, match="is not whole, or damaged"):
        pull(server.url("/m.gguf"), force=True)
    assert path.read_bytes() == model and left(tmp_path) == ["m.gguf"]


@pytest.mark.parametrize("size", [b"-1", b"-5", b"zz"])
def test_chunks_of_no_size(size: bytes, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """http.client takes the length of a chunk as the server says it."""
    server.files["/m.gguf"] = Served(b"GGUF" * 1000, chunked=True)

    def send(handler: Any, data: bytes, file: Served) -> None:
        handler.wfile.write(size + b"\r\n" + data)

    monkeypatch.setattr(file_server._Handler, "_send", send)
    with pytest.raises(PullError, match="the connection broke"):
        pull(server.url("/m.gguf"))
    assert left(tmp_path) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_server_that_ends_early_is_asked_for_the_rest(
    server: Server, model: bytes, tmp_path: Path, chunked: bool
) -> None:
    server.files["/m.gguf"] = Served(model, cut=[70_000, 2, 100_000], chunked=chunked)
    if chunked:  # the end of the chunks is what a client takes for the file's: the tensors tell that it is not
        with pytest.raises(PullError, match="is not whole, or damaged: .*do not fit"):
            pull(server.url("/m.gguf"))
        assert left(tmp_path) == []
        return
    path = pull(server.url("/m.gguf"))
    assert Path(path).read_bytes() == model
    assert [wanted for _, wanted in server.asked] == ["", "bytes=70000-", "bytes=70002-", "bytes=170002-"]
    assert left(tmp_path) == ["m.gguf"]


def test_a_rest_that_never_comes_is_kept(server: Server, model: bytes, tmp_path: Path) -> None:
    server.files["/m.gguf"] = Served(model, cut=[50_000] + [0] * 20)
    with pytest.raises(PullError, match=f"ended after 50000 of {len(model)} bytes; what is fetched stays"):
        pull(server.url("/m.gguf"))
    assert left(tmp_path) == ["m.gguf.part", "m.gguf.part.json"]
    server.files["/m.gguf"] = Served(model)
    server.asked.clear()
    assert Path(pull(server.url("/m.gguf"))).read_bytes() == model
    assert server.asked == [("/m.gguf", "bytes=50000-")]


@pytest.mark.parametrize("fault", ["another version", "no ranges", "no validator", "shorter", "416", "note damaged"])
def test_a_rest_that_does_not_fit_begins_anew(server: Server, model: bytes, tmp_path: Path, fault: str) -> None:
    etag = "" if fault == "no validator" else None
    server.files["/m.gguf"] = Served(model, cut=[50_000] + [0] * 20, etag=etag)
    with pytest.raises(PullError):
        pull(server.url("/m.gguf"))
    new = Served(model)
    if fault == "another version":
        new = Served(model, etag='"other"')
    elif fault == "no ranges":
        new.ranges = False
    elif fault == "416":
        new.status = [416]
    elif fault == "shorter":
        (next((tmp_path / "cache").rglob("*.part"))).write_bytes(b"GG")
    elif fault == "note damaged":
        (next((tmp_path / "cache").rglob("*.json"))).write_bytes(b"{")
    server.files["/m.gguf"] = new
    assert Path(pull(server.url("/m.gguf"))).read_bytes() == model
    assert left(tmp_path) == ["m.gguf"]


def test_a_changed_file_behind_a_server_that_ignores_if_range(server: Server, model: bytes, tmp_path: Path) -> None:
    server.files["/m.gguf"] = Served(bytes(model[:60_000]), cut=[50_000] + [0] * 20, headers={"ETag": '"old"'}, etag="")
    with pytest.raises(PullError):
        pull(server.url("/m.gguf"))

    class Ignoring(Served):
        validator = property(lambda self: '"old"')  # type: ignore[assignment]

    server.files["/m.gguf"] = Ignoring(model, headers={"ETag": '"new"'})
    assert Path(pull(server.url("/m.gguf"))).read_bytes() == model


def test_a_whole_part_needs_no_request_for_its_end(server: Server, model: bytes, tmp_path: Path) -> None:
    server.files["/m.gguf"] = Served(model, cut=[len(model) - 1] + [0] * 20)
    with pytest.raises(PullError):
        pull(server.url("/m.gguf"))
    part = next((tmp_path / "cache").rglob("*.part"))
    part.write_bytes(model)
    server.asked.clear()
    assert Path(pull(server.url("/m.gguf"))).read_bytes() == model
    assert server.asked == []


def test_lengths_that_lie(server: Server, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/short.gguf"] = Served(model, length=len(model) - 1000)
    with pytest.raises(PullError, match="is not whole, or damaged"):
        pull(server.url("/short.gguf"))
    server.files["/long.gguf"] = Served(model, length=len(model) + 1000)
    assert Path(pull(server.url("/long.gguf"))).read_bytes() == model  # asked for the rest, it says that there is none
    server.files["/longer.gguf"] = Served(model, length=len(model) + 1000, ranges=False)
    with pytest.raises(PullError, match=f"ended after {len(model)} of {len(model) + 1000} bytes"):
        pull(server.url("/longer.gguf"))
    server.files["/huge.gguf"] = Served(model, length=1 << 60)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 40))
    with pytest.raises(PullError, match="cannot store in .*: it takes 1152921504606846976 more bytes, 1099511627776"):
        pull(server.url("/huge.gguf"))
    server.files["/linked.gguf"] = Served(model, headers={"X-Linked-Size": "77"})
    with pytest.raises(PullError, match=f"the site says 77 bytes, the server sends {len(model)}"):
        pull(server.url("/linked.gguf"))
    assert [name for name in left(tmp_path) if name.endswith(".gguf")] == ["long.gguf"]


@pytest.mark.parametrize("form", ["X-Linked-ETag", "Repr-Digest", "Digest"])
def test_sums_of_the_site(server: Server, model: bytes, tmp_path: Path, form: str) -> None:
    def headers(content: bytes) -> dict[str, str]:
        digest = hashlib.sha256(content)
        packed = base64.b64encode(digest.digest()).decode()
        values = {"X-Linked-ETag": f'"{digest.hexdigest()}"', "Repr-Digest": f"sha-256=:{packed}:"}
        return {form: values.get(form, f"SHA-256={packed}")}

    server.files["/good.gguf"] = Served(redirect=server.url("/file"), headers=headers(model))
    server.files["/bad.gguf"] = Served(redirect=server.url("/file"), headers=headers(b"other"))
    server.files["/file"] = Served(model)
    assert Path(pull(server.url("/good.gguf"))).read_bytes() == model
    with pytest.raises(PullError, match=f"the file has SHA-256 {hashlib.sha256(model).hexdigest()}, the site says"):
        pull(server.url("/bad.gguf"))
    assert left(tmp_path) == ["good.gguf"]


def test_what_is_no_model(server: Server, tmp_path: Path) -> None:
    page = b"\n<!DOCTYPE html><html>Not here</html>" * 100
    server.files["/o/blob/main/m.gguf"] = Served(page, headers={"Content-Type": "text/html"})
    with pytest.raises(PullError, match="gives a web page, not a GGUF file; the address of a file has /resolve/"):
        pull(server.url("/o/blob/main/m.gguf"))
    for content, words in ((b"hello", "starts with b'hell'"), (b"", "gives 0 bytes"), (b"GGUF" + b"x" * 99, "damaged")):
        server.files["/m.gguf"] = Served(content)
        with pytest.raises(PullError, match=words):
            pull(server.url("/m.gguf"))
    server.files["/packed.gguf"] = Served(b"GGUF", headers={"Content-Encoding": "gzip"})
    with pytest.raises(PullError, match="packs the file"):
        pull(server.url("/packed.gguf"))
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("ftp://127.0.0.1/x", "no address of http or https"),
        ("data:text/plain,GGUF", "data:text/plain"),
        ("http://user:secret@127.0.0.1/x", "a name and a password"),
        ("http://127.0.0.1:99999/x", "no address"),
        ("/m.gguf", "infinite loop"),
    ],
)
def test_redirects_that_are_not_followed(server: Server, tmp_path: Path, to: str, words: str) -> None:
    server.files["/m.gguf"] = Served(redirect=to)
    with pytest.raises(PullError, match=words):
        pull(server.url("/m.gguf"))
    assert left(tmp_path) == []


def test_answers_that_pass_and_that_do_not(server: Server, model: bytes, tmp_path: Path) -> None:
    server.files["/m.gguf"] = Served(model, status=[503, 429, 200])
    assert Path(pull(server.url("/m.gguf"))).read_bytes() == model
    for status, words in ((404, "answers 404 Not Found"), (403, "answers 403 .*asks for an account"), (204, "no file")):
        server.files["/n.gguf"] = Served(model, status=[status])
        with pytest.raises(PullError, match=words):
            pull(server.url("/n.gguf") + "?token=secret")
        assert len(server.asked) == 4
        server.asked.pop()
    server.files["/n.gguf"] = Served(model, status=[500] * 99)
    with pytest.raises(PullError, match="answers 500"):
        pull(server.url("/n.gguf"))
    port = server.server_address[1]
    server.shutdown()
    server.server_close()
    with pytest.raises(PullError, match="refused"):
        pull(f"http://127.0.0.1:{port}/away.gguf")
    assert left(tmp_path) == ["m.gguf"]


def test_bytes_that_are_no_http(monkeypatch: pytest.MonkeyPatch, server: Server, model: bytes) -> None:
    def broken(*_: Any) -> bytes:
        raise http.client.IncompleteRead(b"", 3)

    server.files["/m.gguf"] = Served(model)
    monkeypatch.setattr(http.client.HTTPResponse, "read1", broken)
    with pytest.raises(PullError, match="the connection broke"):
        pull(server.url("/m.gguf"))


def test_a_full_disk_keeps_what_is_there(
    server: Server, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/m.gguf"] = Served(model)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000));"
        "from spectralkv.cli import main; sys.exit(main(['pull', sys.argv[1]]))"
    )
    result = subprocess.run([sys.executable, "-c", code, server.url("/m.gguf")], capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert os.strerror(errno.EFBIG) in result.stderr and "goes on from there" in result.stderr
    server.asked.clear()
    assert Path(pull(server.url("/m.gguf"))).read_bytes() == model
    assert server.asked[0][1].startswith("bytes=") and left(tmp_path) == ["m.gguf"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_in_the_middle(server: Server, model: bytes, tmp_path: Path, number: int) -> None:
    content = write_tiny_model(tmp_path / "larger.gguf", n_embd=512, n_ff=1024).read_bytes()
    server.files["/m.gguf"] = Served(content, pause=0.05)
    command = [sys.executable, "-m", "spectralkv.cli", "pull", server.url("/m.gguf")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        begin = time.monotonic()
        while not any(p.stat().st_size > 300_000 for p in (tmp_path / "cache").rglob("*.part")):
            assert time.monotonic() - begin < 60 and process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGKILL, 130, 128 + signal.SIGTERM) and b"Traceback" not in err
    lock = ["pull.lock"] if number == signal.SIGKILL else []  # the next one takes it
    assert left(tmp_path) == ["m.gguf.part", "m.gguf.part.json", *lock]
    server.files["/m.gguf"].pause = 0
    server.asked.clear()
    assert Path(pull(server.url("/m.gguf"))).read_bytes() == content
    assert int(server.asked[0][1].removeprefix("bytes=").removesuffix("-")) > 300_000


def test_two_processes_fetch_once(server: Server, model: bytes) -> None:
    server.files["/m.gguf"] = Served(model, pause=0.2)
    command = [sys.executable, "-m", "spectralkv.cli", "pull", server.url("/m.gguf")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0] and said[0][0] == said[1][0]
    assert len(server.asked) == 1


def test_all_parts_of_a_split_model(server: Server, tmp_path: Path) -> None:
    from support.hf_checkpoint import write_hf

    options = ConvertOptions(outtype="f32", split_max_size=200_000, quiet=True)
    parts = convert(write_hf(tmp_path / "hf"), tmp_path / "m.gguf", options)
    assert len(parts) > 1
    for part in parts:
        server.files[f"/{part.name}"] = Served(part.read_bytes())
    path = Path(pull(server.url(f"/{parts[-1].name}?download=true")))
    assert path.name == parts[0].name
    assert [(path.parent / part.name).read_bytes() for part in parts] == [part.read_bytes() for part in parts]
    assert [asked for asked, _ in server.asked] == [f"/{part.name}?download=true" for part in parts]
    del server.files[f"/{parts[-1].name}"]
    with pytest.raises(PullError, match="404"):
        pull(server.url(f"/{parts[0].name}"))
    server.files[f"/{parts[-1].name}"] = Served(parts[-1].read_bytes())
    server.asked.clear()
    assert pull(server.url(f"/{parts[0].name}"))
    assert [asked for asked, _ in server.asked] == [f"/{parts[-1].name}"]  # the others are there


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/b.gguf?x=../../y", "b.gguf"),
        ("http://h/..%2F..%2Fetc%2Fpasswd.gguf", "etc_passwd.gguf"),
        ("http://h/%2e%2e", "model.gguf"),
        ("http://h/.gguf", "model.gguf"),
        ("http://h/", "model.gguf"),
        ("http://h/-rf%00%0a.gguf", "rf__.gguf"),
        ("http://h/" + "x" * 500 + "-Q4_K_M.gguf", "x" * 138 + "-Q4_K_M.gguf"),
        ("http://h/%C3%A9.gguf", "gguf"),
    ],
)
def test_names(url: str, name: str) -> None:
    found = file_name(url)
    assert "/" not in found and found.endswith(".gguf") and len(found) <= 150 and found[0] not in ".-"
    assert found == name or name == "gguf"


def test_addresses() -> None:
    assert part_addresses("http://h/m-00002-of-00003.gguf?a=b#c") == [
        f"http://h/m-0000{i}-of-00003.gguf?a=b" for i in (1, 2, 3)
    ]
    assert part_addresses("http://h/é%20.gguf?a=ü+b") == ["http://h/%C3%A9%20.gguf?a=%C3%BC+b"]
    assert part_addresses("http://h/m-00004-of-00003.gguf") == ["http://h/m-00004-of-00003.gguf"]
    assert shown("https://h/m.gguf?token=secret#x") == "https://h/m.gguf"
    for url in (
        "file:///etc/passwd",
        "ftp://h/x",
        "http://",
        "http://a:b@h/x",
        "http://h/x y",
        "http://h/\udce9",
        "http://[::1/x",
    ):
        with pytest.raises(PullError):
            pull(url)
    with pytest.raises(PullError, match="'nonsense' is not known: expected a name .demo, qwen2.5-coder-1.5b., an add"):
        pull("nonsense")


def test_the_command(server: Server, model: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    server.files["/m.gguf"] = Served(model)
    assert cli.main(["pull", server.url("/m.gguf") + "?token=secret"]) == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()).read_bytes() == model
    assert "fetching http://127.0.0.1" in err and "secret" not in err
    assert cli.main(["pull", server.url("/none.gguf")]) == 1
    assert "error: [pull]" in capsys.readouterr().err
    for args in (["x", "-hf", "a/b"], ["-hff", "x.gguf"]):
        with pytest.raises(SystemExit):
            cli.main(["pull", *args])


def test_random_faults(server: Server, model: bytes, tmp_path: Path) -> None:
    """Whatever a server does: the file, or an error and no file of that name."""
    rng = np.random.default_rng(0)
    for round in range(60):
        served = Served(model, cut=[int(n) for n in rng.integers(0, len(model), rng.integers(0, 9))])
        served.ranges = bool(rng.integers(2))
        served.etag = str(rng.choice(['"a"', "", 'W/"weak"', '"b"']))
        served.status = [int(s) for s in rng.choice([200, 200, 200, 416, 500, 404], rng.integers(0, 4))]
        if rng.integers(4) == 0:
            served.length = int(rng.integers(0, 2 * len(model)))
        if rng.integers(6) == 0:
            served.content = b"<html>"
        server.files["/m.gguf"] = served
        said = ""
        try:
            path = Path(pull(server.url("/m.gguf"), force=bool(rng.integers(2))))
        except PullError as error:
            said = str(error)
        else:
            assert path.read_bytes() == model, round
        assert said == "" or (said.startswith("[pull] ") and "\n" not in said)
        for name in left(tmp_path):
            assert name in ("m.gguf", "m.gguf.part", "m.gguf.part.json")


def test_nothing_is_stored_outside(server: Server, model: bytes, tmp_path: Path) -> None:
    assert place.part_names("a/../m-00001-of-00002.gguf")[1] == "a/../m-00002-of-00002.gguf"
    server.files["/x/..%2f..%2fm-00001-of-00001.gguf"] = Served(model)
    path = Path(pull(server.url("/x/..%2f..%2fm-00001-of-00001.gguf")))
    assert path.resolve().is_relative_to(tmp_path / "cache" / "spectralkv" / "urls")
