"""`spectralkv eval needle`: samples by hand, scores, and runs on a tiny model, stopped, resumed and repeated."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from itertools import pairwise

import pytest

from spectralkv import _core
from spectralkv.evaluate.needle_cells import CellMaker, largest_fit
from spectralkv.evaluate.needle_tasks import (
    NOISE,
    TASKS,
    Haystack,
    insert,
    listing,
    make_haystack,
    make_sample,
    split_sentences,
)
from spectralkv.evaluate.scoring import clean_answer, field_match, string_match_all, string_match_part

pytest.importorskip("wonderwords")
DEPTHS = [0.0, 25.0, 50.0, 75.0, 100.0]


def evaluate(*args, status=0):
    """The finished process of `spectralkv eval`; `python -m` so that the module under test is the installed one."""
    command = [sys.executable, "-m", "spectralkv.cli", "eval", *map(str, args)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == status, result.stderr
    return result


def test_needles_stand_at_their_depths():
    units = list("abcd")
    assert insert(units, [(0, "X"), (100, "Y")]) == ["X", "a", "b", "c", "d", "Y"]
    assert insert(units, [(75, "Z"), (25, "X"), (25, "Y")]) == ["a", "X", "Y", "b", "c", "Z", "d"]
    assert listing(["a"]) == "a" and listing(["a", "b", "c"]) == "a, b, and c"


def test_a_single_needle_reads_as_rulers():
    sample = make_sample("niah_single_1", Haystack([NOISE], "\n"), DEPTHS, 2, 1, "7")
    (question,) = sample.questions(4)
    lines = question.user.split("\n")
    needle = re.fullmatch(r"One of the special magic numbers for (\S+-[\S ]+) is: (\d{7})\.", lines[3])
    assert needle, lines[3]
    assert lines[0] == (
        "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about "
        "the number afterwards."
    )
    assert lines[1] == lines[2] == lines[4] == lines[5] == NOISE
    assert lines[6:] == [f"What is the special magic number for {needle[1]} mentioned in the provided text?"]
    assert question.begin == f" The special magic number for {needle[1]} mentioned in the provided text is"
    assert question.expected == (needle[2],)
    assert question.depth == sample.first_depth == 50


def test_several_keys_values_and_queries():
    text = Haystack(["One.", "Two."], " ")
    four = make_sample("niah_multikey_1", text, DEPTHS, 1, 4, "7").questions(8)
    assert len({question.user.rsplit("\n", 1)[0] for question in four}) == 1, "one text, four questions"
    assert len({question.expected for question in four}) == 4
    assert four[0].depth == 25 and len({question.depth for question in four}) == 4
    for question in four:
        key = re.search(r"magic number for (.+) mentioned", question.user.rsplit("\n", 1)[1])[1]
        assert f"for {key} is: {question.expected[0]}." in question.user
    (values,) = make_sample("niah_multivalue", text, DEPTHS, 0, 1, "7").questions(8)
    key = re.search(r"What are all the special magic numbers for (.+) mentioned", values.user)[1]
    assert [f"for {key} is: {value}." in values.user for value in values.expected] == [True] * 4
    (queries,) = make_sample("niah_multiquery", text, DEPTHS, 0, 1, "7").questions(8)
    assert len(queries.expected) == 4 and queries.begin.count(", ") == 3 and ", and " in queries.begin


def test_distractors_and_uuids():
    task = TASKS["niah_multikey_3"]
    haystack = make_haystack(task, [], 30, "7")
    assert haystack.units(30) == make_haystack(task, [], 30, "7").units(30)
    assert len(set(haystack.units(30))) == 30
    (question,) = make_sample("niah_multikey_3", haystack, DEPTHS, 0, 1, "7").questions(30)
    assert question.user.count("One of the special magic uuids for ") == 31
    assert str(uuid.UUID(question.expected[0], version=4)) == question.expected[0]


def test_variable_tracking_has_a_chain_in_order():
    (question,) = make_sample("vt", Haystack([NOISE], "\n"), DEPTHS, 0, 1, "7").questions(20)
    asked = question.user.rsplit("Memorize and track", 1)[1]
    names = list(question.expected)
    assert len(set(names)) == 5
    value = re.search(r"assigned the value (\d{5}) in the text above", asked)[1]
    statements = [f"VAR {names[0]} = {value}", *(f"VAR {b} = VAR {a} " for a, b in pairwise(names))]
    assert [line for line in asked.split("\n") if line.startswith("VAR")] == statements
    assert question.begin.endswith(f"5 variables are assigned the value {value}, they are: ")


def test_an_object_to_copy_stands_at_its_depth():
    (question,) = make_sample("copy_json_30", Haystack(["One.", "Two."], " "), DEPTHS, 2, 1, "7").questions(8)
    before, hidden, after = re.fullmatch(r"(.*\n)(?:.*\. )(\{.*\}) (.*)", question.user, re.DOTALL).groups()
    record, *fields = json.loads(hidden).items()
    assert [f'"{name}": {value}' for name, value in fields] == list(question.expected)
    assert len(fields) == 30 and all(100 <= value <= 999 for _, value in fields)
    asked = f"Repeat the JSON object of record {record[1]} mentioned in the provided text, with all of its 30 fields."
    assert question.depth == 50 and after == f"One. Two. One. Two.\n{asked}" and "JSON object is hidden" in before
    front = f'{{"record": {record[1]},'
    assert question.begin.endswith(f" is: {front}") and hidden.startswith(front)
    assert TASKS["copy_json_30"].score(hidden.removeprefix(front), question.expected) == 1


def test_sentences():
    assert split_sentences(" One  is. Two\nis! Three?") == ["One is.", "Two is!", "Three?"]
    with pytest.raises(ValueError, match="holds no text"):
        split_sentences(" \n")


@pytest.mark.parametrize("guess", [1, 7, 40, 1000])
def test_largest_fit(guess):
    assert largest_fit(lambda n: n <= 40, guess) == 40
    assert largest_fit(lambda n: n <= 0, guess) == 0


def test_scores():
    assert string_match_all("It is ABC, not 12.", ["abc", "12"]) == 1
    assert string_match_all("It is ABC.", ["abc", "12"]) == 0.5
    assert string_match_part("It is ABC.", ["abc", "12"]) == 1
    assert string_match_part("Nothing.", ["abc", "12"]) == 0
    fields = ['"a b": 12', '"c": 345']
    assert field_match('Here: {"a b": 12,\n"c":345} and {"c": 1}', fields) == 1
    assert field_match('{"c": 345, "a b": 12', fields) == 1
    assert field_match('{"a b": 12, "c": 3456}', fields) == 0.5
    assert field_match('{"a b": 12, "c": 345, "d": 1}', fields) == pytest.approx(2 / 3)
    assert field_match("I cannot.", fields) == 0
    assert clean_answer(" a\tb\x00 ") == "a\nb"


def test_prompts_fill_the_length_and_stand_in_order(make_tiny):
    engine = _core.Engine(make_tiny(context_length=4096))
    maker = CellMaker(engine, ["A sentence.", "Another one."], DEPTHS, 2, 0)
    prompts = maker.prompts("niah_multikey_1", 1400, 4)
    assert len(prompts) == 8
    assert len({prompt.key for prompt in prompts}) == 8
    for prompt in prompts:
        assert 1400 - 128 - 40 < len(prompt.tokens) <= 1400 - 128
        assert prompt.fields["expected"][0] in prompt.fields["prompt"]
    with pytest.raises(ValueError, match="niah_multikey_1 does not fit into 300 tokens"):
        maker.prompts("niah_multikey_1", 300, 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from support.tiny_model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("eval") / "tiny.gguf", context_length=4096, n_embd=32, n_heads=2)


RUN = ["--tasks", "niah_single_1,niah_multikey_3", "--lengths", 1200, "--samples", 5, "--depths", 5, "--questions", 2]
CACHES = ["--cache", "f16", "--cache", "turboquant:2/eoptshrinkq:2"]


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The folder of a run that nobody disturbed, and what it printed."""
    out = tmp_path_factory.mktemp("whole")
    return out, evaluate("needle", "-m", model, *RUN, *CACHES, "--out", out).stdout


