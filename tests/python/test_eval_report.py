"""`spectralkv eval memory` and `report` on a tiny model, and the page in headless Chromium."""

import html
import json
import re
import shutil
import subprocess
import sys

import pytest
from support.tiny_model import write_tiny_model

pytest.importorskip("wonderwords")
TEXT = "the hello on a line in the end of it all, hello there. " * 40
NEEDLE = "--tasks niah_single_1 --lengths 1024 --samples 4 --depths 4"


def evaluate(*args, status=0):
    command = [sys.executable, "-m", "spectralkv.cli", "eval", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The model's path, two texts."""
    folder = tmp_path_factory.mktemp("report")
    model = write_tiny_model(folder / "tiny.gguf", context_length=2048, n_embd=64, n_heads=2, n_kv_heads=1)
    (folder / "one.txt").write_text(TEXT)
    (folder / "two.txt").write_text(TEXT[::-1])
    return model, folder / "one.txt", folder / "two.txt"


def arguments(files, out):
    model, one, two = files
    given = ["-m", model, "--text", one, "--text", two, "--context", 512, "--depths", "256,512", "--needle", NEEDLE]
    return [*given, "--cache", "f16", "--cache", "turboquant:2/eoptshrinkq:2", "--cache", "kivi:2", "--out", out]


@pytest.fixture(scope="module")
def page(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    evaluate("report", *arguments(files, out))
    return out


def test_every_part_has_its_section_and_commands(page):
    data = json.loads((page / "report.json").read_text())
    assert {"kl", "prefix", "needle", "fidelity", "memory", "speed"} <= data.keys()
    assert [(e["text"], e["cache"]) for e in data["kl"]][:4] == [
        ("one", "f16"),
        ("one", "turboquant:2/eoptshrinkq:2"),
        ("one", "kivi:2"),
        ("two", "f16"),
    ]
    assert all(entry["result"]["kl_mean"] == 0 for entry in data["kl"] if entry["cache"] == "f16")
    text = (page / "report.html").read_text()
    assert len(text.encode()) < 2**20
    assert text.count("<svg") == 13 and "<script" not in text and 'src="http' not in text
    plain = html.unescape(text)
    for entry in (*data["kl"], *data["prefix"], *data["fidelity"], *data["speed"], data["memory"]):
        assert entry["command"].startswith("spectralkv ") and entry["command"] in plain
        assert entry["command"] in (page / "report.md").read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    divergences = ["Divergence, decoding", "Divergence, prefix"]
    assert titles == ["Overview", *divergences, "Retrieval", "Fidelity", "Memory", "Speed"]


def test_a_figures_command_gives_the_figure(page):
    entry = json.loads((page / "report.json").read_text())["kl"][1]
    words = entry["command"].split()
    assert words[0] == "spectralkv"
    command = [sys.executable, "-m", "spectralkv.cli", *words[1:]]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(result.stdout) == entry["result"]


def test_collecting_measures_nothing_and_gives_the_same_page(files, page, tmp_path):
    shutil.copytree(page, tmp_path / "again", dirs_exist_ok=True)
    before = (page / "report.html").read_text()
    done = evaluate("report", *arguments(files, page), "--collect")
    assert "wrote" in done.stdout and "left out" not in done.stderr
    after = (page / "report.html").read_text()
    # The overview's command and that of the needles' folder apart, nothing differs.
    assert after.replace(" --collect", "") == before
    empty = evaluate("report", *arguments(files, tmp_path / "empty"), "--collect")
    assert "left out, not measured yet: spectralkv perplexity" in empty.stderr


def test_two_runs_give_the_same_files(files, tmp_path):
    made = []
    for number in range(2):
        out = tmp_path / "out"
        parts = ["--parts", "kl,needle,fidelity,memory"]  # all but the times
        evaluate("report", *arguments(files, out), *parts)
        names = ("report.html", "report.md", "report.json")
        made.append([(out / name).read_bytes() for name in names])
        out.rename(tmp_path / str(number))
    assert made[0] == made[1]


def test_memory(files):
    model, one, _ = files
    args = ["memory", "-m", model, "-f", one, "--contexts", "256,512,9999", "--cache", "f16", "--cache", "q8_0"]
    rows = json.loads(evaluate(*args, "--json").stdout)
    assert [[row["tokens"] for row in entry["rows"]] for entry in rows] == [[256, 512]] * 2
    assert rows[1]["rows"][1]["bits"] < rows[0]["rows"][1]["bits"]
    assert evaluate(*args).stdout.splitlines()[0] == "| cache | 256 tokens | 512 tokens |"
    assert "--contexts begins at 99999" in evaluate(*args[:6], "99999", status=1).stderr


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["--text", "no/such"], 1, "there is no text no/such"),
        (["--parts", "kl,all"], 2, "there is no part 'all'"),
        ([], 2, "--text"),
    ],
)
def test_wrong_usage_is_named(files, args, status, said):
    assert said in evaluate("report", "-m", files[0], *args, status=status).stderr


