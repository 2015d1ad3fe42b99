"""`spectralkv perplexity`: JSON, text, protocols, a file of logits, errors; known figures on the demo model."""

import json
import subprocess
import sys

import numpy as np
import pytest

# What scripts rely on.
KEYS = {"ppl", "ppl_base", "kl_mean", "kl_stderr", "kl_p99", "same_top1", "n_tokens"} | {
    f"bits_{kind}_{side}" for kind in ("paper", "honest") for side in "kv"
}
SPEC = ["-ctk", "q4_0,block=32,sink=4", "-ctv", "turboquant:3,block=32,sink=4"]


def perplexity(*args, status=0):
    """The finished process; `python -m` so that the module under test is the installed one."""
    command = [sys.executable, "-m", "spectralkv.cli", "perplexity", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == status, result.stderr
    return result


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "ids.npz"
    np.savez_compressed(path, ids=np.random.default_rng(1).integers(3, 300, 200, dtype=np.int32))
    return path


@pytest.fixture
def source(tiny_model, tokens):
    return ["-m", tiny_model, "--tokens", tokens, *SPEC]


@pytest.mark.parametrize("protocol", [["--protocol", "decode"], ["--protocol", "prefix", "--prefix", 150]])
def test_json(source, protocol):
    found = json.loads(perplexity(*source, *protocol, "--kl-divergence", "--json").stdout)
    assert set(found) >= KEYS
    assert found["n_tokens"] == 200
    assert found["n_compared"] == (100 if "decode" in protocol else 50)
    assert found["ppl"] > 1
    assert found["kl_mean"] > 0
    assert 0 <= found["same_top1"] <= 1
    assert found["bits_paper_k"] == 4
    assert found["bits_honest_v"] > 3
    alone = json.loads(perplexity(*source, *protocol, "--json").stdout)
    assert alone["ppl"] == found["ppl"]
    assert alone["kl_mean"] is None


def test_the_default_is_named(tiny_model, tokens):
    args = ["-m", tiny_model, "--tokens", tokens, "--kl-divergence", "--base-ctk", "default", "--base-ctv", "f32"]
    told = perplexity(*args, "-ctk", "default;layers 0=q8_0", "-ctv", "default", "--kv-calibration", "none").stderr
    assert "K q8_0;layers 1=eoptshrinkq:2, V eoptshrinkq:2, against K eoptshrinkq:2, V f32" in told


def test_text_in_chunks(source):
    lines = perplexity(*source, "-c", 50, "--chunks", 3, "--kl-divergence").stdout.splitlines()
    assert [part.split("]")[0] for part in lines[0].split(",") if part] == ["[1", "[2", "[3"]
    assert lines[1].startswith("Final estimate: PPL = ")
    assert any(line.startswith("99.9 % KLD") for line in lines)


def test_a_file_of_logits_serves_as_base(source, tmp_path):
    path = tmp_path / "logits"
    perplexity(*source[:4], "-ctk", "f16", "-ctv", "f16", "--kl-base", path)
    from_file, from_cache = (
        json.loads(perplexity(*source, "--kl-divergence", "--json", *base).stdout) for base in (["--kl-base", path], [])
    )
    assert from_file == from_cache
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert "damaged" in perplexity(*source, "--kl-divergence", "--kl-base", path, status=1).stderr


def read_peer_file(path):
    """llama-perplexity's file: the tokens, [chunks, n_ctx], and the log-probabilities, [chunks, rows, n_vocab]."""
    data = path.read_bytes()
    assert data[:8] == b"_logits_"
    n_ctx, n_vocab, n_chunks = np.frombuffer(data, np.int32, 3, 8)
    tokens = np.frombuffer(data, np.int32, n_chunks * n_ctx, 20)
    n_rows = n_ctx - 1 - n_ctx // 2
    words = np.frombuffer(data, np.uint16, -1, 20 + 4 * tokens.size).reshape(n_chunks, n_rows, -1)
    assert words.shape[2] == 4 + n_vocab + n_vocab % 2
    head = words[:, :, :4].copy().view(np.float32)
    return tokens.reshape(n_chunks, n_ctx), head[..., 1:] + head[..., :1] * words[:, :, 4 : 4 + n_vocab]


def test_a_file_of_llama_perplexity(source, tmp_path):
    from spectralkv import Llama

    path, exact = tmp_path / "base", [*source[:4], "-ctk", "f16", "-c", 50]
    perplexity(*exact, "--kl-divergence-base", path)
    tokens, logprobs = read_peer_file(path)
    assert tokens.shape == (4, 50)
    with Llama(source[1], n_ctx=50, logits_all=True, type_k="f16", type_v="f16", verbose=False) as llama:
        for chunk, rows in zip(tokens, logprobs, strict=True):
            llama.reset()
            llama.eval(chunk.tolist())
            want = np.array(llama.scores, dtype=np.float64)[25:49]
            want -= np.log(np.exp(want).sum(axis=1, keepdims=True))
            step = (rows.max(axis=1) - rows.min(axis=1)) / 65535
            assert np.all(np.abs(rows - want).max(axis=1) < step + 1e-5)
    # Of the file's own text, and beside the text; the last position of a chunk is not in the file.
    with_file = ["--kl-divergence", "--kl-divergence-base", path, "--json"]
    from_file = json.loads(perplexity(*source[:2], *SPEC, *with_file).stdout)
    assert from_file == json.loads(perplexity(*source, "-c", 50, *with_file).stdout)
    beside = json.loads(perplexity(*source, "-c", 50, "--kl-divergence", "--json").stdout)
    assert from_file["n_compared"] == 4 * 24
    assert from_file["ppl"] == beside["ppl"]
    assert from_file["ppl_base"] == pytest.approx(beside["ppl_base"], rel=1e-3)
    assert from_file["kl_mean"] == pytest.approx(beside["kl_mean"], rel=0.1)
    same = json.loads(perplexity(*exact, *with_file).stdout)
    assert same["kl_mean"] == pytest.approx(0, abs=1e-6)
    path.write_bytes(path.read_bytes()[:-1])
    assert "is cut off" in perplexity(*source[:2], *with_file, status=1).stderr
    assert (
        "other positions take --kl-base"
        in perplexity(*exact, "--prefix", 9, "--kl-divergence-base", path, status=1).stderr
    )


def test_errors(source, tiny_model, tmp_path):
    assert "--prefix N" in perplexity(*source, "--protocol", "prefix", status=2).stderr
    assert "decode or prefix" in perplexity(*source, "--protocol", "both", status=2).stderr
    assert "give one of" in perplexity("-m", tiny_model, status=2).stderr
    assert "belong to --kl-divergence" in perplexity(*source, "--base-ctk", "f32", status=2).stderr
    assert "there is no 'f17'" in perplexity(*source[:4], "-ctk", "f17", status=1).stderr
    assert "nowhere" in perplexity(*source, "--kl-base", tmp_path / "nowhere" / "x", status=1).stderr


def test_archives_of_tokens(source, tokens, tmp_path):
    ids = np.load(tokens)["ids"]
    want = perplexity(*source, "--json").stdout
    forms = {"ids": {"x": ids[:3], "ids": ids}, "tokens": {"x": ids[:3], "tokens": ids}, "alone": {"x": ids}}
    for name, arrays in forms.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert perplexity(*source[:3], tmp_path / f"{name}.npz", *SPEC, "--json").stdout == want
    np.save(tmp_path / "ids.npy", ids.astype(np.int64))
    assert perplexity(*source[:3], tmp_path / "ids.npy", *SPEC, "--json").stdout == want

    def refusal(name):
        return perplexity(*source[:3], tmp_path / name, status=1).stderr

    np.savez(tmp_path / "two.npz", a=ids, b=ids)
    assert "two.npz' is no .npz file of token ids: it has no array 'ids' or 'tokens'; it has a.npy, b.npy" in refusal(
        "two.npz"
    )
    np.savez(tmp_path / "floats.npz", ids=ids * 0.5)
    assert "32- or 64-bit integers" in refusal("floats.npz")
    (tmp_path / "cut.npz").write_bytes(tokens.read_bytes()[:-30])
    assert "cut.npz' is no .npz file" in refusal("cut.npz")
    assert "No such file" in refusal("none.npz")


def test_known_figures(demo_model, shared_reference):
    """The default cache in the protocol of docs/method.md. Elsewhere the exact cache has perplexity 19.728, and the
    divergence of eOptShrinkQ with four sinks is .0265 where no window is kept exact."""
    found = json.loads(
        perplexity(
            *("-m", demo_model, "--tokens", shared_reference / "smollm2_prose.npz", "--json"),
            *("--protocol", "prefix", "--prefix", 4096, "--kl-divergence"),
        ).stdout
    )
    assert found["type_k"] == found["type_v"] == "eoptshrinkq:2"
    assert found["n_compared"] == 512
    assert abs(found["ppl_base"] / 19.728 - 1) < 0.01  # activations in 8 bits
    assert found["kl_mean"] < 0.0265
    assert found["same_top1"] > 0.9
    assert (found["bits_honest_k"] + found["bits_honest_v"]) / 2 < 2.55