def contents(out):
    return {path.name: path.read_bytes() for path in sorted((out / "needle").iterdir())}


def test_a_run_leaves_records_tables_and_maps(whole):
    out, printed = whole
    names = ["f16.jsonl", "heat-niah_multikey_3.png", "heat-niah_single_1.png", "summary.json", "summary.md"]
    assert sorted(contents(out)) == sorted([*names, "turboquant_2+eoptshrinkq_2.jsonl"])
    lines = [json.loads(line) for line in (out / "needle" / "f16.jsonl").read_text().splitlines()]
    assert lines[0]["cache"] == "f16" and lines[0]["seed"] == 0
    assert len(lines) == 1 + 5 + 10
    for record in lines[1:]:
        assert {"prompt", "begin", "expected", "answer", "depth"} <= record.keys()
        assert record["score"] == string_match_all(clean_answer(record["answer"]), record["expected"])
    summary = json.loads((out / "needle" / "summary.json").read_text())
    assert [cell["accuracy"]["n"] for cell in summary["cells"]] == [10, 10, 5, 5]
    assert summary["cells"][0]["accuracy"]["clusters"] == 5
    assert "niah_single_1: points above f16 on the same questions" in printed


def test_the_same_seed_gives_the_same_files(model, whole, tmp_path):
    evaluate("needle", "-m", model, *RUN, *CACHES, "--out", tmp_path, "-b", 64)  # nor do batches matter
    assert contents(tmp_path) == contents(whole[0])


