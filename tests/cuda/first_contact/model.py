"""Writes a GGUF file of random Q8_0 weights in the shape of Llama 3.1 8B with numpy alone: model.py FILE [LAYERS]."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

LAYERS, EMBD, HEADS, KV, DIM, FF, VOCAB, CONTEXT = 32, 4096, 32, 8, 128, 14336, 128256, 131072
U32, F32, STRING, ARRAY, Q8_0 = 4, 6, 8, 9, 8
DISTINCT = 257  # rows, then they repeat


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def strings(values: list[str]) -> bytes:
    return struct.pack("<IIQ", ARRAY, STRING, len(values)) + b"".join(map(text, values))


def entries(layers: int) -> list[bytes]:
    numbers = {"block_count": layers, "context_length": CONTEXT, "embedding_length": EMBD, "feed_forward_length": FF}
    numbers |= {"attention.head_count": HEADS, "attention.head_count_kv": KV, "attention.key_length": DIM}
    numbers |= {"attention.value_length": DIM, "rope.dimension_count": DIM, "vocab_size": VOCAB}
    out = [text("general.architecture") + struct.pack("<I", STRING) + text("llama")]
    out += [text(f"llama.{key}") + struct.pack("<II", U32, value) for key, value in numbers.items()]
    out.append(text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", F32, 1e-5))
    out.append(text("llama.rope.freq_base") + struct.pack("<If", F32, 500000.0))
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    tokens = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))] + ["ab"]
    tokens += [f"<|filler {i}|>" for i in range(VOCAB - len(tokens))]
    out.append(text("tokenizer.ggml.model") + struct.pack("<I", STRING) + text("gpt2"))
    out.append(text("tokenizer.ggml.pre") + struct.pack("<I", STRING) + text("gpt-2"))
    out.append(text("tokenizer.ggml.tokens") + strings(tokens))
    out.append(
        text("tokenizer.ggml.token_type") + struct.pack("<IIQ", ARRAY, 5, VOCAB) + np.ones(VOCAB, "<i4").tobytes()
    )
    out.append(text("tokenizer.ggml.merges") + strings(["a b"]))
    out += [
        text(f"tokenizer.ggml.{n}_token_id") + struct.pack("<II", U32, VOCAB - i) for n, i in (("bos", 2), ("eos", 1))
    ]
    return out


def tensors(layers: int) -> dict[str, tuple[int, ...]]:  # row length last
    q, kv = HEADS * DIM, KV * DIM
    out: dict[str, tuple[int, ...]] = {"token_embd": (VOCAB, EMBD), "output_norm": (EMBD,), "output": (VOCAB, EMBD)}
    layer = {
        "attn_norm": (EMBD,),
        "attn_q": (q, EMBD),
        "attn_k": (kv, EMBD),
        "attn_v": (kv, EMBD),
        "attn_output": (EMBD, q),
    }
    layer |= {"ffn_norm": (EMBD,), "ffn_gate": (FF, EMBD), "ffn_up": (FF, EMBD), "ffn_down": (EMBD, FF)}
    return out | {f"blk.{i}.{name}": shape for i in range(layers) for name, shape in layer.items()}


def rows_of(cols: int, seed: int) -> np.ndarray:  # uint8 [DISTINCT, bytes of a row]
    block = np.zeros((DISTINCT, cols // 32), np.dtype([("d", "<f2"), ("q", "i1", 32)]))
    block["q"] = np.clip(
        np.random.default_rng(seed).standard_normal((DISTINCT, cols // 32, 32), np.float32) * 36, -127, 127
    )
    block["d"] = cols**-0.5 / 36
    return block.view(np.uint8).reshape(DISTINCT, -1)


def main() -> None:
    layers = int(sys.argv[2]) if len(sys.argv) > 2 else LAYERS
    table, at, plan = b"", 0, []
    for name, shape in tensors(layers).items():
        size = 4 * shape[0] if len(shape) == 1 else shape[0] * shape[1] // 32 * 34
        kind = 0 if len(shape) == 1 else Q8_0
        table += text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, at)
        plan.append((shape, size))
        at += (size + 31) // 32 * 32
    pairs = entries(layers)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(plan), len(pairs)) + b"".join(pairs) + table
    with Path(sys.argv[1]).open("wb", buffering=0) as out:
        out.write(head + bytes(-len(head) % 32))
        for number, (shape, size) in enumerate(plan):
            if len(shape) == 1:
                out.write(np.ones(shape, "<f4").tobytes())
            else:
                some = rows_of(shape[1], number)
                for _ in range(shape[0] // DISTINCT):
                    out.write(some.data)
                out.write(some[: shape[0] % DISTINCT].tobytes())
            out.write(bytes(-size % 32))
    print(f"{sys.argv[1]}: {layers} layers, {at / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
