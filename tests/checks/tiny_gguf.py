"""Writes a model of a few kilobytes, for checks of the program that need some model: tiny_gguf.py FILE. No packages."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

LAYERS, EMBD, HEADS, FF, VOCAB = 1, 64, 1, 64, 8
U32, F32, STRING, ARRAY = 4, 6, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def entries() -> list[bytes]:
    numbers = {"block_count": LAYERS, "embedding_length": EMBD, "context_length": 64, "feed_forward_length": FF}
    numbers |= {"attention.head_count": HEADS, "attention.head_count_kv": HEADS}
    out = [text("general.architecture") + struct.pack("<I", STRING) + text("llama")]
    out += [text(f"llama.{key}") + struct.pack("<II", U32, value) for key, value in numbers.items()]
    out.append(text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", F32, 1e-5))
    out.append(text("tokenizer.ggml.model") + struct.pack("<I", STRING) + text("llama"))
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "c", "d", "e"]
    head = struct.pack("<IIQ", ARRAY, STRING, VOCAB)
    out.append(text("tokenizer.ggml.tokens") + head + b"".join(text(token) for token in tokens))
    types = struct.pack("<IIQ8i", ARRAY, 5, VOCAB, 2, 3, 3, 1, 1, 1, 1, 1)
    out.append(text("tokenizer.ggml.token_type") + types)
    out += [
        text(f"tokenizer.ggml.{name}_token_id") + struct.pack("<II", U32, i)
        for i, name in enumerate(("unknown", "bos", "eos"))
    ]
    return out


def tensors() -> dict[str, tuple[int, ...]]:
    """Sizes as GGUF has them, row length first."""
    layer = {
        "attn_norm": (EMBD,),
        "ffn_norm": (EMBD,),
        "ffn_gate": (EMBD, FF),
        "ffn_up": (EMBD, FF),
        "ffn_down": (FF, EMBD),
    }
    layer |= {f"attn_{part}": (EMBD, EMBD) for part in ("q", "k", "v", "output")}
    out: dict[str, tuple[int, ...]] = {"token_embd": (EMBD, VOCAB), "output_norm": (EMBD,)}
    return out | {f"blk.0.{name}": shape for name, shape in layer.items()}


def main() -> None:
    table, data = b"", b""
    for name, shape in tensors().items():
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        table += text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += b"".join(struct.pack("<f", (i * 7 % 13 - 6) / 40) for i in range(n))
    pairs = entries()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors()), len(pairs)) + b"".join(pairs) + table
    Path(sys.argv[1]).write_bytes(head + bytes(-len(head) % 32) + data)


if __name__ == "__main__":
    main()
