"""The figures of a report as sections with tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spectralkv.evaluate import report_plots as plots
from spectralkv.evaluate.heat_map import draw_heat_map
from spectralkv.evaluate.needle_summary import ALL, percent, shown_kinds
from spectralkv.evaluate.report_data import Data
from spectralkv.evaluate.report_page import Picture, Section, Table
from spectralkv.plots import draw_ranks, draw_spectra

DASH = "-"
PROTOCOLS = {
    "kl": "In the order of decoding: every token is read through the cache, so what the cache did to a token bends all "
    "that follow. The second half of each text is scored.",
    "prefix": "The first seven eighths of the text are read exactly and compressed at once; the rest is read with its "
    "own keys and values exact. This is how papers measure; decoding is harder.",
}


def _bits(result: Mapping[str, Any], kind: str) -> float | None:
    """Mean of keys and values."""
    k, v = result[f"bits_{kind}_k"], result[f"bits_{kind}_v"]
    return None if k is None or v is None else (k + v) / 2


def honest_bits(data: Data) -> dict[str, float]:
    """Of each cache, mean of keys, values and texts."""
    found: dict[str, list[float]] = {}
    for entry in data.get("kl") or data.get("prefix") or ():
        bits = _bits(entry["result"], "honest")
        if bits is not None:
            found.setdefault(entry["cache"], []).append(bits)
    return {cache: sum(some) / len(some) for cache, some in found.items()}


def _said(data: Data, caption: str) -> str:
    """A caption that goes on with what was measured, and when."""
    return f"{caption} {data['model']['model']}, {data['measured']['dates']}."


def _number(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:.{digits}f}"


def _small(value: float) -> str:
    """Three digits that count."""
    return "0" if value == 0 else f"{value:.3g}" if value >= 0.001 else f"{value:.1e}"


def _divergence_row(entry: Mapping[str, Any]) -> list[str]:
    result = entry["result"]
    return [
        entry["cache"],
        *(_number(result[f"bits_{kind}_{side}"], 2) for kind in ("honest", "paper") for side in ("k", "v")),
        f"{result['ppl']:.3f}",
        f"{_small(result['kl_mean'])} ± {_small(result['kl_stderr'])}",
        _small(result["kl_p99"]),
        f"{100 * result['same_top1']:.1f} %",
    ]


def divergence_section(part: str, data: Data) -> Section:
    entries = data[part]
    header = [
        "cache",
        "honest K",
        "honest V",
        "paper K",
        "paper V",
        "perplexity",
        "KL ± s.e.",
        "KL, 99 %",
        "same top-1",
    ]
    tables, points = [], {}
    for text in dict.fromkeys(entry["text"] for entry in entries):
        some = [entry for entry in entries if entry["text"] == text]
        first = some[0]["result"]
        caption = f"{text}: {first['n_compared']} positions compared; perplexity of f16 {first['ppl_base']:.3f}"
        tables.append(Table(caption, header, [_divergence_row(entry) for entry in some]))
        points[text] = [
            (entry["cache"], bits, entry["result"]["kl_mean"], entry["result"]["kl_stderr"])
            for entry in some
            if (bits := _bits(entry["result"], "honest")) is not None
        ]
    plot = plots.divergence_plot(points)
    caption = _said(data, "KL divergence against honest bits; lower and further left is better.")
    name = "Divergence, decoding" if part == "kl" else "Divergence, prefix"
    return Section(
        name,
        [PROTOCOLS[part], "Bits are per entry: honest ones count every byte of sealed blocks, paper ones codes alone."],
        tables,
        [Picture(caption, plot.svgs, plot.legend)],
        [entry["command"] for entry in entries],
    )


def needle_section(data: Data) -> Section:
    part, bits = data["needle"], honest_bits(data)
    summary = part["summary"]
    cells = {(cell["task"], cell["length"], cell["cache"]): cell for cell in summary["cells"]}
    tables, pictures = [], []
    points: dict[str, list[Any]] = {}
    for task in dict.fromkeys(task for task, _, _ in cells):
        lengths = list(dict.fromkeys(length for name, length, _ in cells if name == task))
        caches = list(dict.fromkeys(cache for name, _, cache in cells if name == task))
        shown = [f"{length} tokens" if length != ALL else "all" for length in lengths]

        def row(cache: str, kind: str, task: str = task, lengths: Sequence[Any] = lengths) -> list[str]:
            found = [cells.get((task, length, cache)) for length in lengths]
            return [cache, *(DASH if c is None else percent(c[kind], kind.endswith("difference")) for c in found)]

        def count(cache: str, task: str = task, lengths: Sequence[Any] = lengths) -> list[str]:
            found = [cells.get((task, length, cache)) for length in lengths]
            return [
                cache,
                *(DASH if c is None else f"{c['accuracy']['n']} / {c['accuracy']['clusters']}" for c in found),
            ]

        base = summary["base"]
        for kind, caption in shown_kinds([cells[key] for key in cells if key[0] == task], base):
            rows = [row(c, kind) for c in caches if c != base or not kind.endswith("difference")]
            tables.append(Table(f"{task}: {caption}, 95 % interval", ["cache", *shown], rows))
        tables.append(Table(f"{task}: answers / texts", ["cache", *shown], [count(cache) for cache in caches]))
        points[task] = [
            (cache, bits[cache], cells[task, lengths[-1], cache]["accuracy"])
            for cache in caches
            if cache in bits and (task, lengths[-1], cache) in cells
        ]
    if any(points.values()):
        plot = plots.retrieval_plot({task: some for task, some in points.items() if some})
        caption = _said(data, "Retrieval against honest bits, with 95 % intervals.")
        pictures.append(Picture(caption, plot.svgs, plot.legend))
    for task in points:
        chosen = {
            cache: found
            for cache, some in part["records"].items()
            if (found := [record for record in some if record["task"] == task and record["depth"] is not None])
        }
        if chosen:
            lengths = sorted({record["length"] for some in chosen.values() for record in some})
            depths = [100 * i / (part["depths"] - 1) for i in range(part["depths"])]
            maps = [plots.to_svg(draw_heat_map(task, {cache: some}, lengths, depths)) for cache, some in chosen.items()]
            pictures.append(Picture(_said(data, f"{task}: accuracy by length and depth."), maps))
    text = [
        "RULER's retrieval tasks: the model's chat template, greedy answers, string match. Intervals are Wilson's at "
        "the effective number of answers; differences are paired, and questions about one text count as one cluster.",
    ]
    return Section("Retrieval", text, tables, pictures, part["commands"])


def fidelity_section(data: Data) -> Section:
    entries = data["fidelity"]
    header = ["cache", "rank K", "rank V", "rel. MSE K", "rel. MSE V", "logit error", "attention error"]
    rows = []
    for entry in entries:
        k, v = entry["mean"]["k"], entry["mean"]["v"]
        row = [entry["cache"], *(_number(entry["rank"][side], 2) for side in ("k", "v"))]
        row += [_small(k["relative_mse"]), _small(v["relative_mse"]), _small(k["ip_error"])]
        rows.append([*row, _small(entry["mean"]["attention_error"])])
    pictures = []
    for entry in entries:
        if "spectra" in entry:
            spectra, where = entry["spectra"], f"cache {entry['cache']}, text {data['texts'][0]}"
            layers = [layer for layer in spectra["layers"] if "spectrum" in layer["k"]["heads"][0]]
            panels = [plots.to_svg(draw_spectra({**spectra, "layers": [layer]})) for layer in layers]
            caption = "Spectra of blocks: bulk, edge, and the spikes that are stored apart"
            pictures.append(Picture(_said(data, f"{caption}; {where}."), panels))
            pictures.append(Picture(_said(data, f"Rank by layer; {where}."), [plots.to_svg(draw_ranks(spectra))]))
    text = ["Means over layers. Errors of keys, values, logits and attention's output; the ranks are eOptShrink's."]
    table = Table("What each cache does to keys, values and attention", header, rows)
    return Section("Fidelity", text, [table], pictures, [entry["command"] for entry in entries])


def memory_section(data: Data) -> Section:
    result = data["memory"]["result"]
    contexts = [row["tokens"] for row in result[0]["rows"]]
    rows = [
        [entry["cache"], *(f"{row['bytes'] / 2**20:.2f} ({row['bits']:.2f})" for row in entry["rows"])]
        for entry in result
    ]
    lines = {e["cache"]: [(row["tokens"], row["bytes"] / 2**20) for row in e["rows"]] for e in result}
    plot = plots.line_plot({"the whole cache": lines}, "tokens", "MiB", log=True)
    caption = _said(data, f"Memory against context; text {data['texts'][0]}.")
    table = Table("MiB of the whole cache (bits of all bytes, per entry)", ["cache", *map(str, contexts)], rows)
    text = ["Every byte that the cache holds once a text was read: sealed blocks, sinks and exact tail, as allocated."]
    return Section("Memory", text, [table], [Picture(caption, plot.svgs, plot.legend)], _commands(data["memory"]))


def _commands(part: Mapping[str, Any]) -> list[str]:
    return [part["command"]]


def speed_section(data: Data) -> Section:
    entries = data["speed"]
    names = [row["test"] for row in entries[0]["rows"]]
    rows = [[e["cache"], *(f"{row['avg_ts']:.1f} ± {row['stddev_ts']:.1f}" for row in e["rows"])] for e in entries]
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for title, field in (("reading a prompt", "n_prompt"), ("generating", "n_gen")):
        panels[title] = {
            e["cache"]: [(row["n_depth"], row["avg_ts"]) for row in e["rows"] if row[field] > 0] for e in entries
        }
    plot = plots.line_plot(panels, "tokens in the cache before", "tokens per second")
    caption = _said(data, "Speed against depth.")
    threads = int(entries[0]["rows"][0]["n_threads"])
    table = Table(f"Tokens per second, mean ± standard deviation; threads: {threads}", ["cache", *names], rows)
    text = ["Times are this machine's, and of the moment: compare them within the table."]
    return Section("Speed", text, [table], [Picture(caption, plot.svgs, plot.legend)], [e["command"] for e in entries])


def overview_section(data: Data, caches: Sequence[str]) -> Section:
    """One row a cache: bits, divergence on each text, retrieval, memory, speed."""
    bits = honest_bits(data)
    header, columns = ["cache"], []
    if bits:
        header.append("honest bits")
        columns.append({cache: f"{value:.2f}" for cache, value in bits.items()})
    for text in dict.fromkeys(entry["text"] for entry in data.get("kl", ())):
        header.append(f"KL, {text}")
        columns.append({e["cache"]: _small(e["result"]["kl_mean"]) for e in data["kl"] if e["text"] == text})
    if "needle" in data:
        cells = data["needle"]["summary"]["cells"]
        for task in dict.fromkeys(cell["task"] for cell in cells):
            last = [cell for cell in cells if cell["task"] == task][-1]["length"]
            header.append(f"{task}, %")
            columns.append(
                {
                    c["cache"]: f"{100 * c['accuracy']['mean']:.1f}"
                    for c in cells
                    if (c["task"], c["length"]) == (task, last)
                }
            )
    if "memory" in data:
        result = data["memory"]["result"]
        header.append(f"MiB at {result[0]['rows'][-1]['tokens']}")
        columns.append({e["cache"]: f"{e['rows'][-1]['bytes'] / 2**20:.1f}" for e in result})
    if "speed" in data:
        header.append(f"t/s, {data['speed'][0]['rows'][-1]['test']}")
        columns.append({e["cache"]: f"{e['rows'][-1]['avg_ts']:.1f}" for e in data["speed"]})
    rows = [[cache, *(column.get(cache, DASH) for column in columns)] for cache in caches]
    measured = data["measured"]
    text = [
        f"{data['model']['model']}, {data['description']}; spectralkv {data['model']['spectralkv']}.",
        f"Measured on {measured['machines']}; threads: {measured['threads'] or 'one a core'}; "
        f"{measured['dates']}. Texts: {', '.join(data['texts'])}.",
    ]
    table = Table("Every cache type; keys/values where they differ", header, rows)
    return Section("Overview", text, [table], commands=[data["command"]])


MAKERS: dict[str, Callable[[Data], Section]] = {
    "kl": lambda data: divergence_section("kl", data),
    "prefix": lambda data: divergence_section("prefix", data),
    "needle": needle_section,
    "fidelity": fidelity_section,
    "memory": memory_section,
    "speed": speed_section,
}


def make_sections(data: Data, caches: Sequence[str]) -> list[Section]:
    """The overview, then a section for each part that the data has."""
    return [overview_section(data, caches), *(make(data) for part, make in MAKERS.items() if part in data)]
