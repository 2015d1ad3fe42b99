"""llama.cpp for the tests, in an interpreter that has llama-cpp-python: `python llama_cpp_side.py`.

Reads one JSON object: models (paths), prompt (ids), n (tokens to generate), cache ("f32" or "f16"), texts. Writes to
each model a greedy continuation as ids and the logits that it came from, [n, n_vocab] float32, into the .npz file named
by `out`, as ids0, logits0, ... Nothing samples and nothing ends a generation. Where texts are given, writes in place of
that what the first model's tokenizer makes of each, special tokens read, no BOS in front: tokens0, ...
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import numpy as np


def greedy(path: str, prompt: list[int], n: int, cache: str) -> tuple[list[int], Any]:
    import llama_cpp

    kind = {"f32": 0, "f16": 1}[cache]
    options: dict[str, Any] = {"n_ctx": len(prompt) + n + 1, "type_k": kind, "type_v": kind, "flash_attn": False}
    model = llama_cpp.Llama(path, n_threads=1, n_threads_batch=1, verbose=False, **options)
    ids, logits, fed = list[int](), [], prompt
    for _ in range(n):
        tokens = (ctypes.c_int32 * len(fed))(*fed)
        if llama_cpp.llama_decode(model.ctx, llama_cpp.llama_batch_get_one(tokens, len(fed))) != 0:
            sys.exit(f"llama_decode failed for {path}")
        logits.append(
            np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(model.ctx, -1), (model.n_vocab(),)).astype(np.float32)
        )
        ids.append(int(logits[-1].argmax()))
        fed = ids[-1:]
    model.close()
    return ids, np.array(logits)


def tokens(path: str, texts: list[str]) -> list[list[int]]:
    import llama_cpp

    model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    ids = [model.tokenize(text.encode(), add_bos=False, special=True) for text in texts]
    model.close()
    return ids


def reads(path: str, sequences: list[list[int]]) -> list[Any]:
    import llama_cpp

    longest = max(map(len, sequences))
    model = llama_cpp.Llama(path, n_ctx=longest, logits_all=True, n_threads=1, flash_attn=False, verbose=False)
    logits = []
    for ids in sequences:
        model.reset()
        model.eval(ids)
        logits.append(np.array(model.scores[: len(ids)], np.float32))
    model.close()
    return logits


def main() -> None:
    given = json.load(sys.stdin)
    arrays: dict[str, Any] = {}
    if texts := given.get("texts"):
        arrays = {f"tokens{i}": ids for i, ids in enumerate(tokens(given["models"][0], texts))}
    elif sequences := given.get("reads"):
        arrays = {f"logits{i}": rows for i, rows in enumerate(reads(given["models"][0], sequences))}
    else:
        for i, path in enumerate(given["models"]):
            continuation = greedy(path, given["prompt"], given["n"], given.get("cache", "f32"))
            arrays[f"ids{i}"], arrays[f"logits{i}"] = continuation
    np.savez(given["out"], **arrays)


if __name__ == "__main__":
    main()
