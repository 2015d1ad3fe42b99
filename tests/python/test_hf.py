"""SpectralCache in a tiny random Llama of the transformers library: against that library's exact cache, and against our
own engine where both mean the same."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the transformers bridge needs torch")
transformers = pytest.importorskip("transformers", reason="the transformers bridge needs transformers")

from support.hf_tiny import hf_llama  # noqa: E402
from support.tiny_model import TinyModel, write_tiny_model  # noqa: E402

from spectralkv import Llama  # noqa: E402
from spectralkv.hf import SpectralCache  # noqa: E402

SHAPE = TinyModel(n_layers=2, n_embd=96, n_heads=4, n_kv_heads=2, head_dim=32, context_length=1024)
N = 300
IDS = np.random.default_rng(7).integers(3, 300, N)
DECODED = "eoptshrinkq:2,block=64,window=50"
# What the library calls the cache among a model's arguments.
NAME = "cache" if "cache" in inspect.signature(transformers.LlamaForCausalLM.forward).parameters else "past_key_values"
LOSSY = ["q4_0,sink=4", "turboquant:2,block=64,sink=4", "eoptshrinkq:2", DECODED, "eoptshrinkq:2,window=0"]


@pytest.fixture(scope="module")
def model() -> Any:
    torch.set_num_threads(1)  # the model is too small for more
    return hf_llama(SHAPE)


def run(model: Any, cache: Any, ids: Any, pieces: Any = None, mask: Any = None) -> np.ndarray:
    """Logits [batch, n, vocabulary] of ids [batch, n], read in pieces (None: at once)."""
    ids, out = torch.as_tensor(ids), []
    with torch.no_grad():
        for piece in pieces or [slice(0, ids.shape[1])]:
            options = {} if mask is None else {"attention_mask": torch.as_tensor(mask)[:, : piece.stop]}
            options["position_ids"] = torch.arange(piece.start, piece.stop)[None].expand(ids.shape[0], -1)
            if mask is not None:
                options["position_ids"] = (options["position_ids"] - padding_of(mask)).clamp(min=0)
            out.append(model(ids[:, piece], **{NAME: cache}, use_cache=True, **options).logits)
    return torch.cat(out, dim=1).numpy()


def padding_of(mask: Any) -> Any:
    return (torch.as_tensor(mask) == 0).sum(dim=1, keepdim=True)


def one_by_one(n: int) -> list[slice]:
    return [slice(i, i + 1) for i in range(n)]


def off_each(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Relative error of the logits at each position."""
    return np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)


