"""spectralkv eval longbench: scores by hand, prompts, and whole runs on a small folder of LongBench's form."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectralkv import _core
from spectralkv.cli import main
from spectralkv.evaluate import longbench, longbench_metrics
from spectralkv.evaluate.longbench_data import read_questions
from spectralkv.evaluate.longbench_prompts import cut_middle, prompt_tokens
from spectralkv.evaluate.longbench_tasks import TASKS, score

NO_ROUGE = "the package rouge is missing"


def test_qa_f1() -> None:
    f1 = longbench_metrics.qa_f1
    assert f1("The cat, sat!", "a cat sat") == 1
    # cat sat on mat against big cat sat: 2 shared of 4 and 3, 2 * 2 / 7.
    assert f1("cat sat on the mat", "the big cat sat") == pytest.approx(4 / 7)
    assert f1("no no no", "no") == pytest.approx(2 / 4)
    assert f1("dog", "cat") == f1("", "cat") == f1("the", "a") == 0
    assert f1("theatre", "atre") == 0  # an article inside of a word stays


def test_counts_and_paragraphs() -> None:
    assert longbench_metrics.count("There are 12, not 13.", "12") == 0.5
    assert longbench_metrics.count("twelve", "12") == longbench_metrics.count("120", "12") == 0
    assert longbench_metrics.retrieval("Paragraph 7", "Paragraph 7") == 1
    assert longbench_metrics.retrieval("7 or 8 or 7", "Paragraph 7") == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="'Paragraph 12' in the data, got '7'"):
        longbench_metrics.retrieval("7", "7")


def test_classification() -> None:
    classes = ["Food", "Fast Food", "Sport", "Animal"]
    named = longbench_metrics.classification
    assert named("Type: Sport", "Sport", classes) == 1
    assert named("Sport or Animal", "Sport", classes) == 0.5
    assert named("Fast Food", "Fast Food", classes) == 1  # "Food" is part of the true name
    assert named("Fast Food", "Food", classes) == 0.5
    assert named("Animal", "Sport", classes) == named("", "Sport", classes) == 0
    # The name behind one that was taken out is passed over: of a, b only a goes, which leaves b and the true one.
    assert named("ab c", "ab c", ["a", "b", "ab c"]) == 0.5


def test_code_similarity() -> None:
    similar = longbench_metrics.code_similarity
    assert similar("\nreturn x\nmore", "return x") == 1
    assert similar("```python\n# sum\n// sum\nreturn x", "return x") == 1
    # "return x" and "return y" share "return ", 2 * 7 / 16 = 0.875, which rounds to 88 percent.
    assert similar("return y", "return x") == 0.88
    assert similar("# nothing", "return x") == similar("", "x") == 0


def test_rouge() -> None:
    pytest.importorskip("rouge", reason=NO_ROUGE)
    # the cat sat against the cat lay down: the cat, P 2/3, R 2/4, F 4/7.
    assert longbench_metrics.rouge_l("the cat sat", "the cat lay down") == pytest.approx(4 / 7)
    assert longbench_metrics.rouge_l("same words", "same words") == pytest.approx(1)
    assert longbench_metrics.rouge_l("", "words") == longbench_metrics.rouge_l("...", "words") == 0


def test_code_similarity_is_that_of_fuzzywuzzy() -> None:
    fuzz = pytest.importorskip("fuzzywuzzy.fuzz", reason="fuzzywuzzy is there for this comparison alone")
    if fuzz.SequenceMatcher.__module__ != "difflib":
        pytest.skip("fuzzywuzzy uses another package's matcher here")
    lines = ["return x", "for i in range(10):", "self.assertEqual(a, b)", "x" * 300 + "y", "int main() {", "a = b[0]"]
    for a in lines:
        for b in lines:
            assert longbench_metrics.code_similarity(a, b) == fuzz.ratio(a, b) / 100


def test_the_best_answer_and_the_first_line_count() -> None:
    assert score("qasper", "blue", ["red", "blue car", "blue"], []) == 1
    assert score("qasper", "blue\nred", ["blue"], []) == pytest.approx(2 / 3)
    assert score("triviaqa", "\n\nblue\nred", ["blue"], []) == 1
    assert score("trec", "Sport\nAnimal", ["Sport"], ["Sport", "Animal"]) == 1


# ---- the folder

ANSWERS = {"qasper": "cat sat on the mat", "trec": "Sport\nFood", "passage_retrieval_en": "7 or 8", "lcc": "return y"}
QUESTIONS: dict[str, list[dict[str, Any]]] = {
    "qasper": [
        {"context": "A text.", "input": "Who?", "answers": ["the big cat sat", "nobody"], "all_classes": None},
        {"context": "Another {text}.", "input": "Where?", "answers": ["mat"], "all_classes": None},
    ],
    "trec": [{"context": "", "input": "Q", "answers": ["Sport"], "all_classes": ["Sport", "Food"]}],
    "passage_retrieval_en": [{"context": "c", "input": "i", "answers": ["Paragraph 7"], "all_classes": None}],
    "lcc": [{"context": "x = 1\n", "input": "", "answers": ["return x"], "all_classes": None}],
    "samsum": [{"context": "c", "input": "i", "answers": ["the cat lay"], "all_classes": None}],
}
# By hand: qasper 4/7 and, with "mat" one of four words, 2/5; the others as above.
EXPECTED = {"qasper": (4 / 7 + 2 / 5) / 2, "trec": 1.0, "passage_retrieval_en": 0.5, "lcc": 0.88}
TASK_LIST = ",".join(EXPECTED)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "LongBench copy"
    (folder / "config").mkdir(parents=True)
    (folder / "data").mkdir()
    prompts = dict.fromkeys(QUESTIONS, "Read. {context}\n{input}\nAnswer:")
    (folder / "config" / "dataset2prompt.json").write_text(json.dumps(prompts))
    (folder / "config" / "dataset2maxlen.json").write_text(json.dumps(dict.fromkeys(QUESTIONS, 6)))
    for name, rows in QUESTIONS.items():
        lines = [json.dumps({**row, "length": 5, "dataset": name, "_id": str(i)}) for i, row in enumerate(rows)]
        (folder / "data" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def command(data: Path, tmp_path: Path, tiny_model: str) -> Callable[..., int]:
    def run(*args: str, tasks: str = TASK_LIST, out: str = "out") -> int:
        base = ["eval", "longbench", "-m", tiny_model, "--data", str(data), "--out", str(tmp_path / out)]
        return main([*base, "--tasks", tasks, *args])

    return run


def results(tmp_path: Path, cache: str, out: str = "out") -> list[dict[str, Any]]:
    path = tmp_path / out / "longbench" / f"{cache}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][1:]


class Answers:
    """Stands for a Reader: gives the answers above, and notes how many it was asked for."""

    asked = 0

    def __init__(self, *args: object) -> None:
        pass

    def answers(self, prompts: list[list[int]], max_tokens: int) -> Any:
        for _ in prompts:
            Answers.asked += 1
            yield next(self.order)

    order: Any = None


def test_scores_of_given_answers(
    command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(longbench, "Reader", Answers)
    Answers.order = iter([ANSWERS[name] for name in EXPECTED for _ in QUESTIONS[name]] * 2)
    assert command("--cache", "f16", "--cache", "q8_0") == 0
    summary = json.loads((tmp_path / "out" / "longbench" / "summary.json").read_text())
    cells = {(cell["task"], cell["cache"]): cell for cell in summary["cells"]}
    for cache in ("f16", "q8_0"):
        for name, expected in EXPECTED.items():
            assert cells[name, cache]["score"]["mean"] == pytest.approx(expected)
            assert cells[name, cache]["score"]["low"] <= expected <= cells[name, cache]["score"]["high"]
            assert cells[name, cache]["score"]["n"] == len(QUESTIONS[name])
        assert cells["mean", cache]["score"]["mean"] == pytest.approx(sum(EXPECTED.values()) / 4)
    assert cells["qasper", "q8_0"]["difference"]["mean"] == 0 and cells["qasper", "f16"]["difference"] is None
    table = capsys.readouterr().out
    assert "| qasper | 2 | 48.6 [" in table and "| mean | 5 | 71.6 [" in table
    assert table == (tmp_path / "out" / "longbench" / "summary.md").read_text() + "\n"


def test_a_run_goes_on_and_repeats(command: Callable[..., int], tmp_path: Path, data: Path) -> None:
    caches = ("--cache", "f16", "--cache", "q4_0")
    tasks = TASK_LIST + ",samsum" if importlib.util.find_spec("rouge") else TASK_LIST
    assert command(*caches, tasks=tasks) == 0
    assert command(*caches, tasks=tasks, out="again") == 0
    path = tmp_path / "out" / "longbench" / "q4_0.jsonl"
    whole = path.read_bytes()
    assert whole == (tmp_path / "again" / "longbench" / "q4_0.jsonl").read_bytes()
    # Killed in the middle: the first two records and a part of the third are there.
    lines = whole.splitlines(keepends=True)
    marked = [lines[0], lines[1].replace(b'"answer": "', b'"answer": "kept '), lines[2], lines[3][:20]]
    path.write_bytes(b"".join(marked))
    assert command(*caches, tasks=tasks) == 0
    assert path.read_bytes().splitlines(keepends=True) == [*marked[:3], *lines[3:]]
    for record in results(tmp_path, "f16"):
        assert record["score"] == score(record["task"], record["answer"], record["expected"], record.get("classes", []))
    # Another question under the same number is another record.
    line = json.dumps({**QUESTIONS["lcc"][0], "answers": ["return z"]})
    (data / "data" / "lcc.jsonl").write_text(line + "\n")
    assert command(*caches) == 0
    assert len(results(tmp_path, "f16")) == len(lines)


def test_samsum_stops_at_its_line(command: Callable[..., int], tmp_path: Path) -> None:
    pytest.importorskip("rouge", reason=NO_ROUGE)
    assert command("--cache", "f16", tasks="samsum") == 0
    (record,) = results(tmp_path, "f16")
    assert record["answer"] and "\n" not in record["answer"]


def test_the_middle_goes(make_tiny: Callable[..., str], data: Path) -> None:
    engine = _core.Engine(make_tiny(add_bos=True))
    tokenizer = engine.tokenizer
    text = "".join(chr(65 + i % 26) for i in range(100))  # a token a letter
    assert len(tokenizer.encode(text.encode(), True, True)) == 101
    assert cut_middle(tokenizer, text, 101) == text
    # 20 of 101 tokens: BOS, which is no text, and 9 letters; then the last 10.
    assert cut_middle(tokenizer, text, 20) == text[:9] + text[-10:]
    assert cut_middle(tokenizer, text, 21) == text[:9] + text[-10:]
    plain, chat = (prompt_tokens(engine, text, chat, 20) for chat in (False, True))
    assert plain == tokenizer.encode((text[:9] + text[-10:]).encode(), True, True)
    rendered = tokenizer.decode(chat, True, True).decode()
    assert rendered.endswith(f"<|im_start|>user\n{text[:9] + text[-10:]}<|im_end|>\n<|im_start|>assistant\n")
    questions = read_questions(data, ["qasper"], 1)["qasper"]
    assert [question.prompt for question in questions] == ["Read. A text.\nWho?\nAnswer:"]


def test_tasks_are_asked_as_they_should() -> None:
    plain = {"trec", "triviaqa", "samsum", "lcc", "repobench-p"}
    assert len(TASKS) == 16 and {name for name, task in TASKS.items() if not task.chat} == plain
    assert {name for name, task in TASKS.items() if task.first_line} == {"trec", "triviaqa", "samsum"}


def test_what_is_missing_or_wrong_is_named(
    command: Callable[..., int], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(*args: str, tasks: str = TASK_LIST, status: int = 1) -> str:
        assert command(*args, tasks=tasks) == status
        return capsys.readouterr().err

    assert "--data nowhere is no folder" in error("--data", "nowhere")
    (data / "config" / "dataset2maxlen.json").rename(data / "kept.json")
    message = error(tasks="qasper,musique")
    assert "2 of 4 files of LongBench are missing" in message
    assert str(data / "config" / "dataset2maxlen.json") in message
    assert f"{data / 'data' / 'musique.jsonl'} or {data / 'musique.jsonl'}" in message
    assert "qasper.jsonl" not in message
    (data / "LongBench" / "config").mkdir(parents=True)
    (data / "kept.json").rename(data / "LongBench" / "config" / "dataset2maxlen.json")
    lengths = data / "LongBench" / "config" / "dataset2maxlen.json"
    lengths.write_text('{"qasper": "6"}')
    assert f"{lengths}: expected a number of tokens for qasper, got '6'" in error(tasks="qasper")
    lengths.write_text('{"qasper": 6')
    assert f"{lengths} is no JSON" in error(tasks="qasper")
    lengths.write_text('{"qasper": 250}')
    assert "context of 256 tokens has no room" in error(tasks="qasper")
    lengths.write_text('{"qasper": 6}')
    assert "give a smaller --length than 5000" in _long(command, data, capsys)
    path = data / "data" / "qasper.jsonl"
    for text, expected in [
        ("[]", ":1: expected an object, got list"),
        ('{"context": "c"', ":1 is no JSON"),
        ('\n{"context": "c", "answers": ["a"]}', ":2 does not fit the prompt of qasper, which wants a field 'input'"),
        ('{"context": "c", "input": "i", "answers": "a"}', ":1: expected a list of texts as answers, got 'a'"),
        ('{"context": "c", "input": "i", "answers": []}', ":1 has no answer"),
        ("\n", " holds no question"),
    ]:
        path.write_text(text)
        assert f"{path}{expected}" in error(tasks="qasper")
    path.write_bytes(b'{"context": "\xff"}')
    assert f"{path} is no UTF-8 text" in error(tasks="qasper")
    with pytest.raises(SystemExit) as stop:
        command(tasks="qasper,nothing")
    assert stop.value.code == 2 and "there is no task 'nothing'" in capsys.readouterr().err


def _long(command: Callable[..., int], data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    row = {**QUESTIONS["qasper"][0], "context": "Z" * 400}
    (data / "data" / "qasper.jsonl").write_text(json.dumps(row) + "\n")
    assert command("--length", "5000", tasks="qasper") == 1
    return capsys.readouterr().err
