"""Models of the Hugging Face Hub: which file is meant, and fetching from a server that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.file_server import Served, Server, serving
from support.hf_checkpoint import write_hf
from support.tiny_model import write_tiny_model

from spectralkv import PullError
from spectralkv.convert import ConvertOptions, convert
from spectralkv.fetch.hub import by_quant, fetch_reference, is_safe, split_reference

pytest.importorskip("huggingface_hub")
REPO, COMMIT = "some-one/tiny-GGUF", "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """The hub's answers about one repository, and the environment of a program that asks it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.files: dict[str, bytes] = {}
        self.sums: dict[str, str] = {}  # those that are not true
        self.names: list[str] = []  # that are listed and are not there
        server.answer = self.answer
        server.missing = {"X-Error-Code": "RepoNotFound"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        self.environment = kept | {
            "HF_ENDPOINT": server.url(""),
            "HF_HOME": str(folder / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def put(self, name: str, content: bytes, served: Served | None = None) -> None:
        self.files[name] = content
        digest = hashlib.sha256(content).hexdigest()
        file = served or Served(content)
        file.etag = f'"{digest}"'
        file.headers |= {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{digest}"'}
        for revision in ("main", COMMIT):
            self.server.files[f"/{REPO}/resolve/{revision}/{name}"] = file

    def answer(self, path: str) -> tuple[bytes, str] | None:
        if not path.startswith(f"/api/models/{REPO}"):
            return None
        siblings = []
        for name in [*self.files, *self.names]:
            content = self.files.get(name, b"")
            sha256 = self.sums.get(name, hashlib.sha256(content).hexdigest())
            lfs = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append({"rfilename": name, "size": len(content), "blobId": sha256[:40], "lfs": lfs})
        body = {"_id": "1", "id": REPO, "modelId": REPO, "sha": COMMIT, "private": False, "siblings": siblings}
        return json.dumps(body).encode(), "application/json"

    def run(self, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "spectralkv.cli", *args]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=self.environment)
        assert result.returncode == status and "Traceback" not in result.stderr, result.stderr
        return result

    def pull(self, what: str, *args: str) -> Path:
        return Path(self.run("pull", what, *args).stdout.strip())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving() as server:
        yield Hub(server, tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "m.gguf").read_bytes()


def test_a_file_by_name_and_by_quant(hub: Hub, model: bytes) -> None:
    hub.put("tiny-Q4_K_M.gguf", model)
    hub.put("tiny-Q8_0.gguf", model + b"\0")
    path = hub.pull(f"hf:{REPO}:tiny-Q8_0.gguf")
    assert path.read_bytes() == model + b"\0" and path.is_relative_to(hub.folder / "hub")
    hub.server.asked.clear()
    assert hub.pull(f"hf:{REPO}:q8_0") == path
    assert [asked for asked, _ in hub.server.asked if "/resolve/" in asked] == []
    assert hub.pull(f"hf:{REPO}").name == "tiny-Q4_K_M.gguf"
    assert hub.run("pull", "-hf", REPO, "-hff", "tiny-Q8_0.gguf").stdout.strip() == str(path)
    hub.server.asked.clear()
    hub.pull(f"hf:{REPO}:Q8_0", "--force")
    assert [asked for asked, _ in hub.server.asked if "/resolve/" in asked] != []


def test_commands_and_python(hub: Hub, model: bytes) -> None:
    hub.put("tiny-Q4_K_M.gguf", model)
    result = hub.run("run", "-hf", REPO, "-p", "hello", "-n", "2", "-c", "64", "-no-cnv", "--log-disable")
    assert result.stdout.startswith("hello")
    assert "tiny-Q4_K_M.gguf" in hub.run("inspect", "-hf", f"{REPO}:Q4_K_M").stdout
    assert hub.run("tokenize", "-hf", REPO, "-p", "hello", "--ids").stdout.startswith("[")
    failed = hub.run("run", "-hf", f"{REPO}:Q2_K", "-p", "x", status=1)
    assert "has no file of Q2_K; it has tiny-Q4_K_M.gguf" in failed.stderr
    code = (
        "import sys; from spectralkv import Llama, PullError\n"
        "llama = Llama.from_pretrained(sys.argv[1], '*q4_k_m.gguf'.upper().replace('GGUF', 'gguf'), n_ctx=64)\n"
        "assert llama.n_ctx() == 64 and llama('hello', max_tokens=2)\n"
        "assert Llama.from_pretrained(sys.argv[1], vocab_only=True, local_dir=sys.argv[2], "
        "local_dir_use_symlinks=False).tokenize(b'hello')\n"
        "try: Llama.from_pretrained('nobody/nothing', n_contexts=8)\n"
        "except TypeError as error: assert 'n_contexts' in str(error)\n"
        "try: Llama.from_pretrained(sys.argv[1], 'none*')\n"
        "except PullError as error: print(error)"
    )
    local = hub.folder / "here"
    command = [sys.executable, "-c", code, REPO, str(local)]
    result = subprocess.run(command, capture_output=True, text=True, env=hub.environment)
    assert result.returncode == 0, result.stderr
    assert "has no file 'none*'; it has tiny-Q4_K_M.gguf" in result.stdout
    assert (local / "tiny-Q4_K_M.gguf").read_bytes() == model


def test_split_models(hub: Hub, tmp_path: Path) -> None:
    options = ConvertOptions(outtype="f32", split_max_size=200_000, quiet=True)
    parts = convert(write_hf(tmp_path / "hf"), tmp_path / "m-Q4_K_M.gguf", options)
    for part in parts:
        hub.put(f"Q4/{part.name}", part.read_bytes())
    path = hub.pull(f"hf:{REPO}")
    assert path.name == parts[0].name
    assert [(path.parent / part.name).read_bytes() for part in parts] == [part.read_bytes() for part in parts]
    assert hub.pull(f"hf:{REPO}:Q4/{parts[-1].name}") == path
    assert "llama" in hub.run("inspect", str(path)).stdout
    del hub.files[f"Q4/{parts[-1].name}"]
    assert f"is missing of the {len(parts)} parts" in hub.run("pull", f"hf:{REPO}", status=1).stderr


def test_without_the_network(hub: Hub, model: bytes) -> None:
    hub.put("tiny-Q4_K_M.gguf", model)
    path = hub.pull(f"hf:{REPO}")
    hub.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    result = hub.run("pull", f"hf:{REPO}")
    assert Path(result.stdout.strip()) == path and "using what was fetched of it before" in result.stderr
    del hub.environment["HF_ENDPOINT"]
    hub.environment["HF_HUB_OFFLINE"] = "1"
    assert hub.pull(f"hf:{REPO}:tiny-Q4_K_M.gguf") == path
    assert "the hub cannot be asked for other/one" in hub.run("pull", "hf:other/one", status=1).stderr


def test_what_is_wrong_is_taken_out_of_the_cache(hub: Hub, model: bytes) -> None:
    hub.put("tiny-Q4_K_M.gguf", model)
    hub.sums["tiny-Q4_K_M.gguf"] = "0" * 64
    assert "the hub says 0000" in hub.run("pull", f"hf:{REPO}", status=1).stderr
    del hub.sums["tiny-Q4_K_M.gguf"]
    hub.put("page.gguf", b"<html>no</html>")
    assert "a web page, not a GGUF file" in hub.run("pull", f"hf:{REPO}:page.gguf", status=1).stderr
    assert list((hub.folder / "hub").rglob("*.gguf")) == []
    assert hub.pull(f"hf:{REPO}").read_bytes() == model
    assert "the hub knows no repository no/such" in hub.run("pull", "hf:no/such", status=1).stderr


def test_names_that_lead_outside_are_not_seen(hub: Hub, model: bytes) -> None:
    hub.put("tiny-Q4_K_M.gguf", model)
    hub.names = ["../../../out-Q8_0.gguf", "/etc/out-Q8_0.gguf", "a//out-Q8_0.gguf", "a\\out-Q8_0.gguf"]
    assert "has no file of Q8_0; it has tiny-Q4_K_M.gguf\n" in hub.run("pull", f"hf:{REPO}:Q8_0", status=1).stderr
    assert "has no file '../" in hub.run("pull", f"hf:{REPO}:../../../out-Q8_0.gguf", status=1).stderr


def test_a_fetch_that_broke_off_goes_on(hub: Hub) -> None:
    """huggingface_hub asks for the rest itself, in pieces of 10 MiB."""
    content = b"GGUF" + bytes(25 << 20)
    hub.put("tiny-Q4_K_M.gguf", content, Served(content, cut=[21 << 20]))
    first = subprocess.run(
        [sys.executable, "-m", "spectralkv.cli", "pull", f"hf:{REPO}"], capture_output=True, env=hub.environment
    )
    path = hub.pull(f"hf:{REPO}")
    assert path.read_bytes() == content and first.returncode in (0, 1)
    assert any(wanted.startswith("bytes=") and wanted != "bytes=0-" for _, wanted in hub.server.asked)


def test_the_extra_is_named() -> None:
    code = "import sys; sys.modules['huggingface_hub'] = None; from spectralkv.cli import main; sys.exit(main())"
    for args in (["pull", "hf:a/b"], ["run", "-hf", "a/b", "-p", "x"]):
        result = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
        assert result.returncode == 1 and "pip install 'huggingface_hub>=" in result.stderr
        assert "Traceback" not in result.stderr


def test_nothing_is_asked_at_import(hub: Hub) -> None:
    code = (
        "import socket, sys\n"
        "socket.socket.connect = None\n"
        "import spectralkv, spectralkv.fetch.hub, spectralkv.fetch.web, spectralkv.fetch.wheels\n"
        "spectralkv.Llama, spectralkv.pull\n"
        "print('huggingface_hub' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=hub.environment)
    assert result.stdout == "False\n" and hub.server.asked == []


@pytest.mark.parametrize(
    ("names", "quant", "expected"),
    [
        (["a-Q4_K_M.gguf", "a-Q8_0.gguf"], "", "a-Q4_K_M.gguf"),
        (["a-q4_k_m.gguf", "a-UD-Q4_K_M.gguf", "mmproj-Q4_K_M.gguf"], "Q4_K_M", "a-q4_k_m.gguf"),
        (["a-Q4_K_M.gguf", "a-Q4_K_L.gguf"], "q4_k_l", "a-Q4_K_L.gguf"),
        (["BF16/a-BF16-00002-of-00002.gguf", "BF16/a-BF16-00001-of-00002.gguf"], "bf16", None),
        (["a-Q4_K_M-imat.gguf", "a-Q4_K_M-v2.gguf"], "", "a-Q4_K_M-v2.gguf"),
        (["a-Q4_K_M-v2.gguf", "a-long-name-Q4_K_M.gguf"], "q4_k_m", "a-long-name-Q4_K_M.gguf"),
        (["Q4_K_M/a-00002-of-00002.gguf", "Q4_K_M/a-00001-of-00002.gguf"], "", "Q4_K_M/a-00001-of-00002.gguf"),
        (["a-Q4_K_M.gguf"], "Q4_K", "error: has no file of Q4_K; it has a-Q4_K_M.gguf"),
        (["model.F16.gguf", "README.md"], "", "model.F16.gguf"),
        (["Q8_0.gguf", "x.gguf"], "Q8_0", "Q8_0.gguf"),
        (["a-IQ4_XS.gguf"], "Q4_XS", "error: has no file of Q4_XS; it has a-IQ4_XS.gguf"),
        (["a-Q8_0.gguf", "a-F16.gguf"], "", "error: has no Q4_K_M and several others; it has a-F16.gguf, a-Q8_0.gguf"),
        (["README.md", "model.safetensors"], "", "error: holds no GGUF model"),
        (["a.Q4_K_M.gguf", "a.mmproj-f16.gguf"], "f16", "error: has no file of f16; it has a.Q4_K_M.gguf"),
        (["a.gguf", "a.imatrix.gguf", "a-MMPROJ.gguf"], "", "a.gguf"),
    ],
)
def test_quants(names: list[str], quant: str, expected: str | None) -> None:
    if expected is not None and expected.startswith("error: "):
        with pytest.raises(PullError, match=expected.removeprefix("error: ")):
            by_quant(names, "o/r", quant)
    else:
        assert by_quant(names, "o/r", quant) == (expected or "BF16/a-BF16-00001-of-00002.gguf")


def test_references() -> None:
    assert split_reference("o/r") == ("o/r", "", "")
    assert split_reference("o/r:Q4_0") == ("o/r", "Q4_0", "")
    assert split_reference("o/r-GGUF:a/b.gguf") == ("o/r-GGUF", "", "a/b.gguf")
    for text in ("o", "o/r/x", "../r", "o/..", "o/r..x", "https://h/x", "o r/x", ""):
        with pytest.raises(PullError, match="names no repository"):
            split_reference(text)
    with pytest.raises(PullError, match="each name a file"):
        fetch_reference("o/r:Q4_0", "x.gguf")
    assert is_safe("a/b.gguf") and not any(map(is_safe, ("", "/a", "a/", "a/../b", "./a", "a\nb", "a\\b", "a/\0")))


def test_the_package_is_an_extra() -> None:
    from importlib.metadata import requires

    wanted = [line for line in requires("spectralkv") or [] if line.startswith("huggingface_hub")]
    assert any("extra == 'hub'" in line.replace('"', "'") for line in wanted)
