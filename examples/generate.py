"""Continues a text, piece by piece: generate.py [-m MODEL] [-n TOKENS] PROMPT"""

import argparse

from spectralkv import Llama, pull

parser = argparse.ArgumentParser(description="Continues a text.")
parser.add_argument("prompt", nargs="?", default="Once upon a time")
parser.add_argument("-m", "--model", help="a GGUF file (default: the demo model)")
parser.add_argument("-n", "--max-tokens", type=int, default=64)
parser.add_argument("--cache-type", default="default", help="of keys and values, such as f16 or eoptshrinkq:2")
options = parser.parse_args()

with Llama(
    options.model or pull(), n_ctx=2048, type_k=options.cache_type, type_v=options.cache_type, verbose=False
) as llama:
    print(options.prompt, end="", flush=True)
    for chunk in llama(options.prompt, max_tokens=options.max_tokens, stream=True, seed=1):
        print(chunk["choices"][0]["text"], end="", flush=True)
    print()