def off(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def exact(model: Any) -> np.ndarray:
    return run(model, transformers.DynamicCache(), IDS[None])


def test_an_exact_cache_changes_nothing(model: Any, exact: np.ndarray) -> None:
    for pieces in (None, one_by_one(N), [slice(0, 200), slice(200, N)]):
        # The same sums in f32, in another order at most: 15 a layer of up to 600 terms, 15 * 600 * 6e-8.
        assert off(run(model, SpectralCache(model.config, "f32", "f32"), IDS[None], pieces), exact) < 5e-4
        # f16 keys and values: each off by 2^-11 at most.
        assert off(run(model, SpectralCache(model.config, "f16", "f16"), IDS[None], pieces), exact) < 5e-3


@pytest.mark.parametrize("spec", [DECODED, "q4_0"])
def test_pieces_that_end_where_blocks_seal_are_decoding(model: Any, exact: np.ndarray, spec: str) -> None:
    tokens = run(model, SpectralCache(model.config, spec, spec), IDS[None], one_by_one(N))
    cache = SpectralCache(model.config, spec, spec)
    pieces = list(cache.pieces(N))
    # Blocks of 64 seal at 50 + 64 and so on, those of 128 as they are full.
    assert [piece.stop for piece in pieces] == ([114, 178, 242, N] if spec == DECODED else [128, 256, N])
    assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
    # Sums in another order differ in the last bit, which turns a code of a block here or there; a query that read a
    # block as sealed or not, other than it should, would be as far off as the exact cache is.
    unlike = float(off_each(tokens, exact)[0, 150:].mean())
    assert off_each(run(model, cache, IDS[None], pieces), tokens).max() < unlike / 3
    # What pieces gives in the middle of a sequence goes on from there.
    again = SpectralCache(model.config, spec, spec)
    first = run(model, again, IDS[None, :70], list(again.pieces(70)))
    rest = [slice(piece.start + 70, piece.stop + 70) for piece in again.pieces(N - 70)]
    again_tokens = np.concatenate([first, run(model, again, IDS[None], rest)], axis=1)
    assert off_each(again_tokens, tokens).max() < unlike / 3


@pytest.mark.parametrize("spec", LOSSY)
def test_equals_the_engine(model: Any, exact: np.ndarray, spec: str, tmp_path_factory: Any) -> None:
    """The engine reads compressed blocks in 8-bit arithmetic; it is far nearer to the bridge than to an exact cache."""
    path = str(write_tiny_model(tmp_path_factory.mktemp("hf") / "tiny.gguf", SHAPE))
    options = {"logits_all": True, "verbose": False, "activations": "f32", "type_k": spec, "type_v": spec}
    with Llama(path, n_ctx=1024, kv_calibration="none", **options) as llama:
        llama.eval([int(i) for i in IDS])
        engine = np.array(llama.scores)
        held = llama.cache_report()
    cache = SpectralCache(model.config, spec, spec)
    bridge = run(model, cache, IDS[None], list(cache.pieces(N)))[0]
    unlike = off(exact[0], engine)
    assert off(bridge, engine) < unlike / 5
    if spec.startswith("turboquant"):  # its rotation is another one where the keys' dimensions stand as they come
        other = SpectralCache(model.config, spec, spec, pairs=False)
        assert off(run(model, other, IDS[None], list(other.pieces(N)))[0], engine) > off(bridge, engine)
    ours = cache.report()
    for side in "kv":
        assert ours[side]["codec"] == held[side]["codec"]
        assert ours[side]["sealed_entries"] == held[side]["sealed_entries"]
        assert ours[side]["honest_bits"] == pytest.approx(held[side]["honest_bits"], rel=0.02)
    assert ours["n_tokens"] == held["n_tokens"] == N


def test_a_calibration_is_the_engines(model: Any, exact: np.ndarray, tmp_path: Any) -> None:
    path, text, calibration = (str(tmp_path / name) for name in ("tiny.gguf", "text.txt", "calibration.gguf"))
    write_tiny_model(path, SHAPE)
    (tmp_path / "text.txt").write_text("the hello on a line in the end of it all " * 40)
    command = [sys.executable, "-m", "spectralkv.cli", "calibrate", "-m", path, "-f", text, "-o", calibration]
    subprocess.run(command, check=True, capture_output=True)
    spec = "eoptshrinkq:2.5"
    options = {"logits_all": True, "verbose": False, "activations": "f32", "type_k": spec, "type_v": spec}
    with Llama(path, n_ctx=1024, kv_calibration=calibration, **options) as llama:
        llama.eval([int(i) for i in IDS])
        engine, held = np.array(llama.scores), llama.cache_report()
    cache = SpectralCache(model.config, spec, spec, calibration=calibration)
    bridge = run(model, cache, IDS[None], list(cache.pieces(N)))[0]
    other = SpectralCache(model.config, spec, spec)
    without = run(model, other, IDS[None], list(other.pieces(N)))[0]
    assert off(bridge, engine) < min(off(exact[0], engine), off(without, engine)) / 5
    for side in "kv":
        assert cache.report()[side]["honest_bits"] == pytest.approx(held[side]["honest_bits"], rel=0.02)
    twin = copy.deepcopy(cache)
    for layer, its in zip(cache.layers, twin.layers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(layer.read(), its.read(), strict=True))
    with pytest.raises(ValueError, match="in pairs"):
        SpectralCache(model.config, calibration=calibration, pairs=False)
    with pytest.raises(ValueError, match="calibration is of another model"):
        SpectralCache(hf_llama(dataclasses.replace(SHAPE, n_layers=3)).config, calibration=calibration)


def test_a_prompt_in_one_call_is_read_exactly_and_then_compressed(model: Any, exact: np.ndarray) -> None:
    cache = SpectralCache(model.config)
    assert off(run(model, cache, IDS[None, :290]), exact[:, :290]) < 5e-3
    later = run(model, cache, IDS[None], [slice(290, N)])
    assert 2e-3 < off(later, exact[:, 290:]) < 0.7
    report = cache.report()
    assert report["n_layers"] == 2 and report["n_sequences"] == 1 and report["n_tokens"] == N
    assert report["bits_per_entry"] > report["k"]["honest_bits"] > report["k"]["paper_bits"] >= 2


def test_padded_rows_are_as_alone(model: Any) -> None:
    short = IDS[30:]
    batch = np.stack([IDS, np.concatenate([np.zeros(30, dtype=IDS.dtype), short])])
    mask = np.ones((2, N), dtype=np.int64)
    mask[1, :30] = 0
    cache = SpectralCache(model.config, attention_mask=mask)
    together = run(model, cache, batch, list(cache.pieces(N)), mask)
    for row, ids in enumerate([IDS, short]):
        alone = SpectralCache(model.config)
        expected = run(model, alone, ids[None], list(alone.pieces(len(ids))))
        assert off(together[row, N - len(ids) :], expected[0]) < 5e-4
    assert cache.report()["n_tokens"] == 2 * N - 30


def test_generate_greedy_beams_and_chunks(model: Any) -> None:
    prompt = torch.as_tensor(IDS[None, :280])
    options = {
        "attention_mask": torch.ones_like(prompt),
        "max_new_tokens": 12,
        "do_sample": False,
        "pad_token_id": 0,
        "eos_token_id": 310,
    }

    def generate(cache: Any, **more: Any) -> list[int]:
        return model.generate(prompt, **{NAME: cache}, **options, **more)[0, 280:].tolist()

    for more in ({}, {"num_beams": 3}):
        assert generate(SpectralCache(model.config, "f32", "f32"), **more) == generate(
            transformers.DynamicCache(), **more
        )
    lossy = SpectralCache(model.config)
    chunked = generate(lossy, prefill_chunk_size=128)
    by_hand = SpectralCache(model.config)
    run(model, by_hand, IDS[None, :279], one_by_one(279))
    tokens = [int(IDS[279])]
    for position in range(279, 291):
        ids = np.array([[0] * position + tokens[-1:]])
        tokens.append(int(run(model, by_hand, ids, [slice(position, position + 1)])[0, -1].argmax()))
    assert chunked == tokens[1:]


def test_beams_follow_their_sequences(model: Any) -> None:
    cache = SpectralCache(model.config)
    run(model, cache, np.stack([IDS, IDS[::-1]]))
    expected = [layer.read() for layer in cache.layers]
    cache.reorder_cache(torch.tensor([1, 1]))
    for layer, before in zip(cache.layers, expected, strict=True):
        for now, was in zip(layer.read(), before, strict=True):
            assert torch.equal(now, was[[1, 1]])
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([True, False, True, True]))
    assert cache.layers[0].read()[0].shape[0] == 3
    twin = copy.deepcopy(cache)
    run(model, twin, np.repeat(IDS[None], 3, axis=0), [slice(0, 5)])
    assert (twin.get_seq_length(), cache.get_seq_length()) == (N + 5, N)
    twin.reset()
    assert twin.get_seq_length() == 0 and twin.report()["bytes"] == 0
    run(model, twin, IDS[None, :10])  # another batch size


