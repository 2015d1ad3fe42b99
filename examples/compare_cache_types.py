"""A cache type beside another on a text: compare_cache_types.py [-m MODEL] [TYPE] [BASE] [--text FILE]

Memory in bytes, perplexity, and the Kullback-Leibler divergence of TYPE's next-token probabilities from BASE's. The
tokens are read one by one: what a query meets then is what it meets while a model answers. `spectralkv perplexity` has
more.
"""

import argparse
from pathlib import Path

import numpy as np

from spectralkv import Llama, pull

parser = argparse.ArgumentParser(description="A cache type beside another.")
parser.add_argument("type", nargs="?", default="eoptshrinkq:2")
parser.add_argument("base", nargs="?", default="f16")
parser.add_argument("-m", "--model", help="a GGUF file (default: the demo model)")
parser.add_argument("-n", "--tokens", type=int, default=512, help="how much of the text is read, at most")
parser.add_argument("--text", type=Path, default=Path(__file__).parent.parent / "docs" / "method.md")
options = parser.parse_args()


def read(cache_type: str) -> tuple[list[int], np.ndarray, int]:
    """Tokens, log-probabilities [tokens, vocabulary] and bytes of the cache."""
    with Llama(
        options.model or pull(),
        n_ctx=options.tokens,
        type_k=cache_type,
        type_v=cache_type,
        logits_all=True,
        verbose=False,
    ) as llama:
        tokens = llama.tokenize(options.text.read_bytes())[: options.tokens]
        for token in tokens:
            llama.eval([token])
        logits, report = llama.scores, llama.cache_report()
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return tokens, logits, report["bytes"]


def perplexity(tokens: list[int], logprobs: np.ndarray) -> float:
    return float(np.exp(-np.mean([row[token] for row, token in zip(logprobs[:-1], tokens[1:], strict=True)])))


tokens, base, base_bytes = read(options.base)
_, other, other_bytes = read(options.type)
kl = (np.exp(base) * (base - other)).sum(axis=1, dtype=np.float64)
same = (base.argmax(axis=1) == other.argmax(axis=1)).mean()
print(f"{len(tokens)} tokens of {options.text.name}")
print(f"{'cache type':32} {'KiB':>10} {'perplexity':>12}")
print(f"{options.base:32} {base_bytes / 1024:10.0f} {perplexity(tokens, base):12.4f}")
print(f"{options.type:32} {other_bytes / 1024:10.0f} {perplexity(tokens, other):12.4f}")
print(f"divergence from {options.base}: {kl.mean():.5f}; the same most probable token at {100 * same:.1f} %")
