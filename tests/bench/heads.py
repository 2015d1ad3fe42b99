"""Whether a calibration does harm to any head on any text: `spectralkv fidelity` with it and without, head by head.

    python tests/bench/heads.py TEXT... [-m MODEL] [--cache TYPE]... [-c N] [--most RATIO] [--json FILE]

For each text and KV head: the error of attention's output (K and V decoded together), and that of logits, in units of
what they are without the calibration (of the first cache type). Shows the spread and the worst heads of each text;
exits with 1 where a head's attention is worse by more than --most. With bits by head some heads give bits away, so that
this is no sign of a bad calibration: `--cache eoptshrinkq:2,allot=even` judges its metric and rows at equal bits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

SHOWN = 3  # of the worst heads of a text
Errors = dict[tuple[int, int], dict[str, Any]]


def measure(options: argparse.Namespace, text: Path, cache: str, calibration: str) -> Errors:
    """Of each layer and KV head: what attention's output and logits are off by, and its bits."""
    command = [sys.executable, "-m", "spectralkv.cli", "fidelity", *(["-m", options.model] if options.model else [])]
    command += ["-f", str(text), "-c", str(options.context), "-ctk", cache, "-ctv", cache, "--json", "-"]
    command += ["--kv-calibration", calibration, "--log-disable"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{text}: {done.stderr.strip()}")
    found: Errors = {}
    for layer in json.loads(done.stdout)["layers"]:
        for h, attention in enumerate(layer["attention_error_heads"]):
            k, v = layer["k"]["heads"][h], layer["v"]["heads"][h]
            bits = f"{k['residual_bits']:.0f}/{v['residual_bits']:.0f}"
            found[layer["layer"], h] = {"attention": attention, "logits": k["ip_error"], "bits": bits}
    return found


def compare(without: Errors, given: Errors, text: Path, cache: str) -> list[dict[str, Any]]:
    """A row for each head, the worst first."""
    rows = []
    for (layer, head), was in without.items():
        now = given[layer, head]
        row = {"text": str(text), "cache": cache, "layer": layer, "head": head, "bits": now["bits"]}
        for kind in ("attention", "logits"):
            row |= {f"{kind}_without": was[kind], kind: now[kind], f"{kind}_ratio": now[kind] / max(was[kind], 1e-30)}
        rows.append(row)
    return sorted(rows, key=lambda row: -row["attention_ratio"])


def show(rows: list[dict[str, Any]], most: float) -> None:
    ratios, logits = ([row[f"{kind}_ratio"] for row in rows] for kind in ("attention", "logits"))
    mean = sum(row["attention"] for row in rows) / sum(row["attention_without"] for row in rows)
    beyond = sum(ratio > most for ratio in ratios)
    print(
        f"{rows[0]['text']}, {rows[0]['cache']}: {len(rows)} heads; error of attention in units of that without: "
        f"of the mean {mean:.2f}, median {median(ratios):.2f}, {beyond} heads above {most:g}; "
        f"of logits: geometric mean {geometric_mean(logits):.2f}, worst {max(logits):.2f}"
    )
    for row in rows[:SHOWN]:
        print(
            f"  layer {row['layer']:2}, head {row['head']}: {row['attention_without']:.5f} -> {row['attention']:.5f} "
            f"({row['attention_ratio']:.2f}), logits {row['logits_ratio']:.2f}, bits K/V {row['bits']}"
        )
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("texts", type=Path, nargs="+", metavar="TEXT")
    add("-m", "--model", metavar="PATH", help="a GGUF file (default: the demo model)")
    add("--cache", action="append", metavar="TYPE", help="again for another one (default: eoptshrinkq:2)")
    add("--calibration", default="auto", metavar="SOURCE", help="auto, or a file")
    add("-c", "--context", type=int, default=1024, metavar="N", help="tokens of each text (default: 1024)")
    add("--most", type=float, default=1.1, metavar="RATIO", help="that a head's error may grow to (default: 1.1)")
    add("--json", type=Path, metavar="FILE", help="all heads")
    options = parser.parse_args()
    caches, every = options.cache or ["eoptshrinkq:2"], []
    for text in options.texts:
        without = measure(options, text, caches[0], "none")
        for cache in caches:
            rows = compare(without, measure(options, text, cache, options.calibration), text, cache)
            show(rows, options.most)
            every += rows
    if options.json:
        options.json.write_text(json.dumps(every) + "\n")
    worst = max(every, key=lambda row: row["attention_ratio"])
    within = worst["attention_ratio"] <= options.most
    print(
        f"{'within' if within else 'beyond'} {options.most:g}: worst {worst['attention_ratio']:.2f}, {worst['cache']}, "
        f"layer {worst['layer']}, head {worst['head']}, {worst['text']}"
    )
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