def test_crop(model: Any, exact: np.ndarray) -> None:
    cache = SpectralCache(model.config, "eoptshrinkq:2,window=0", "f16")
    run(model, cache, IDS[None])
    cache.crop(-30)
    assert cache.get_seq_length() == 270
    for layer in cache.layers:
        assert layer.read()[0].shape[2] == 270
    with pytest.raises(ValueError, match="cannot go back to 250 positions.*nearest length below is 128"):
        cache.crop(-20)
    assert cache.get_seq_length() == 270  # in all layers
    cache.crop(-270)
    assert off(run(model, cache, IDS[None]), exact) < 5e-3


@pytest.mark.skipif(not hasattr(transformers.Cache, "is_croppable"), reason="this version of transformers does not ask")
def test_assisted_decoding_is_refused(model: Any) -> None:
    options = {NAME: SpectralCache(model.config), "attention_mask": torch.ones(1, N), "max_new_tokens": 5}
    with pytest.raises(ValueError, match="crop"):
        model.generate(torch.as_tensor(IDS[None]), assistant_model=model, pad_token_id=0, **options)


def test_other_types_and_devices_of_tensors(model: Any) -> None:
    cache = SpectralCache(model.config)
    k, v = torch.randn(1, 2, 50, 32, dtype=torch.bfloat16), torch.randn(1, 2, 50, 32, dtype=torch.bfloat16)
    k.requires_grad_()
    dense_k, dense_v = cache.update(k, v, 0)
    assert dense_k.dtype == torch.bfloat16 and torch.equal(dense_v, v)  # bf16 of this size survives f16
    assert not dense_k.requires_grad


def test_a_model_with_a_sliding_window() -> None:
    config = transformers.MistralConfig(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=50, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.MistralForCausalLM(config).eval()
    expected = run(model, transformers.DynamicCache(config=config), IDS[None, :100], one_by_one(100))
    got = run(model, SpectralCache(config, "f32", "f32"), IDS[None, :100], one_by_one(100))
    assert off(got, expected) < 5e-4


def test_refusals(model: Any) -> None:
    with pytest.raises(ValueError, match="there is no 'eoptshrink'"):
        SpectralCache(model.config, "eoptshrink:2")
    with pytest.raises(ValueError, match="not within 0 to 1"):
        SpectralCache(model.config, "f16;layers 2=f32")
    config = copy.deepcopy(model.config)
    config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ValueError, match="layer 1 of the model is 'linear_attention'"):
        SpectralCache(config)
    with pytest.raises(ValueError, match="row 1 of the attention mask is 0 behind a 1: pad on the left"):
        SpectralCache(model.config, attention_mask=torch.tensor([[0, 1, 1], [1, 1, 0]]))
    cache = SpectralCache(model.config, attention_mask=torch.ones(2, 5))
    with pytest.raises(ValueError, match="the attention mask has 2 rows, the batch 1"):
        run(model, cache, IDS[None, :5])
    k = torch.zeros(1, 2, 3, 32)
    with pytest.raises(ValueError, match="keys and values of one shape"):
        SpectralCache(model.config).update(k, torch.zeros(1, 2, 3, 16), 0)
    with pytest.raises(ValueError, match="layer 1, KV head 0: the key of token 2 holds nan"):
        SpectralCache(model.config).update(torch.where(torch.arange(3)[:, None] == 2, torch.nan, k), k, 1)
