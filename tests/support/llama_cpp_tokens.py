"""llama.cpp's tokens for the tests, in an interpreter that has llama-cpp-python: `python llama_cpp_tokens.py`.

Reads one JSON object: vocabularies (paths of GGUF files, whose weights are not read), texts, special (whether special
tokens written in a text are read), out. Writes to the .npz file named by `out`, for each vocabulary, the tokens of all
texts behind each other, BOS and EOS as llama.cpp adds them, and where each text's end: ids0, ends0, ... A vocabulary
that llama.cpp refuses has neither.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np


def main() -> None:
    import llama_cpp

    given = json.load(sys.stdin)
    arrays: dict[str, Any] = {}
    for i, path in enumerate(given["vocabularies"]):
        try:
            model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
        except ValueError:
            continue
        tokens = [model.tokenize(text.encode(), add_bos=True, special=given["special"]) for text in given["texts"]]
        arrays[f"ids{i}"] = np.array([token for ids in tokens for token in ids], np.int32)
        arrays[f"ends{i}"] = np.cumsum([len(ids) for ids in tokens])
        model.close()
    np.savez(given["out"], **arrays)


if __name__ == "__main__":
    main()
