"""The C++ tests, each by its name: the programs are built here, and run once for those that were selected."""

from pathlib import Path

import pytest
from support.cpp_tests import Crash, find_cases

ROOT = Path(__file__).resolve().parents[2]
CASES = find_cases(ROOT)


@pytest.fixture
def started(cpp_programs, request):
    cpp_programs.start(
        item.callspec.params["case"] for item in request.session.items if item.name.startswith("test_cpp[")
    )
    return cpp_programs


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cpp(started, case):
    try:
        outcome = started.outcome(case)
    except Crash as crash:
        pytest.fail(str(crash), pytrace=False)
    if outcome.skipped:
        pytest.skip("it skips itself, or is not compiled here")
    if outcome.failures:
        pytest.fail("\n\n".join(outcome.failures), pytrace=False)


def test_none_is_missed(cpp_programs):
    """What the programs hold is what was found in the sources."""
    rooms = {case.room for case in CASES}
    assert set().union(*(cpp_programs.compiled(room) for room in rooms)) - set(CASES) == set()
