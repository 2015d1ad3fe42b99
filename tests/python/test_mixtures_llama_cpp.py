"""The type of every tensor beside llama.cpp's llama_model_quantize, for all mixtures, where it is (conftest.py)."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter

from spectralkv import _core
from spectralkv.importance import Importance
from spectralkv.mixtures import FLOATS, QUANTIZATIONS
from spectralkv.quantize import QuantizeOptions, plan_quantization


@dataclass(frozen=True)
class Shape:
    """A llama whose matrices have two rows: only row lengths and names matter here."""

    n_layers: int = 9
    n_embd: int = 256
    n_ff: int = 512
    n_heads: int = 8
    n_kv_heads: int = 2
    tied: bool = False
    n_experts: int = 0

    def write(self, path: Path) -> None:
        writer = GGUFWriter(path, "llama")
        writer.add_block_count(self.n_layers)
        writer.add_context_length(64)
        writer.add_embedding_length(self.n_embd)
        writer.add_feed_forward_length(self.n_ff)
        writer.add_head_count(self.n_heads)
        writer.add_head_count_kv(self.n_kv_heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(320)
        writer.add_tokenizer_model("no_vocab")
        if self.n_experts:
            writer.add_expert_count(self.n_experts)
            writer.add_expert_used_count(2)
        random = np.random.default_rng(0)

        def add(name: str, *shape: int) -> None:
            writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(np.float32))

        add("token_embd", 2, self.n_embd)
        add("output_norm", self.n_embd)
        if not self.tied:
            add("output", 2, self.n_embd)
        for i in range(self.n_layers):
            layer = f"blk.{i}."
            for name in ("attn_norm", "ffn_norm"):
                add(layer + name, self.n_embd)
            for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
                add(layer + name, 2, self.n_embd)
            experts = [self.n_experts] if self.n_experts else []
            end = "_exps" if self.n_experts else ""
            if self.n_experts:
                add(layer + "ffn_gate_inp", self.n_experts, self.n_embd)
            for name, cols in (("ffn_gate", self.n_embd), ("ffn_up", self.n_embd), ("ffn_down", self.n_ff)):
                add(layer + name + end, *experts, 2, cols)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


SHAPES = {
    "grouped": Shape(n_layers=17),
    "multi_head": Shape(n_layers=16, n_kv_heads=8),
    "tied": Shape(tied=True),
    "narrow": Shape(n_embd=96, n_ff=288),
    "narrow_feed_forward": Shape(n_ff=288),
    "narrow_tied": Shape(n_embd=96, n_ff=160, tied=True),
    "odd": Shape(n_layers=3, n_embd=72, n_ff=144),
    "experts": Shape(n_experts=8),
    "few_experts": Shape(n_experts=4, n_kv_heads=4),
    "eighty_layers": Shape(n_layers=80, n_ff=256),
}


def options_of(kind: str) -> dict[str, tuple[QuantizeOptions, dict[str, Any]]]:
    """By name: ours, and llama.cpp's fields."""
    number = _core.weight_types()[kind][0]
    quiet = QuantizeOptions(quiet=True)
    return {
        "": (quiet, {}),
        "pure": (replace(quiet, pure=True), {"pure": True}),
        "leave": (replace(quiet, leave_output=True), {"quantize_output_tensor": False}),
        "output": (replace(quiet, output_type=kind), {"output_tensor_type": number}),
        "embedding": (replace(quiet, embedding_type=kind), {"token_embedding_type": number}),
        "both": (
            replace(quiet, pure=True, output_type="f16", embedding_type=kind),
            {"pure": True, "output_tensor_type": 1, "token_embedding_type": number},
        ),
    }


@pytest.mark.parametrize("name", SHAPES)
def test_every_tensor_has_llama_cpps_type(
    name: str, llama_cpp_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    SHAPES[name].write(path)
    cases = [(q, "", importance) for q in QUANTIZATIONS for importance in (False, True)]
    cases += [(q, key, False) for q in ("Q4_K_M", "Q3_K_L", "IQ4_XS") for key in options_of("q8_0") if key]
    jobs = [
        {
            "model": str(path),
            "file_type": QUANTIZATIONS[quantization][1],
            "importance": importance,
            "options": options_of("q8_0")[key][1],
        }
        for quantization, key, importance in cases
    ]
    script = Path(__file__).resolve().parents[1] / "support" / "llama_cpp_quantize.py"
    out = tmp_path / "types.json"
    subprocess.run(
        [llama_cpp_python, str(script), str(out)], input=json.dumps(jobs), text=True, check=True, capture_output=True
    )
    monkeypatch.setattr("spectralkv.quantize.read_importance", lambda path: Importance(Path(path), {}))
    compared = 0
    for (quantization, key, importance), theirs in zip(cases, json.loads(out.read_text()), strict=True):
        if theirs is None:  # Q2_K_S without an importance matrix; a type that does not fit where it was asked for
            continue
        options = options_of("q8_0")[key][0]
        if importance:
            options = replace(options, importance="any")
        plan = plan_quantization(path, quantization, options)
        assert {t.name: t.new_type for t in plan.tensors} == theirs, (quantization, key, importance)
        compared += 1
    assert compared > len(FLOATS) + 20