def test_a_killed_run_goes_on(model, whole, tmp_path):
    command = [sys.executable, "-m", "spectralkv.cli", "eval", "needle", "-m", model, *RUN, *CACHES, "--out", tmp_path]
    path = tmp_path / "needle" / "f16.jsonl"
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and (not path.exists() or path.read_bytes().count(b"\n") < 4):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    left = path.read_bytes()
    assert left.count(b"\n") >= 4
    with open(path, "ab") as file:
        file.write(b'{"key": "cut of')  # a line that was being written
    evaluate("needle", "-m", model, *RUN, *CACHES, "--out", tmp_path)
    assert contents(tmp_path) == contents(whole[0])


def test_samples_are_added_to_what_is_there(model, whole, tmp_path):
    few = ["2" if word == 5 and RUN[i - 1] == "--samples" else word for i, word in enumerate(RUN)]
    evaluate("needle", "-m", model, *few, *CACHES, "--out", tmp_path)
    evaluate("needle", "-m", model, *RUN, *CACHES, "--out", tmp_path)
    assert contents(tmp_path) == contents(whole[0])


def test_answers_of_several_parts_count_whole_ones_too(model, tmp_path):
    args = ["--tasks", "vt,copy_json_10,niah_single_1", "--lengths", 2048, "--samples", 2, *CACHES]
    printed = evaluate("needle", "-m", model, *args, "--out", tmp_path).stdout
    cells = json.loads((tmp_path / "needle" / "summary.json").read_text())["cells"]
    assert {cell["task"]: cell["whole"] is not None for cell in cells} == {
        "vt": True,
        "copy_json_10": True,
        "niah_single_1": False,
    }
    assert [cell["whole_difference"] is None for cell in cells[:2]] == [True, False]
    assert "copy_json_10: whole answers right, in % [95 % interval]" in printed
    assert "vt: whole answers right, points above f16" in printed and "niah_single_1: whole" not in printed
    (tmp_path / "needle" / "summary.md").unlink()
    assert evaluate("needle", "-m", model, *args, "--out", tmp_path).stdout == printed, "nothing is asked again"


def test_other_settings_are_refused(model, whole):
    message = evaluate("needle", "-m", model, *RUN, *CACHES, "--out", whole[0], "--seed", 1, status=1).stderr
    assert "seed: 0 there, 1 now" in message and "Traceback" not in message


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["nedle"], 2, "there is no evaluation 'nedle'; there are needle"),
        ([], 2, "name an evaluation"),
        (["needle", "--tasks", "niah"], 2, "there is no task 'niah'"),
        (["needle", "--lengths", "x"], 2, "expected a whole number"),
        (["needle", "--cache", "f16/"], 2, "KEYS/VALUES"),
        (["needle", "--cache", "q9_9"], 1, "there is no 'q9_9'"),
        (["needle", "--lengths", "8192"], 1, "the model has 4096 tokens of context"),
        (["needle", "--tasks", "niah_single_2"], 1, "give --haystack FILE"),
        (["needle", "--haystack", "no/such"], 1, "no/such"),
    ],
)
def test_wrong_usage_is_named(model, args, status, said, tmp_path):
    given = [*args, "-m", model, "--out", tmp_path] if args[:1] == ["needle"] else args
    message = evaluate(*given, status=status).stderr
    assert said in message and "Traceback" not in message
    assert not list(tmp_path.iterdir())
