"""What evaluations are built of: cache types, intervals, result files, and a reader that saves what prompts share."""

import math

import pytest

from spectralkv import _core
from spectralkv.evaluate.cache_types import CacheType, parse_cache_type
from spectralkv.evaluate.intervals import paired_difference, score_interval, wilson
from spectralkv.evaluate.reader import Reader, branch_points, common_length
from spectralkv.evaluate.store import ResultFile, read_results


def test_cache_types():
    assert parse_cache_type("f16") == CacheType("f16", "f16")
    both = parse_cache_type(" eoptshrinkq:3 / eoptshrinkq:2,sink=4 ")
    assert (both.k, both.v) == ("eoptshrinkq:3", "eoptshrinkq:2,sink=4")
    assert both.file_name == "eoptshrinkq_3+eoptshrinkq_2-sink.4"
    assert parse_cache_type(both.name) == both
    assert parse_cache_type("f16").exact and not parse_cache_type("f16/q8_0").exact
    for text in ("", "/f16", "f16/", "a/b/c"):
        with pytest.raises(ValueError, match="KEYS/VALUES"):
            parse_cache_type(text)


def test_wilson_is_the_textbooks():
    low, high = wilson(0.95, 100)
    assert (low, high) == pytest.approx((0.8882, 0.9785), abs=5e-5)
    assert wilson(1.0, 100) == pytest.approx((0.9630, 1.0), abs=5e-5)
    assert wilson(0.0, 100)[0] == 0


def test_independent_answers_have_wilsons_interval():
    scores = [1.0] * 95 + [0.0] * 5
    interval = score_interval(scores, range(100))
    assert (interval.low, interval.high) == wilson(0.95, 100)


def test_clusters_widen_the_interval():
    alike = [1.0] * 4 * 5 + [0.0] * 4 * 5  # ten texts, whose four answers always agree: as good as ten answers
    interval = score_interval(alike, [i // 4 for i in range(40)])
    # The variance between clusters is 10/9 of 1/40; over .25/39 that is the design effect.
    assert (interval.low, interval.high) == pytest.approx(wilson(0.5, 40 / ((10 / 9 * 0.025) / (0.25 / 39))))
    assert (interval.n, interval.clusters) == (40, 10)
    assert score_interval([1.0] * 40, [i // 4 for i in range(40)]).low == wilson(1.0, 10)[0]
    mixed = [float(i % 2) for i in range(40)]  # every text has two right ones: no design effect below 1
    assert score_interval(mixed, [i // 4 for i in range(40)]).low == pytest.approx(wilson(0.5, 40)[0])


def test_paired_difference_is_bonett_and_prices():
    a = [1.0] * 60 + [1.0] * 12 + [0.0] * 4 + [0.0] * 24
    b = [1.0] * 60 + [0.0] * 12 + [1.0] * 4 + [0.0] * 24
    interval = paired_difference(a, b, range(100))
    assert interval.mean == pytest.approx(0.08)
    p12, p21 = 13 / 102, 5 / 102
    half = 1.959963984540054 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / 102 * 102 / 101)
    assert (interval.low, interval.high) == pytest.approx((p12 - p21 - half, p12 - p21 + half))
    same = paired_difference([1.0] * 10, [1.0] * 10, range(10))
    assert same.mean == 0 and same.low < 0 < same.high
    clustered = paired_difference(a, b, [i // 4 for i in range(100)])
    assert clustered.high - clustered.low > interval.high - interval.low


def test_results_are_kept_and_resumed(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    with ResultFile(path, {"seed": 1, "lengths": (1, 2)}) as file:
        file.add({"key": "a/10/0", "score": 1})
        file.add({"key": "a/2/0", "answer": "\n\ud800é"})
        with pytest.raises(ValueError, match="another process is writing"):
            ResultFile(path, {"seed": 1, "lengths": (1, 2)})
    with open(path, "ab") as raw:
        raw.write(b'{"key": "a/3')
    with ResultFile(path, {"seed": 1, "lengths": (1, 2)}) as file:
        assert list(file.records) == ["a/10/0", "a/2/0"]
        file.add({"key": "a/3/0"})
        file.arrange()
        assert list(file.records) == ["a/2/0", "a/3/0", "a/10/0"]
        file.add({"key": "a/4/0"})
    settings, records, _ = read_results(path)
    assert settings == {"seed": 1, "lengths": [1, 2]}
    assert [record["key"] for record in records] == ["a/2/0", "a/3/0", "a/10/0", "a/4/0"]
    assert [item.name for item in path.parent.iterdir()] == ["a.jsonl"]
    before = path.read_bytes()
    with pytest.raises(ValueError, match="seed: 1 there, 2 now"):
        ResultFile(path, {"seed": 2, "lengths": (1, 2)})
    assert path.read_bytes() == before


def test_damaged_results_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"seed": 1}\nnot json\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2 is no JSON"):
        ResultFile(path, {"seed": 1})
    path.write_bytes(b'{"seed": 1}\n[1]\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2 is no record"):
        ResultFile(path, {"seed": 1})


def test_branch_points():
    prompts = ["abcX1", "abcX2", "abY", "Z"]
    assert branch_points(prompts) == [[2, 4], [2], [], []]
    assert common_length("abc", "abcd") == 3 and common_length("", "a") == 0


PREFIX = [5 + i % 250 for i in range(700)]
PROMPTS = [
    [*PREFIX[:650], 9, 8, 7],
    [*PREFIX[:650], 9, 8, 6],
    [*PREFIX[:650], 3],
    [*PREFIX[:300], 4] + [11] * 200,
    [*PREFIX[:300], 4] + [11] * 100 + [12] * 50,
    [7] * 20,
]


@pytest.mark.parametrize("spec", ["f16", "q8_0", "turboquant:2", "eoptshrinkq:2", "f16/turboquant:2,window=64"])
def test_answers_do_not_depend_on_what_is_saved(make_tiny, spec):
    engine = _core.Engine(make_tiny(context_length=1024, weight_type="f16"))
    cache = parse_cache_type(spec)
    together = list(Reader(engine, cache, 1024).answers(PROMPTS, 12))
    alone = [next(Reader(engine, cache, 1024, n_batch=17).answers([prompt], 12)) for prompt in PROMPTS]
    assert together == alone
    assert len(set(together)) > 1
