"""The command `spectralkv eval longbench`: the English-language tasks of LongBench through each of several caches."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectralkv import _core
from spectralkv.evaluate.cache_types import CacheType
from spectralkv.evaluate.longbench_data import Question, read_questions
from spectralkv.evaluate.longbench_prompts import LineReader, prompt_tokens
from spectralkv.evaluate.longbench_summary import summarise, write_summary
from spectralkv.evaluate.longbench_tasks import TASKS, needs_rouge, score
from spectralkv.evaluate.options import (
    add_result_options,
    add_shared_options,
    given_caches,
    load_engine,
    model_settings,
    whole_number,
    with_progress,
)
from spectralkv.evaluate.reader import Reader, chat_tokens
from spectralkv.evaluate.store import ResultFile
from spectralkv.extras import install_hint

FOLDER = "longbench"  # in --out
MARGIN = 64  # tokens that a prompt may gain where its middle was cut out, because its parts are read anew
ABOUT = """
Asks the questions of LongBench's English-language tasks through each cache type, as its own programme does: long
prompts lose their middle, the chat template goes around all but examples and code, answers are greedy, scores are the
task's. --data is your copy of LongBench, with data/TASK.jsonl, config/dataset2prompt.json and
config/dataset2maxlen.json. Prints scores by task and cache with 95 % intervals, and the differences from the first
cache on the same questions. The folder of --out gets, in longbench/, a file of JSON lines for each cache type (answer,
what was expected, score), summary.json and summary.md. A run that was interrupted goes on where it was; more questions,
tasks or cache types are added to what is there.
"""


def _task_list(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in TASKS:
            raise argparse.ArgumentTypeError(f"there is no task {name!r}; there are {', '.join(TASKS)}")
    return list(dict.fromkeys(names))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectralkv eval longbench", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="your copy of LongBench")
    add("--tasks", type=_task_list, default=list(TASKS), metavar="NAME,...", help=f"some of {', '.join(TASKS)}")
    add("--samples", type=whole_number(1), metavar="N", help="the first N questions of each task (default: all)")
    add(
        "--length",
        type=whole_number(16),
        metavar="N",
        help="tokens of a prompt before the chat template; longer ones lose their middle (default: what the model's "
        "context has room for)",
    )
    add_shared_options(parser)
    add_result_options(parser, "eval")
    return parser


def _default_length(engine: _core.Engine, questions: dict[str, list[Question]]) -> int:
    """Tokens of a prompt that leave room for the template and the longest answer. ValueError where there are none."""
    longest = max(question.max_tokens for some in questions.values() for question in some)
    length = int(engine.config["context_length"]) - longest - len(chat_tokens(engine, "")) - MARGIN
    if length < 16:
        raise ValueError(
            f"[eval] the model's context of {engine.config['context_length']} tokens has no room for prompts beside "
            f"answers of {longest} tokens (dataset2maxlen.json)"
        )
    return length


def _run_task(
    engine: _core.Engine, options: argparse.Namespace, file: ResultFile, cache: CacheType, questions: list[Question]
) -> None:
    """Answers the questions of a task that the file does not hold yet."""
    missing = [question for question in questions if question.key not in file.records]
    if not missing:
        return
    name = missing[0].task
    prompts = [prompt_tokens(engine, question.prompt, TASKS[name].chat, options.length) for question in missing]
    n_ctx = max(map(len, prompts)) + missing[0].max_tokens
    if n_ctx > engine.config["context_length"]:
        raise ValueError(
            f"[eval] {name}: a prompt and its answer have {n_ctx} tokens, the model has "
            f"{engine.config['context_length']} of context: give a smaller --length than {options.length}"
        )
    reader = (LineReader if TASKS[name].one_line else Reader)(engine, cache, n_ctx, options.batch_size)
    answers = reader.answers(prompts, missing[0].max_tokens)
    label = f"{name}, {cache.name}"
    for question, prompt, answer in zip(missing, prompts, with_progress(answers, len(missing), label), strict=True):
        file.add(
            {
                "key": question.key,
                "task": name,
                "prompt_tokens": len(prompt),
                "answer": answer,
                "expected": question.answers,
                **({"classes": question.classes} if question.classes else {}),
                "score": score(name, answer, question.answers, question.classes),
            }
        )


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(args)
    questions = read_questions(options.data, options.tasks, options.samples)
    if needs_rouge(options.tasks) and importlib.util.find_spec("rouge") is None:
        names = ", ".join(name for name in options.tasks if needs_rouge([name]))
        raise ValueError(f"[eval] {names}: the score needs the package rouge: {install_hint('eval')}")
    engine = load_engine(options)
    if options.length is None:
        options.length = _default_length(engine, questions)
    settings: dict[str, Any] = {
        "evaluation": "longbench",
        **model_settings(options.model, options.kv_calibration),
        "length": options.length,
    }
    folder = options.out / FOLDER
    wanted = [question.key for some in questions.values() for question in some]
    records = {}
    for cache in given_caches(options):
        path = folder / f"{cache.file_name}.jsonl"
        with ResultFile(path, {**settings, "cache": cache.name}) as file:
            for some in questions.values():
                _run_task(engine, options, file, cache, some)
            file.arrange()
            records[cache.name] = [file.records[key] for key in wanted]
    print(write_summary(summarise(records), settings, folder))
    return 0
