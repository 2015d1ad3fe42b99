"""The 16 English-language tasks of LongBench (Bai et al. 2023, arXiv 2308.14508): how to ask, and how to score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spectralkv.evaluate.longbench_metrics import (
    classification,
    code_similarity,
    count,
    qa_f1,
    retrieval,
    rouge_l,
)


@dataclass(frozen=True)
class Task:
    """metric: of an answer and one of the true ones. chat: the prompt goes through the model's chat template; examples
    and code go in as they are. first_line: of an answer only the first line counts. one_line: the model stops at a line
    feed, and not before its first token."""

    metric: Callable[[str, str], float] | None  # None: classification, which needs the names of the classes
    chat: bool = True
    first_line: bool = False
    one_line: bool = False


TASKS: dict[str, Task] = {
    "narrativeqa": Task(qa_f1),
    "qasper": Task(qa_f1),
    "multifieldqa_en": Task(qa_f1),
    "hotpotqa": Task(qa_f1),
    "2wikimqa": Task(qa_f1),
    "musique": Task(qa_f1),
    "gov_report": Task(rouge_l),
    "qmsum": Task(rouge_l),
    "multi_news": Task(rouge_l),
    "trec": Task(None, chat=False, first_line=True),
    "triviaqa": Task(qa_f1, chat=False, first_line=True),
    "samsum": Task(rouge_l, chat=False, first_line=True, one_line=True),
    "passage_count": Task(count),
    "passage_retrieval_en": Task(retrieval),
    "lcc": Task(code_similarity, chat=False),
    "repobench-p": Task(code_similarity, chat=False),
}


def score(name: str, answer: str, truths: Sequence[str], classes: Sequence[str]) -> float:
    """The best score of the answer against any of the true ones, 0 to 1. classes: of a classification task."""
    task = TASKS[name]
    if task.first_line:
        answer = answer.lstrip("\n").split("\n")[0]
    if task.metric is None:
        return max((classification(answer, truth, classes) for truth in truths), default=0.0)
    return max((task.metric(answer, truth) for truth in truths), default=0.0)


def needs_rouge(names: Sequence[str]) -> bool:
    """Whether one of the tasks is scored by the package `rouge`."""
    return any(TASKS[name].metric is rouge_l for name in names)
