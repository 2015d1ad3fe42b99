"""The command `spectralkv eval needle`: RULER's retrieval tasks, and copying, through each of several caches."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectralkv import _core
from spectralkv.evaluate.needle_cells import CellMaker, Prompt
from spectralkv.evaluate.needle_summary import summarise, write_summary
from spectralkv.evaluate.needle_tasks import TASKS, split_sentences
from spectralkv.evaluate.needle_words import word_lists, words_version
from spectralkv.evaluate.options import (
    add_result_options,
    add_shared_options,
    given_caches,
    load_engine,
    model_settings,
    number_list,
    whole_number,
    with_progress,
)
from spectralkv.evaluate.reader import Reader
from spectralkv.evaluate.scoring import clean_answer, string_match_part
from spectralkv.evaluate.store import ResultFile
from spectralkv.evaluate.texts import read_text
from spectralkv.extras import install_hint

FOLDER = "needle"  # in --out
ABOUT = """
Hides needles in long texts and asks for them, as RULER's retrieval tasks do, through each cache type: the chat template
of the model, greedy answers, scores by string match. vt is RULER's variable tracking; copy_json_N asks for an object of
N fields, scored by fields that are right. Prints accuracy by task, length and cache with 95 % intervals, and the
differences from the first cache on the same questions; where an answer has several parts, also how many are whole.
The folder of --out gets, in needle/, a file of JSON lines for each cache type (prompt, answer, what was expected),
summary.json, summary.md and heat maps. A run that was interrupted goes on where it was; more samples, lengths or cache
types are added to what is there.
"""


def _names(table: Sequence[str]) -> Any:
    def convert(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in table:
                raise argparse.ArgumentTypeError(f"there is no task {name!r}; there are {', '.join(table)}")
        return list(dict.fromkeys(names))

    return convert


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectralkv eval needle", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    tasks = "niah_single_1,niah_multikey_1"
    add(
        "--tasks",
        type=_names(list(TASKS)),
        default=tasks.split(","),
        metavar="NAME,...",
        help=f"some of {', '.join(TASKS)} (default: {tasks})",
    )
    add(
        "--lengths",
        type=number_list(64, 1 << 24),
        default=[512, 1024, 2048],
        metavar="N,...",
        help="tokens of prompt and answer, 64 and more (default: 512,1024,2048)",
    )
    add(
        "--samples",
        type=whole_number(1),
        default=100,
        metavar="N",
        help="texts for each task and length (default: 100)",
    )
    add(
        "--depths",
        type=whole_number(4, 1000),
        default=10,
        metavar="N",
        help="depths of the needle, evenly from 0 to 100 %% of the text, 4 to 1000: a text may have 4 needles "
        "(default: 10)",
    )
    add(
        "--questions",
        type=whole_number(1, 64),
        default=1,
        metavar="N",
        help="keys that are asked for, one after the other, about each text of a multikey task, 1 to 64 and no more "
        "than depths (default: 1)",
    )
    add("--haystack", type=Path, metavar="FILE", help="UTF-8 text to hide needles in (default: repeated sentences)")
    add_shared_options(parser)
    add_result_options(parser, "eval")
    return parser


def _read_haystack(path: Path | None) -> tuple[list[str], str]:
    """Sentences, and the text's SHA-256; nothing for no text."""
    if path is None:
        return [], ""
    return split_sentences(read_text(path)), hashlib.sha256(path.read_bytes()).hexdigest()


def _check(options: argparse.Namespace, context_length: int) -> None:
    """ValueError for what cannot be run, before anything is."""
    for name in options.tasks:
        if options.lengths[0] < TASKS[name].least_length:
            raise ValueError(f"[eval] {name} needs --lengths of {TASKS[name].least_length} and more")
        if name == "niah_single_2" and options.haystack is None:
            raise ValueError("[eval] niah_single_2 hides its needle in a text: give --haystack FILE")
        if {"words", "nouns"} & {TASKS[name].key, TASKS[name].value}:
            word_lists()
    if options.questions > options.depths:
        raise ValueError(f"[eval] {options.questions} needles at different depths need --depths {options.questions}")
    if options.lengths[-1] > context_length:
        raise ValueError(f"[eval] the model has {context_length} tokens of context, --lengths asks for more")


def _run_cell(
    engine: _core.Engine, options: argparse.Namespace, file: ResultFile, prompts: Sequence[Prompt], label: str
) -> None:
    """Answers the questions of a cell that the file does not hold yet."""
    missing = [prompt for prompt in prompts if prompt.key not in file.records]
    if not missing:
        return
    task, length = TASKS[missing[0].fields["task"]], missing[0].fields["length"]
    cache = next(cache for cache in given_caches(options) if file.path.stem == cache.file_name)
    reader = Reader(engine, cache, length, options.batch_size, task.stop)
    answers = reader.answers([prompt.tokens for prompt in missing], task.max_tokens)
    for prompt, answer in zip(with_progress(missing, len(missing), label), answers, strict=True):
        cleaned = clean_answer(answer)
        expected = prompt.fields["expected"]
        scores = {"score": task.score(cleaned, expected), "part": string_match_part(cleaned, expected)}
        file.add({**prompt.fields, "answer": answer, **scores})


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(args)
    sentences, haystack = _read_haystack(options.haystack)
    engine = load_engine(options)
    _check(options, engine.config["context_length"])
    caches = given_caches(options)
    settings = {
        "evaluation": "needle",
        **model_settings(options.model, options.kv_calibration),
        "words": words_version(),
        "seed": options.seed,
        "depths": options.depths,
        "questions": options.questions,
        "haystack_sha256": haystack,
    }
    folder = options.out / FOLDER
    depths = [100 * i / (options.depths - 1) for i in range(options.depths)]
    maker = CellMaker(engine, sentences, depths, options.questions, options.seed)
    keys: list[str] = []
    with contextlib.ExitStack() as stack:
        files = {
            cache.name: stack.enter_context(
                ResultFile(folder / f"{cache.file_name}.jsonl", {**settings, "cache": cache.name})
            )
            for cache in caches
        }
        for length in options.lengths:
            for task in options.tasks:
                prompts = maker.prompts(task, length, options.samples)
                keys += [prompt.key for prompt in prompts]
                for name, file in files.items():
                    _run_cell(engine, options, file, prompts, f"{task}, {length} tokens, {name}")
        for file in files.values():
            file.arrange()
        wanted = set(keys)
        records = {
            name: [record for key, record in file.records.items() if key in wanted] for name, file in files.items()
        }
    summary = summarise(records)
    print(write_summary(summary, settings, folder))
    try:
        from spectralkv.evaluate.heat_map import draw_heat_maps
    except ImportError:
        print(f"no heat maps: they need matplotlib: {install_hint('eval')}", file=sys.stderr)
    else:
        for path in draw_heat_maps(records, depths, folder):
            print(f"wrote {path}", file=sys.stderr)
    return 0
