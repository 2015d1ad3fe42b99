"""The figures of a report: which commands give them, and what of their output it keeps."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from spectralkv.evaluate.cache_types import CacheType
from spectralkv.evaluate.needle_summary import summarise
from spectralkv.evaluate.report_runs import Runner, shown_command
from spectralkv.evaluate.store import Record, read_results

Data = dict[str, Any]
PARTS = ("kl", "prefix", "needle", "fidelity", "memory", "speed")


def model_args(options: argparse.Namespace) -> list[str]:
    """-m, -hf, -t and --kv-calibration as they were given."""
    return [
        *(["-m", options.model] if options.model else []),
        *(["-hf", options.hf_repo] if options.hf_repo else []),
        *(["-hff", options.hf_file] if options.hf_file else []),
        *(["-t", str(options.threads)] if options.threads else []),
        *(["--kv-calibration", options.kv_calibration] if options.kv_calibration != "auto" else []),
    ]


def type_args(cache: CacheType) -> list[str]:
    return ["-ctk", cache.k, "-ctv", cache.v]


def divergences(options: argparse.Namespace, runner: Runner, caches: Sequence[CacheType], protocol: str) -> list[Data]:
    """Perplexity and divergence from the f16 cache on each text; the prefix protocol reads the first text alone."""
    found = []
    texts = options.text if protocol == "decode" else options.text[:1]
    for text in texts:
        for cache in caches:
            args = ["perplexity", *model_args(options), "-f", str(text), "-c", str(options.context), "--chunks", "1"]
            args += ["--protocol", protocol, "--kl-divergence", *type_args(cache), "--json", "--log-disable"]
            if protocol == "prefix":
                args += ["--prefix", str(options.context - options.context // 8)]
            result = runner.json_of(f"{protocol}-{text.stem}-{cache.file_name}", args)
            if result is not None:
                found.append({"text": text.stem, "cache": cache.name, "command": shown_command(args), "result": result})
    return found


def fidelity(options: argparse.Namespace, runner: Runner, caches: Sequence[CacheType]) -> list[Data]:
    """What each compressed cache does to keys, values and attention on the first text, means over the layers; the
    spectra of the blocks come with the first cache that factors them."""
    found: list[Data] = []
    for cache in caches:
        if cache.exact:
            continue
        args = ["fidelity", *model_args(options), "-f", str(options.text[0]), "-c", str(options.context)]
        args += [*type_args(cache), "--json", "-", "--log-disable"]
        result = runner.json_of(f"fidelity-{cache.file_name}", args)
        if result is None:
            continue
        entry: Data = {"cache": cache.name, "command": shown_command(args), "mean": result["mean"]}
        entry["rank"] = {side: fmean(layer[side]["rank"] for layer in result["layers"]) for side in ("k", "v")}
        if "eoptshrinkq" in cache.name and not any("spectra" in other for other in found):
            entry["spectra"] = _spectra(result)
        found.append(entry)
    return found


def _spectra(result: Mapping[str, Any]) -> Data:
    """What the plot of spectra needs, and no more: one block of three layers; ranks of all."""
    numbers = sorted({0, len(result["layers"]) // 2, len(result["layers"]) - 1})
    layers = []
    for number, layer in enumerate(result["layers"]):
        sides: Data = {"layer": layer["layer"]}
        for side in ("k", "v"):
            heads = [{"rank": head["rank"]} for head in layer[side]["heads"]]
            if number in numbers:
                heads[0]["spectrum"] = layer[side]["heads"][0]["spectrum"]
            sides[side] = {"heads": heads}
        layers.append(sides)
    return {"head_dim": result["head_dim"], "layers": layers}


def memory(options: argparse.Namespace, runner: Runner, caches: Sequence[CacheType]) -> Data | None:
    """Bytes of each cache at several contexts of the first text."""
    args = ["eval", "memory", *model_args(options), "-f", str(options.text[0])]
    args += ["--contexts", ",".join(map(str, options.depths)), *_each(cache.name for cache in caches), "--json"]
    result = runner.json_of("memory", args)
    return None if result is None else {"command": shown_command(args), "result": result}


def speed(options: argparse.Namespace, runner: Runner, caches: Sequence[CacheType]) -> list[Data]:
    """Tokens per second of prompts and of generation, by depth."""
    found = []
    for cache in caches:
        args = ["bench", *model_args(options), "-p", "128", "-n", "32", "-d", ",".join(map(str, (0, *options.depths)))]
        args += ["-r", "3", *type_args(cache), "-o", "json"]
        rows = runner.json_of(f"speed-{cache.file_name}", args)
        if rows is not None:
            found.append({"cache": cache.name, "command": shown_command(args), "rows": rows})
    return found


def _each(names: Iterable[str]) -> list[str]:
    return [word for name in names for word in ("--cache", name)]


def needle(options: argparse.Namespace, runner: Runner, caches: Sequence[CacheType]) -> Data | None:
    """Runs the needle evaluation with --needle's options, then takes all that its folder holds for these caches."""
    args = [
        "eval",
        "needle",
        *model_args(options),
        *options.needle,
        "--seed",
        str(options.seed),
        "--out",
        str(options.out),
    ]
    runner.run([*args, *_each(cache.name for cache in caches)])
    records: dict[str, list[Record]] = {}
    settings: Record = {}
    for cache in caches:
        path = options.out / "needle" / f"{cache.file_name}.jsonl"
        if path.is_file():
            settings, records[cache.name], _ = read_results(path)
    records = {name: some for name, some in records.items() if some}
    if not records:
        return None
    return {
        "commands": [shown_command(words) for words in _needle_commands(options, settings, records)],
        "depths": settings["depths"],
        "summary": summarise(records),
        "records": {name: [_place(record) for record in some] for name, some in records.items()},
    }


