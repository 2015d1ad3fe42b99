"""The command `spectralkv eval report`: everything about a list of cache types on one page."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectralkv.atomic import write_whole
from spectralkv.evaluate.options import (
    add_result_options,
    add_shared_options,
    given_caches,
    load_engine,
    model_settings,
    number_list,
    whole_number,
)
from spectralkv.evaluate.report_data import PARTS, check_texts, gather
from spectralkv.evaluate.report_runs import Runner, shown_command
from spectralkv.extras import install_hint

ABOUT = """
Measures a list of cache types on one model, or collects what was measured before, and writes report.html (one page
that loads nothing), report.md and report.json into the folder of --out. The parts:
  kl        perplexity and divergence from f16 in the order of decoding, on every text
  prefix    the same with a whole prefix compressed at once, on the first text
  needle    retrieval, as `spectralkv eval needle` measures it with the options of --needle
  fidelity  errors of keys, values and attention, ranks and spectra, on the first text
  memory    bytes of each cache by context, on the first text
  speed     tokens per second by depth
Results are kept in report/ and needle/ of that folder: a report that was interrupted goes on, and measures nothing
twice.
"""


def _parts(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    return names


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: {text!r}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectralkv eval report", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--text", action="append", type=Path, required=True, metavar="FILE", help="a text; again for another one")
    add("--parts", type=_parts, default=list(PARTS), metavar="NAME,...", help=f"some of {', '.join(PARTS)}")
    add("--context", type=whole_number(64), default=2048, metavar="N", help="tokens read of each text (default: 2048)")
    depths = [1024, 2048, 4096]
    add("--depths", type=number_list(1, 1 << 24), default=depths, metavar="N,...", help="of memory and speed")
    add("--needle", type=_words, default=[], metavar="OPTIONS", help="options of the part needle, in quotes")
    add("--collect", action="store_true", help="measure nothing: make the page of what is there")
    add_shared_options(parser)
    add_result_options(parser, "eval")
    return parser


def _write(folder: Path, files: dict[str, str]) -> None:
    """Each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_whole(folder / name, text.encode("utf-8"))
        print(f"wrote {folder / name}")


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(args)
    try:
        from spectralkv.evaluate.report_page import to_html, to_markdown
        from spectralkv.evaluate.report_sections import make_sections
    except ImportError:
        raise ValueError(
            f"[eval] the report needs matplotlib, which is not installed: {install_hint('eval')}"
        ) from None
    check_texts(options.text)
    caches, given = given_caches(options), options.model
    engine = load_engine(options)
    model, options.model = options.model, given  # commands name the model as the user did
    description = engine.description.split(",")[0]
    del engine  # the commands load their own
    runner = Runner(options.out / "report", options.collect)
    measured = gather(options, runner, caches)
    data: dict[str, Any] = {
        "command": shown_command(["eval", "report", *args]),
        "model": model_settings(model, options.kv_calibration),
        "description": description,
        "caches": [cache.name for cache in caches],
        "texts": [path.stem for path in options.text],
        "measured": runner.measured(options.threads),
        **measured,
    }
    title = f"Cache types of {Path(model).stem}"
    sections = make_sections(data, data["caches"])
    _write(
        options.out,
        {
            "report.html": to_html(title, sections),
            "report.md": to_markdown(title, sections),
            "report.json": json.dumps(data, ensure_ascii=False) + "\n",
        },
    )
    return 0
