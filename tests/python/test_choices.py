"""`perplexity --hellaswag`, --winogrande and --multiple-choice beside a plain twin of llama-perplexity's scores, over
our logits and over llama.cpp's."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectralkv import Llama

WORDS = ["hello", "the", "world", "he", "there", "a", "low", "lower", "her", "hold", "she", "of"]
Logits = Callable[[list[list[int]]], list[Any]]


@dataclass
class Task:
    """Answers with their question, Winogrande's starts of them, and the place of the right one."""

    texts: list[str]
    starts: list[str]
    right: int


def words(rng: np.random.Generator, low: int, high: int) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(low, high)))


def perplexity(*args: Any, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spectralkv.cli", "perplexity", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == status, result.stderr
    return result


def hellaswag(n: int) -> tuple[str, list[Task]]:
    rng = np.random.default_rng(2)
    lines, tasks = [], []
    for _ in range(n):
        context, endings, right = words(rng, 3, 8), [words(rng, 1, 6) for _ in range(4)], int(rng.integers(4))
        lines += [context, str(right), *endings]
        tasks.append(Task([f"{context} {ending}" for ending in endings], [], right))
    return "\n".join(lines) + "\n", tasks


def winogrande(n: int) -> tuple[str, list[Task]]:
    rng = np.random.default_rng(3)
    lines, tasks = [], []
    for i in range(n):
        before, behind = words(rng, 2, 6), words(rng, 0 if i % 3 == 0 else 4, 7)
        choices, right = [f"X{words(rng, 1, 2)}", f"Y{words(rng, 1, 3)}"], int(rng.integers(2))
        comma = "," if i % 2 else ""
        sentence = f"{before}{comma} _ {behind}".strip()
        lines.append([i, sentence, *choices, right + 1])
        starts = [f"{before}{comma} {choice}" for choice in choices]
        tasks.append(Task([start + sentence.partition("_")[2] for start in starts], starts, right))
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue(), tasks


def pack_answers(answers: list[str], labels: list[int]) -> bytes:
    texts = b"".join(struct.pack("<I", len(a)) + a.encode() for a in answers)
    return struct.pack("<I", len(answers)) + texts + struct.pack(f"<{len(labels)}i", *labels)


def multiple_choice(n: int) -> tuple[bytes, list[Task]]:
    rng = np.random.default_rng(4)
    bodies, tasks = [], []
    for _ in range(n):
        question, count = words(rng, 3, 8), int(rng.integers(2, 6))
        answers, right = [words(rng, 1, 5) for _ in range(count)], int(rng.integers(count))
        labels = [int(i == right) for i in range(count)]
        bodies.append(
            struct.pack("<I", len(question))
            + question.encode()
            + pack_answers(answers, labels)
            + pack_answers(["unused"], [1])
        )
        tasks.append(Task([f"{question} {answer}" for answer in answers], [], right))
    start = 4 + 4 * n
    positions = [start + sum(map(len, bodies[:i])) for i in range(n)]
    return struct.pack(f"<{n + 1}I", n, *positions) + b"".join(bodies), tasks


def draws() -> Callable[[], int]:
    """The numbers of std::mt19937(1)."""
    state = np.random.RandomState(1)
    return lambda: int(state.randint(0, 2**32, dtype=np.uint32))


def drawn_uniform(tasks: Sequence[Task], most: int) -> list[Task]:
    bits, left, chosen = draws(), list(tasks), []
    for _ in range(min(most, len(tasks))):
        while True:
            at, rest = divmod(bits() * len(left), 2**32)
            if rest >= 2**32 % len(left):
                break
        chosen.append(left.pop(at))
    return chosen


def drawn_scaled(tasks: Sequence[Task], most: int) -> list[Task]:
    if most == 0 or most >= len(tasks):
        return list(tasks)
    bits, left, chosen = draws(), list(tasks), []
    for _ in range(most):
        at = int(np.float32(bits()) * np.float32(2**-32) * np.float32(len(left)))
        chosen.append(left[at])
        left[at] = left[-1]
        left.pop()
    return chosen


def scores(tasks: list[Task], tokenize: Callable[[str], list[int]], logits: Logits) -> list[list[float]]:
    """The mean log-probability of each answer's tokens."""
    ids = [[tokenize(text) for text in task.texts] for task in tasks]
    rows = iter(logits([sequence for sequences in ids for sequence in sequences]))
    found = []
    for task, sequences in zip(tasks, ids, strict=True):
        common = next(
            (i for i, column in enumerate(zip(*sequences, strict=False)) if len(set(column)) > 1),
            min(map(len, sequences)) - 1,
        )
        behind = bool(task.starts) and all(len(sequence) - common > 3 for sequence in sequences)
        of_task = []
        for i, sequence in enumerate(sequences):
            first, end = len(tokenize(task.starts[i])) if behind else common, len(sequence)
            if task.starts and end - first > 1:
                end -= 1
            x = np.asarray(next(rows), dtype=np.float64)
            x = x - x.max(axis=1, keepdims=True)
            x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
            of_task.append(float(np.mean([x[j - 1, sequence[j]] for j in range(first, end)])))
        found.append(of_task)
    return found


def shares(tasks: list[Task], found: list[list[float]]) -> list[float]:
    """The percentage that is right after each task; of two Winogrande choices that are as good the second counts."""
    hits = []
    for task, values in zip(tasks, found, strict=True):
        best = (0 if values[0] > values[1] else 1) if task.starts else int(np.argmax(values))
        hits.append(best == task.right)
    return [100.0 * sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]


def rows_of(output: str) -> list[list[str]]:
    return [line.replace("%", "").split() for line in output.splitlines() if line[:1].isdigit()]


@pytest.fixture(scope="module")
def model(tiny_model: str) -> Any:
    with Llama(tiny_model, n_ctx=256, logits_all=True, type_k="f16", type_v="f16", verbose=False) as llama:
        yield llama


@pytest.fixture
def ours(model: Any) -> tuple[Callable[[str], list[int]], Logits]:
    def logits(sequences: list[list[int]]) -> list[Any]:
        found = []
        for ids in sequences:
            model.reset()
            model.eval(ids)
            found.append(np.array(model.scores))
        return found

    return lambda text: model.tokenize(text.encode()), logits


def scored_as(chosen: list[Any], ours: Any, *args: object) -> tuple[str, float]:
    """What the command prints, whose shares are those of the chosen tasks, and the last share."""
    expected = shares(chosen, scores(chosen, *ours))
    said = perplexity(*args, "-ctk", "f16").stdout
    assert [float(row[1]) for row in rows_of(said)] == pytest.approx(expected, abs=1e-6)
    return said, expected[-1]


def test_hellaswag(tiny_model: str, ours: Any, tmp_path: Path) -> None:
    text, tasks = hellaswag(30)
    path = tmp_path / "tasks.txt"
    path.write_text(text)
    for args, most in ([], 400), (["--hellaswag-tasks", 12], 12):
        chosen = drawn_uniform(tasks, most)
        said, share = scored_as(chosen, ours, "-m", tiny_model, "--hellaswag", "-f", path, *args)
        assert f"Final HellaSwag score({len(chosen)} tasks): {share:.4f} +/- " in said
    report = json.loads(perplexity("-m", tiny_model, "--hellaswag", "-f", path, "--json").stdout)
    p, n, z = report["accuracy"], report["n_tasks"], 1.95996398454
    middle, half = p + z * z / 2 / n, z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5
    low, high = ((middle + side) / (1 + z * z / n) for side in (-half, half))
    assert (report["wilson_low"], report["wilson_high"]) == pytest.approx((low, high))
    assert report["random_chance"] == 0.25


def test_winogrande(tiny_model: str, ours: Any, tmp_path: Path) -> None:
    text, tasks = winogrande(24)
    path = tmp_path / "tasks.csv"
    path.write_text(text)
    for args, most in ([], 0), (["--winogrande-tasks", 7], 7):
        chosen = drawn_scaled(tasks, most)
        found = scores(chosen, *ours)
        rows = rows_of(perplexity("-m", tiny_model, "--winogrande", "-f", path, "-ctk", "f16", *args).stdout)
        assert [float(row[1]) for row in rows] == pytest.approx(shares(chosen, found), abs=1e-4)
        assert np.array([row[2:4] for row in rows], float) == pytest.approx(np.array(found), abs=2e-5)
        assert [int(row[5]) - 1 for row in rows] == [task.right for task in chosen]


def test_multiple_choice(tiny_model: str, ours: Any, tmp_path: Path) -> None:
    data, tasks = multiple_choice(20)
    path = tmp_path / "tasks.bin"
    path.write_bytes(data)
    for args, most in ([], 0), (["--multiple-choice-tasks", 6], 6):
        chosen = drawn_scaled(tasks, most)
        said, _ = scored_as(chosen, ours, "-m", tiny_model, "--multiple-choice", "-bf", path, *args)
        chance = 100 * len(chosen) / sum(len(task.texts) for task in chosen)
        assert f"Random chance: {chance:.4f}" in said
    for cut in 3, 30, len(data) - 1:
        path.write_bytes(data[:cut])
        told = perplexity("-m", tiny_model, "--multiple-choice", "-bf", path, status=1).stderr
        assert "is cut off or damaged" in told or "is no file of multiple choice tasks" in told


def test_scores_over_llama_cpps_logits(llama_cpp_python: str, tiny_model: str, model: Any, tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[1] / "support" / "llama_cpp_side.py"

    def theirs(sequences: list[list[int]]) -> list[Any]:
        asked = json.dumps({"models": [tiny_model], "reads": sequences, "out": str(tmp_path / "out.npz")})
        subprocess.run([llama_cpp_python, str(script)], input=asked, text=True, check=True, timeout=300)
        with np.load(tmp_path / "out.npz") as arrays:
            return [arrays[f"logits{i}"] for i in range(len(sequences))]

    text, tasks = winogrande(24)
    (tmp_path / "tasks.csv").write_text(text)
    found = scores(tasks, lambda text: model.tokenize(text.encode()), theirs)
    rows = rows_of(perplexity("-m", tiny_model, "--winogrande", "-f", tmp_path / "tasks.csv", "-ctk", "f16").stdout)
    assert np.array([row[2:4] for row in rows], float) == pytest.approx(np.array(found), abs=2e-3)


def test_what_is_wrong_with_tasks(tiny_model: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks"

    def told(kind: str, text: str, *args: Any, status: int = 1) -> str:
        path.write_text(text)
        return perplexity("-m", tiny_model, f"--{kind}", "-f", path, *args, status=status).stderr

    assert "has 1 lines; HellaSwag's tasks have six each" in told("hellaswag", "x\n")
    assert "line 2: expected the number of the right ending, 0 to 3" in told("hellaswag", "x\n4\na\nb\nc\nd\n")
    assert "line 1 has 2 fields" in told("winogrande", "0,x\n")
    assert "line 2: the sentence has no _" in told("winogrande", "0,a _ b,x,y,1\n1,a b,x,y,1\n")
    assert "line 1: the answer is neither 1 nor 2" in told("winogrande", "0,a _ b,x,y,3\n")
    task = "0,the _ is low and he is there,world,hold,1\n"
    assert "more than the context of 8 (-c)" in told("winogrande", task, "-c", 8)
    note = "no task reached beyond the exact tail"
    assert note in told("winogrande", task, status=0)
    assert note not in told("winogrande", task, "-ctk", "f16", status=0)
    assert "are of a text, not of tasks" in told("winogrande", task, "--kl-divergence", status=2)
    assert "--winogrande was given already" in told("winogrande", task, "--hellaswag", status=2)
    assert "give the file of tasks" in perplexity("-m", tiny_model, "--hellaswag", status=2).stderr
