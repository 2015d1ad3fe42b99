"""What docs/serving.md and docs/constrained.md say is what happens."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("openai")

from support.serving import serving

from spectralkv.serve.command import _parser
from spectralkv.serve.llama_server import PEERS, SHARED, table
from spectralkv.serve.openapi import description
from spectralkv.serve.routes import ROUTES

SIZES = {"f16": (0, 16.0), "q8_0": (128, 8.51), "eoptshrinkq:2 (the default)": (256, 2.34)}


@pytest.fixture(scope="module")
def page():
    return (Path(__file__).parents[2] / "docs" / "serving.md").read_text()


@pytest.fixture(scope="module")
def server(tiny_model):
    with serving(tiny_model) as running:
        yield running


def block(page, language):
    return re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)[1]


def test_the_python_example_runs(page, server):
    code = block(page, "python").replace("http://127.0.0.1:8080", server.url)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_curl_example_runs(page, server):
    command = block(page, "sh").replace("http://127.0.0.1:8080", server.url)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_the_table_of_routes(page):
    for route in ROUTES:
        assert route.path.replace("{name}", "NAME") in page
    assert set(description()["paths"]) == {route.path for route in ROUTES} - {"/v1/models/{name}"}


def test_options_that_the_page_names(page):
    known = {name for action in _parser()._actions for name in action.option_strings}
    text = "\n".join(line for line in page.splitlines() if not line.startswith("| `-"))
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text)) - {"--no-install-recommends", "--from"}
    assert named <= known


def test_the_table_beside_llama_server(page):
    """Every option of llama-server's own list (2026), and what it is here."""
    section = page.split("## Beside llama-server\n")[1].split("\n## ")[0]
    assert table() in section
    lines = (Path(__file__).parents[1] / "support" / "llama_server_flags.txt").read_text().splitlines()
    theirs = {name for line in lines if not line.startswith("#") for name in line.split()}
    theirs -= {"-h", "--help", "--usage"}
    known = {name for action in _parser()._actions for name in action.option_strings}
    assert theirs <= known, theirs - known
    listed = {name for names, _ in SHARED for name in names} | {name for peer in PEERS for name in peer.names}
    assert listed == theirs


def test_the_table_of_sizes(page):
    """By the formula beside it."""
    rows = re.findall(r"\| (\d+) GB \| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \|", page)
    assert len(rows) == 9
    for memory, cache, *counts in rows:
        exact, bits = SIZES[cache]
        for tokens, count in zip((8192, 32768, 131072), counts, strict=True):
            size = 2 * 32 * 8 * 128 * (16 * exact + bits * (tokens - exact)) / 8
            assert int(count) == int((int(memory) - 4.9 - 1) * 1e9 / size)


def test_the_example_of_constrained_output(demo_model):
    code = block((Path(__file__).parents[2] / "docs" / "constrained.md").read_text(), "python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    person, answer = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert person.startswith("{") and answer in ("yes.", "yes!", "no.", "no!")
