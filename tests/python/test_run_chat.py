"""`run` as a chat that lasts and as a text that goes on: a full context, commands, messages of several lines."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectralkv import Llama

COMMAND = [sys.executable, "-m", "spectralkv.cli", "run"]


def run(*args: Any, status: int = 0, text: str = "") -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [*COMMAND, *map(str, args)], input=text, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture
def chat(tiny_model: str) -> list[Any]:
    return ["-m", tiny_model, "-cnv", "--temp", 0, "-n", 8, "--ignore-eos"]


def saved(path: Path) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in json.loads(path.read_text())]


def test_the_oldest_turns_go(chat: list[Any], tmp_path: Path) -> None:
    lines = [f"hello the {i}" for i in range(12)]
    path = tmp_path / "chat.json"
    text = "\n".join([*lines, f"/save {path}"])
    result = run(*chat, "-c", 192, "-sys", "be kind", text=text)
    assert "tokens is full: the oldest 4 messages are forgotten, but for the system message" in result.stderr
    kept = saved(path)
    assert kept[0] == ("system", "be kind")
    assert [role for role, _ in kept[1:]] == ["user", "assistant"] * ((len(kept) - 1) // 2)
    assert kept[-2] == ("user", lines[-1])
    assert 3 <= len(kept) < 2 * len(lines)
    # What is left is read as a chat of its own would be.
    again = run(*chat, "-c", 192, text=f"/load {path}\n/regen\n")
    assert again.stdout == kept[-1][1].rstrip("\n") + "\n"
    refused = run(*chat, "-c", 192, "--no-context-shift", text=text, status=1)
    assert "the context holds" in refused.stderr


def test_room_is_made_within_an_answer(chat: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([{"role": "user", "content": "the " * 20}, {"role": "assistant", "content": "hello"}]))
    args = [*chat, "-c", 192, "-n", 150]
    text = f"/load {path}\nhello the\n"
    result = run(*args, text=text)
    assert "messages are forgotten; -c" in result.stderr
    assert "raises it (the model's own" not in result.stderr
    full = run(*args, "--no-context-shift", text=text)
    assert "tokens is full; -c (--ctx-size) raises it" in full.stderr
    assert len(result.stdout) > len(full.stdout)
    assert result.stdout.startswith(full.stdout.rstrip("\n"))


def test_commands(chat: list[Any], tmp_path: Path) -> None:
    one, two, none = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "none.json"
    script = ["hello the", f"/save {one}", "/undo", f"/save {none}", f"/load {one}", "more", f"/save {two}"]
    result = run(*chat, text="\n".join([*script, "/help", "//save x", "/exit", "never read"]))
    assert saved(none) == []
    assert [role for role, _ in saved(one)] == ["user", "assistant"]
    assert saved(two)[:2] == saved(one)
    assert "/regen         another answer" in result.stderr
    warm = [*chat, "--temp", 5, "-s", 1]
    answers = run(*warm, text="hello the\n/regen\n/regen\n").stdout
    assert answers != 3 * answers[: len(answers) // 3]
    assert "/foo is no command: /help lists them" in run(*chat, text="/foo\n", status=1).stderr
    assert "/save needs the path" in run(*chat, text="/save\n", status=1).stderr
    one.write_text("[{}]")
    assert "is no saved chat" in run(*chat, text=f"/load {one}\n", status=1).stderr


def test_messages_of_several_lines(chat: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    run(*chat, text=f"hello\\\nthe\nmore\n/save {path}\n")
    assert [content for role, content in saved(path) if role == "user"] == ["hello\nthe", "more"]
    run(*chat, "-mli", text=f"hello\nthe\\\nmore\\\n/save {path}\n")
    assert [content for role, content in saved(path) if role == "user"] == ["hello\nthe", "more"]
    single = run(*chat, "-st", text="hello the\nmore\n").stdout
    assert run(*chat[:2], *chat[3:], "-p", "hello the").stdout == single


def test_a_text_is_shifted(tiny_model: str) -> None:
    args = ["-m", tiny_model, "-no-cnv", "--temp", 0, "--ignore-eos", "-c", 64, "-p", "hello the", "-n", 200]
    full = run(*args)
    assert "the context of 64 tokens is full; -c" in full.stderr
    result = run(*args, "--context-shift", "--keep", 2)
    assert result.stderr.count("tokens is full: 31 of them are dropped, 32 are read again") >= 3
    assert result.stdout.startswith(full.stdout.rstrip("\n"))
    assert len(result.stdout) > 2 * len(full.stdout)


def test_an_interactive_text(tiny_model: str) -> None:
    args = ["-m", tiny_model, "-no-cnv", "--temp", 0, "--ignore-eos", "-c", 256, "-n", 6, "-i", "-p", "hello the"]
    result = run(*args, "--in-prefix", " ", "--in-suffix", "<end>", text="more\nand more\n")
    assert result.stdout.startswith("hello the")
    assert result.stdout.count("<end>") == 2
    first = run(*args[:-2], "-if", text="hello the\n", status=0)
    assert "hello" not in first.stdout[:5]


def test_prompt_cache_all_and_read_only(tiny_model: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    args = ["-m", tiny_model, "-no-cnv", "--temp", 0, "--ignore-eos", "-c", 128, "-n", 20, "--prompt-cache", path]
    text = run(*args, "--prompt-cache-all", "-p", "hello the").stdout
    state = path.read_bytes()
    again = run(*args, "--prompt-cache-ro", "-p", text)
    assert "prompt cache: 2" in again.stderr
    assert path.read_bytes() == state
    assert "there is no --prompt-cache" in run("-m", tiny_model, "--prompt-cache-all", status=2).stderr


def test_the_default_cache_is_said_to_be_lossy(tiny_model: str) -> None:
    args = ["-m", tiny_model, "-p", "hello " * 400, "-n", 1, "-no-cnv", "-c", 1024]
    log = run(*args).stderr
    assert "kv cache: lossy, " in log
    assert "MiB of f16; exact: -ctk f16" in log
    assert "kv cache: lossy behind its exact tail; f16 would take" in log
    assert "lossy" not in run(*args, "-ctk", "f16").stderr
    assert "lossy" not in run(*args[:2], "-p", "hello", *args[4:-1], 64).stderr  # all of it is exact


def test_without_a_gpu(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRALKV_CUDA_LIBRARY", "/nowhere.so")
    args = ["-m", tiny_model, "-p", "hello", "-n", 1, "-no-cnv", "-c", 64]
    for layers in ("1", "99", "all", "-1"):
        assert "warning: the model runs on the CPU, as without -ngl: [cuda] " in run(*args, "-ngl", layers).stderr
    assert "[cuda] " in run(*args, "--device", "cuda", status=1).stderr
    assert "warning" not in run(*args, "-ngl", "99", "--device", "none").stderr


def test_metadata_in_the_place_of_the_files(tiny_model: str) -> None:
    args = [
        "-m",
        tiny_model,
        "-no-cnv",
        "-p",
        "hello the " * 5,
        "-n",
        12,
        "--temp",
        0,
        "-c",
        128,
        "--no-display-prompt",
    ]
    own = run(*args, "--ignore-eos").stdout
    rms = "llama.attention.layer_norm_rms_epsilon"
    cases: list[tuple[list[Any], dict[str, Any]]] = [
        (
            ["--override-kv", f"{rms}=float:0.5,general.name=str:a,b"],
            {"kv_overrides": {rms: 0.5, "general.name": "a,b"}},
        ),
        (["--rope-freq-base", 50], {"rope_freq_base": 50.0}),
        (["--rope-scale", 4], {"rope_freq_scale": 0.25}),
        (["--rope-freq-scale", 0.25], {"rope_freq_scale": 0.25}),
        (
            ["--rope-scaling", "yarn", "--rope-scale", 4, "--yarn-orig-ctx", 32],
            {"rope_scaling_type": 2, "rope_freq_scale": 0.25, "yarn_orig_ctx": 32},
        ),
    ]
    for flags, options in cases:
        with Llama(tiny_model, n_ctx=128, verbose=False, **options) as llama:
            prompt = llama.tokenize(b"hello the " * 5)
            generated = [token for token, _ in zip(llama.generate(prompt, temp=0.0), range(12), strict=False)]
            text = llama.detokenize(generated).decode("utf-8", "replace")
        changed = run(*args, "--ignore-eos", *flags).stdout
        assert changed.rstrip("\n") == text.rstrip("\n")
        assert changed != own
    for bad in ("x", "=int:1", "a=int:x", "a=real:1", "a=bool:2"):
        assert "option '--override-kv'" in run(*args, "--override-kv", bad, status=2).stderr


ALONE = "import sys; from spectralkv import _core; sys.exit(_core.cli_main(sys.argv[1:]))"  # as the standalone binary


def test_what_the_binary_refuses_names_a_command_that_works(make_tiny: Callable[..., str], tmp_path: Path) -> None:
    """The same words go to the Python package, whatever a shell would do to them."""
    template = tmp_path / "it's a $template.jinja"
    template.write_text("{% for m in messages %}<|user|>{{ m.content | upper }}{% endfor %}<|answer|>")
    model = make_tiny(chat_template=template.read_text())
    words = ["-m", model, "-p", "hello 'the' `tin`", "-n", "4", "--temp", "0", "--chat-template-file", str(template)]
    refused = subprocess.run([sys.executable, "-c", ALONE, "run", *words], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    start = "in spectralkv's folder, and then here `python3 -m spectralkv run "
    assert "the Python package runs any, by `python3 -m pip install .` " + start in refused.stderr
    named = refused.stderr.split(start)[1].rpartition("`; or choose one with --chat-template")[0]
    assert shlex.split(named) == words
    answer = subprocess.run([sys.executable, "-m", "spectralkv", "run", *shlex.split(named)], capture_output=True)
    assert answer.returncode == 0, answer.stderr
    chat = [sys.executable, "-c", ALONE, "run", "-m", model, "-cnv"]  # before a message is asked for
    refused = subprocess.run(chat, input="", capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and f"`python3 -m spectralkv run -m {model} -cnv`; or" in refused.stderr
    other = [sys.executable, "-c", ALONE, "quantize", "a b.gguf", "Q8_0"]
    refused = subprocess.run(other, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "`python3 -m spectralkv quantize 'a b.gguf' Q8_0`" in refused.stderr
    long = [*words[:3], "the " * 200, "--grammar", 'root ::= "yes"']
    refused = subprocess.run([sys.executable, "-c", ALONE, "run", *long], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "--grammar needs the Python package: `python3 -m pip install '.[grammar]'`" in refused.stderr
    assert refused.stderr.splitlines()[0].endswith("`python3 -m spectralkv run ...`")
