"""kill -9 while the server writes a slot or spills kept sequences: the next one serves, and does not see half files."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("starlette")
httpx = pytest.importorskip("httpx")

from support.serving import free_port  # noqa: E402
from support.tiny_model import write_tiny_model  # noqa: E402

TEXT = "the hello in there " * 350  # a state of some MiB, which takes a while to reach the disk
TRIES = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("kill") / "tiny.gguf"
    return str(write_tiny_model(path, context_length=8192, n_layers=4, n_embd=256, n_heads=4, n_kv_heads=4))


@contextlib.contextmanager
def server(model, *options):
    """A server in a process of its own, which dies as hard as can be."""
    port = free_port()
    command = [sys.executable, "-m", "spectralkv.cli", "serve", "-m", model, "--port", str(port), "-c", "0", "-t", "1"]
    command += ["-ctk", "f16", "-ctv", "f16", "--log-level", "error", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            end = time.monotonic() + 60
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/health").status_code == 200:
                        break
                assert process.poll() is None and time.monotonic() < end, "the server did not start"
                time.sleep(0.05)
            yield client, process
    finally:
        process.kill()
        process.wait()


def complete(client, text=TEXT):
    answer = client.post("/v1/completions", json={"prompt": text, "max_tokens": 4, "temperature": 0}).json()
    return answer["choices"][0]["text"], answer["timings"]["cache_n"]


def half_written(folder):
    return [path for path in folder.iterdir() if ".tmp-" in path.name]


def killed_while_writing(process, folder, seconds=30):
    """Kills as soon as a temporary file is there; whether it was caught."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if half_written(folder):
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return bool(half_written(folder))
    return False


def test_while_a_slot_is_saved(model, tmp_path):
    with server(model, "--slot-save-path", str(tmp_path)) as (client, _):
        text, _ = complete(client)
        assert client.post("/slots/save", json={"filename": "mine", "prompt": TEXT}).status_code == 200
    whole = (tmp_path / "mine.state").read_bytes()
    for _ in range(TRIES):
        with server(model, "--slot-save-path", str(tmp_path)) as (client, process):
            # What the killed one left is neither in the way nor in the place of what was there.
            assert client.post("/slots/restore", json={"filename": "mine"}).status_code == 200
            again, cached = complete(client)
            assert again == text and cached > 2000

            def save(client=client):
                with contextlib.suppress(httpx.HTTPError):
                    client.post("/slots/save", json={"filename": "mine", "prompt": TEXT})

            saving = threading.Thread(target=save)
            saving.start()
            caught = killed_while_writing(process, tmp_path)
            saving.join()
        if caught:
            break
    assert caught, "no file was caught half written"
    assert (tmp_path / "mine.state").read_bytes() == whole
    with server(model, "--slot-save-path", str(tmp_path)) as (client, _):
        assert client.post("/slots/restore", json={"filename": "mine"}).status_code == 200
        assert complete(client)[0] == text
        assert client.post("/slots/save", json={"filename": "mine", "prompt": TEXT}).status_code == 200


def test_while_kept_sequences_are_spilled(model, tmp_path):
    given, caught = {}, False
    for i in range(TRIES):
        text = f"{i} {TEXT}"
        with server(model, "--cache-disk", str(tmp_path)) as (client, process):
            assert half_written(tmp_path) == []  # the start has removed what was left
            given[text] = complete(client, text)[0]
            caught = killed_while_writing(process, tmp_path)
        if caught:
            break
    assert caught, "no file was caught half written"
    with server(model, "--cache-disk", str(tmp_path)) as (client, _):
        assert half_written(tmp_path) == []
        again = {text: complete(client, text)[0] for text in given}
    with server(model) as (client, _):
        assert given == again == {text: complete(client, text)[0] for text in given}