def _place(record: Record) -> Record:
    """What a heat map needs of a record."""
    return {name: record[name] for name in ("task", "length", "depth", "score")}


def _needle_commands(
    options: argparse.Namespace, settings: Record, records: Mapping[str, Sequence[Record]]
) -> list[list[str]]:
    """Commands that give the records: one for the lengths of a task that have as many samples of the same caches."""
    caches: dict[tuple[str, int, int], list[str]] = {}  # of a task, samples and a length
    for name, some in records.items():
        samples: dict[tuple[str, int], int] = {}
        for record in some:
            place = record["task"], record["length"]
            samples[place] = max(samples.get(place, 0), record["sample"] + 1)
        for (task, length), n in samples.items():
            caches.setdefault((task, n, length), []).append(name)
    groups: dict[tuple[str, int, tuple[str, ...]], list[int]] = {}
    for (task, n, length), names in sorted(caches.items()):
        groups.setdefault((task, n, tuple(names)), []).append(length)
    haystack = ["--haystack", _haystack(options)] if settings["haystack_sha256"] else []
    shared = ["--depths", str(settings["depths"]), "--questions", str(settings["questions"]), *haystack]
    shared += ["--seed", str(settings["seed"]), "--out", str(options.out)]
    front = ["eval", "needle", *model_args(options)]
    return [
        [*front, "--tasks", task, "--lengths", ",".join(map(str, lengths)), "--samples", str(n), *shared, *_each(names)]
        for (task, n, names), lengths in groups.items()
    ]


def _haystack(options: argparse.Namespace) -> str:
    """The file that --needle names, or a word that stands for it."""
    words = options.needle
    return words[words.index("--haystack") + 1] if "--haystack" in words[:-1] else "FILE"


def gather(options: argparse.Namespace, runner: Runner, caches: Sequence[CacheType]) -> Data:
    """All parts asked for; those of which nothing is there are left out."""
    makers: dict[str, Callable[[], Any]] = {
        "kl": lambda: divergences(options, runner, caches, "decode"),
        "prefix": lambda: divergences(options, runner, caches, "prefix"),
        "needle": lambda: needle(options, runner, caches),
        "fidelity": lambda: fidelity(options, runner, caches),
        "memory": lambda: memory(options, runner, caches),
        "speed": lambda: speed(options, runner, caches),
    }
    made = {part: makers[part]() for part in PARTS if part in options.parts}
    return {part: value for part, value in made.items() if value}


def check_texts(paths: Sequence[Path]) -> None:
    """FileNotFoundError or ValueError for texts that cannot be read or would share a name."""
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"[eval] there is no text {path}")
    if len({path.stem for path in paths}) < len(paths):
        raise ValueError("[eval] the texts of a report need different names")
