"""The command `spectralkv eval memory`: the bytes that each cache holds as a text is read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectralkv import _core
from spectralkv.evaluate.cache_types import CacheType
from spectralkv.evaluate.options import add_shared_options, given_caches, load_engine, number_list
from spectralkv.evaluate.texts import read_text

ABOUT = """
Reads a text through each cache and shows what the cache holds at each context: MiB, everything counted (sealed blocks,
sinks and tail as they are allocated, for keys and values), and the bits that this is per entry. Reading ends with the
text.
"""


def measure_memory(engine: _core.Engine, cache: CacheType, tokens: Sequence[int], contexts: Sequence[int]) -> Any:
    """[{"tokens", "bytes", "bits"}] of a cache as it reads the tokens. bits: of all bytes, per entry."""
    session = _core.Session(engine, n_ctx=contexts[-1], type_k=cache.k, type_v=cache.v)
    rows = []
    for start, end in zip((0, *contexts), contexts, strict=False):
        session.eval(tokens[start:end])
        report = session.cache_report()
        entries = 2 * report["n_layers"] * report["n_kv_heads"] * report["head_dim"] * end
        rows.append({"tokens": end, "bytes": report["bytes"], "bits": 8 * report["bytes"] / entries})
    return rows


def memory_table(result: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each cache, a column for each context."""
    contexts = [row["tokens"] for row in result[0]["rows"]]
    lines = ["| cache | " + " | ".join(f"{n} tokens" for n in contexts) + " |", "|---|" + "---|" * len(contexts)]
    for entry in result:
        cells = [f"{row['bytes'] / 2**20:.2f} MiB ({row['bits']:.2f} bits)" for row in entry["rows"]]
        lines.append(f"| {entry['cache']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectralkv eval memory", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-f", "--file", type=Path, required=True, metavar="PATH", help="the text, in UTF-8")
    contexts = [512, 1024, 2048, 4096]
    add(
        "--contexts",
        type=number_list(1, 1 << 24),
        default=contexts,
        metavar="N,...",
        help="tokens read (default: 512,1024,2048,4096)",
    )
    add("--json", action="store_true", help="print JSON in place of the table")
    add_shared_options(parser)
    return parser


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(args)
    text = read_text(options.file).encode()
    engine = load_engine(options)
    tokens = engine.tokenizer.encode_prompt(text, False)
    limit = min(len(tokens), engine.config["context_length"])
    contexts = [n for n in options.contexts if n <= limit]
    if not contexts:
        raise ValueError(
            f"[eval] the text has {len(tokens)} tokens and the model {engine.config['context_length']} of context; "
            f"--contexts begins at {options.contexts[0]}"
        )
    result = [
        {"cache": cache.name, "rows": measure_memory(engine, cache, tokens, contexts)}
        for cache in given_caches(options)
    ]
    print(json.dumps(result, indent=1) if options.json else memory_table(result))
    return 0
