"""A user's copy of LongBench: the questions of each task, and the project's prompts and lengths of answers.

The copy is a folder with

    config/dataset2prompt.json    {task: prompt}, {context} and {input} standing for a question's fields
    config/dataset2maxlen.json    {task: tokens of an answer}
    data/TASK.jsonl               a question a line: context, input, answers, all_classes, ...

The project's repository keeps config/ in its folder LongBench, so LongBench/config/ is found too, and so are the files
of data/ in the folder itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectralkv.evaluate.texts import read_text

PROMPTS, LENGTHS = "dataset2prompt.json", "dataset2maxlen.json"


@dataclass(frozen=True)
class Question:
    """key: of its record, different when the question, its prompt or its length of answer is."""

    key: str
    task: str
    prompt: str
    answers: list[str]
    classes: list[str]
    max_tokens: int


def _find(folder: Path, places: Sequence[str]) -> Path | None:
    return next((folder / place for place in places if (folder / place).is_file()), None)


def _places(name: str) -> list[str]:
    """Where a file may be, the usual place first."""
    if name in (PROMPTS, LENGTHS):
        return [f"config/{name}", f"LongBench/config/{name}"]
    return [f"data/{name}", name]


def find_files(folder: Path, tasks: Sequence[str]) -> dict[str, Path]:
    """The paths of both files of the configuration and of TASK.jsonl for each task, by name. FileNotFoundError lists
    all that are missing and where each is expected."""
    if not folder.is_dir():
        raise FileNotFoundError(f"[eval] --data {folder} is no folder: give the folder of your copy of LongBench")
    names = [PROMPTS, LENGTHS, *(f"{task}.jsonl" for task in tasks)]
    found = {name: _find(folder, _places(name)) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        rows = "".join(f"\n  {' or '.join(str(folder / place) for place in _places(name))}" for name in missing)
        raise FileNotFoundError(
            f"[eval] {len(missing)} of {len(names)} files of LongBench are missing; expected are{rows}\n"
            "The .jsonl files are those of the data set's data.zip, the .json files those of the project's repository "
            "(--tasks runs some tasks only)"
        )
    return {name: path for name, path in found.items() if path is not None}


def _config(path: Path, tasks: Sequence[str], kind: type) -> dict[str, Any]:
    """A JSON object that has a value of this kind for each task. ValueError names the file and the task."""
    try:
        values = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"[eval] {path} is no JSON: {error}") from error
    for task in tasks:
        value = values.get(task) if isinstance(values, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 1):
            what = "a prompt" if kind is str else "a number of tokens"
            raise ValueError(f"[eval] {path}: expected {what} for {task}, got {value!r}")
    return dict(values)


def _strings(value: Any, where: str, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"[eval] {where}: expected a list of texts as {name}, got {value!r}")
    return value


def _question(line: str, where: str, task: str, number: int, prompt: str, max_tokens: int) -> Question:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise ValueError(f"[eval] {where} is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"[eval] {where}: expected an object, got {type(fields).__name__}")
    try:
        text = prompt.format(**fields)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ValueError(
            f"[eval] {where} does not fit the prompt of {task}, which wants a field {error}: it has {', '.join(fields)}"
        ) from error
    answers = _strings(fields.get("answers"), where, "answers")
    if not answers:
        raise ValueError(f"[eval] {where} has no answer")
    classes = _strings(fields.get("all_classes") or [], where, "all_classes")
    digest = hashlib.sha256(f"{max_tokens}\n{prompt}\n{line}".encode("utf-8", "surrogatepass")).hexdigest()
    return Question(f"{task}/{number}/{digest[:12]}", task, text, answers, classes, max_tokens)


def read_questions(folder: Path, tasks: Sequence[str], samples: int | None) -> dict[str, list[Question]]:
    """The first questions of each task (samples None: all). FileNotFoundError as find_files; ValueError names the file,
    the line and what was expected there."""
    files = find_files(folder, tasks)
    prompts, lengths = _config(files[PROMPTS], tasks, str), _config(files[LENGTHS], tasks, int)
    questions: dict[str, list[Question]] = {}
    for task in tasks:
        path = files[f"{task}.jsonl"]
        chosen: list[Question] = []
        for number, line in enumerate(read_text(path).split("\n")):
            if samples is not None and len(chosen) >= samples:
                break
            if line.strip():
                where = f"{path}:{number + 1}"
                chosen.append(_question(line.strip(), where, task, number, prompts[task], lengths[task]))
        if not chosen:
            raise ValueError(f"[eval] {path} holds no question")
        questions[task] = chosen
    return questions