MEASURE = """
const d = document.getElementById("f").contentDocument, e = d.documentElement, w = e.clientWidth, wrong = [];
for (const x of d.body.querySelectorAll("*")) {
  const r = x.getBoundingClientRect(), svg = x.closest("svg");
  if (r.width && (r.right > w + 1 || r.left < -1)) wrong.push("beyond the page: " + x.outerHTML.slice(0, 80));
  if (!svg && x.scrollWidth > x.clientWidth + 1 && getComputedStyle(x).display != "inline")
    wrong.push("cut: " + x.outerHTML.slice(0, 80));
  if (x.tagName == "text") {
    const s = svg.getBoundingClientRect();
    if (r.left < s.left - 1 || r.right > s.right + 1 || r.top < s.top - 1 || r.bottom > s.bottom + 1)
      wrong.push("text cut: " + x.textContent);
  }
  if (x.tagName == "svg" && r.width > parseFloat(x.getAttribute("width")) * 96 / 72 + 1) wrong.push("blown up");
}
const legends = [...d.querySelectorAll(".legend")].map(x => x.textContent);
const widths = [...d.querySelectorAll("svg")].map(s => s.getBoundingClientRect().width);
document.getElementById("r").textContent = JSON.stringify({
  scroll: e.scrollWidth, width: w, wrong, legends, least: Math.min(...widths),
  tables: d.querySelectorAll("table").length, size: getComputedStyle(d.body).fontSize,
  paper: getComputedStyle(d.body).backgroundColor});
"""


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (768, False), (1280, False)])
def test_nothing_is_wider_than_the_page_and_no_text_is_cut(page, tmp_path, width, dark):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("headless Chromium is missing: apt-get install chromium")
    source = html.escape((page / "report.html").read_text())
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><iframe id="f" width="{width}" height="844" style="border:0" '
        f'srcdoc="{source}"></iframe><p id="r"></p><script>addEventListener("load",()=>{{{MEASURE}}})</script>'
    )
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    if dark:
        command.append("--blink-settings=preferredColorScheme=0")
    result = subprocess.run(
        [*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    seen = json.loads(html.unescape(re.search(r'<p id="r">(.*?)</p>', result.stdout)[1]))
    assert width - 20 <= seen["width"] <= width  # a scroll bar may take its share
    assert seen["wrong"] == [] and seen["scroll"] <= seen["width"]
    assert seen["size"] == "16px" and seen["tables"] > 6 and seen["least"] > 200
    assert any("turboquant:2/eoptshrinkq:2" in text for text in seen["legends"])
    assert seen["paper"] == ("rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)")


def test_every_plot_says_what_it_is_of(page):
    text = html.unescape((page / "report.html").read_text())
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert len(captions) == text.count("<figure>") == 8
    assert all(re.search(r"tiny\.gguf, \d{4}-\d\d-\d\d", caption) for caption in captions)
    for caption in captions:
        if caption.startswith(("Spectra", "Rank")):
            assert "cache turboquant:2/eoptshrinkq:2, text one" in caption
    assert re.search(r"Measured on .+, \d+ processors; threads: one a core; \d{4}.*Texts: one, two\.", text)
