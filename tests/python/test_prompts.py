"""BOS and EOS around prompts: one rule for the command line, `Llama` and the evaluations, whatever a file asks for."""

import subprocess
import sys

import pytest

from spectralkv import Llama, _core
from spectralkv.evaluate.longbench_prompts import cut_middle, prompt_tokens
from spectralkv.evaluate.reader import chat_tokens

BOS, EOS = 0, 2  # of the tiny model: <|endoftext|> and <|im_end|>
TEXT = "hello the inner one"
TEMPLATE = "{{ bos_token }}{{ messages[0].content }}"


@pytest.fixture(params=[(True, True), (False, True), (True, False)], ids=["both", "eos", "bos"])
def model(request, make_tiny):
    """Path, whether the file asks for BOS, and the ids of TEXT alone."""
    add_bos, add_eos = request.param
    path = make_tiny(add_bos=add_bos, extra={"tokenizer.ggml.add_eos_token": add_eos}, chat_template=TEMPLATE)
    tokenizer = _core.Engine(path).tokenizer
    plain = tokenizer.encode(TEXT.encode(), False, True)
    assert tokenizer.encode(TEXT.encode()) == [BOS] * add_bos + plain + [EOS] * add_eos  # as llama.cpp's tokenize
    return path, add_bos, plain


def test_llama(model):
    path, add_bos, plain = model
    with Llama(path, n_ctx=64, verbose=False) as llama:
        n = len(plain) + add_bos
        whole = llama(TEXT, max_tokens=4, temperature=0)
        assert whole["usage"]["prompt_tokens"] == n
        assert whole["choices"] == llama([BOS] * add_bos + plain, max_tokens=4, temperature=0)["choices"]
        assert llama("<|endoftext|>" + TEXT, max_tokens=1)["usage"]["prompt_tokens"] == len(plain) + 1
        for empty in ("", []):
            assert llama(empty, max_tokens=1)["usage"]["prompt_tokens"] == 1
        chat = llama.create_chat_completion([{"role": "user", "content": TEXT}], max_tokens=1)
        assert chat["usage"]["prompt_tokens"] == len(plain) + 1


def test_evaluations(model):
    path, add_bos, plain = model
    engine = _core.Engine(path)
    assert chat_tokens(engine, TEXT) == [BOS, *plain]  # the template writes it
    assert prompt_tokens(engine, TEXT, False, 100) == [BOS] * add_bos + plain
    assert cut_middle(engine.tokenizer, TEXT, len(plain) + add_bos) == TEXT


def command_line(*args):
    command = [sys.executable, "-m", "spectralkv.cli", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result


def test_command_line(model, tmp_path):
    path, add_bos, plain = model
    n = len(plain) + add_bos
    run = command_line("run", "-m", path, "-p", TEXT, "-no-cnv", "-n", 4, "--temp", 0, "-v", "--no-display-prompt")
    assert f"prompt: {n} tokens" in run.stderr
    with Llama(path, n_ctx=64, verbose=False) as llama:
        text = llama(TEXT, max_tokens=4, temperature=0)["choices"][0]["text"]
    assert run.stdout.rstrip("\n") == text.rstrip("\n")
    file = tmp_path / "text"
    file.write_text(TEXT)
    assert f"perplexity: {n} tokens" in command_line("perplexity", "-m", path, "-f", file).stderr
