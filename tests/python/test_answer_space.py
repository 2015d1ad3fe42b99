"""The space that a SentencePiece-like tokenizer puts in front of a text is no part of a chat's answer."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from spectralkv import _core
from spectralkv.completion import Run

TEXTS = ["", " ", " two", " three"]


class Steps:
    """A generation that has these texts."""

    context_full = False

    def __init__(self, texts: list[str]) -> None:
        self._rest, self.reason = list(texts), ""

    def next(self) -> Any:
        text = self._rest.pop(0)
        self.reason = "" if self._rest else "length"
        return SimpleNamespace(token=3, text=text, bytes=text.encode(), logprob=0.0, top=[])


def spm(add_space_prefix: bool) -> _core.Tokenizer:
    tokens = ["<unk>", "<s>", "</s>", "a"]
    return _core.Tokenizer(
        "llama", tokens, [0.0] * 4, [2, 3, 3, 1], [], "", bos=1, eos=2, unk=0, add_space_prefix=add_space_prefix
    )


def test_which_tokenizers_strip() -> None:
    assert spm(True).strips_answers and not spm(False).strips_answers


@pytest.mark.parametrize(("strip", "expected"), [(True, " two three"), (False, "  two three")])
def test_one_space_goes_and_no_more(strip: bool, expected: str) -> None:
    run = Run(Steps(TEXTS), spm(strip), contextlib.nullcontext, 1)  # type: ignore[arg-type]
    run.strip = strip
    assert "".join(piece.text for piece in run.pieces()) == expected


def test_the_server_strips_as_well() -> None:
    pytest.importorskip("starlette")
    from spectralkv.serve.answers import Choice

    choice = Choice(0, spm(True), records=False)
    choice.strip = True
    steps = Steps(TEXTS)
    texts = []
    for _ in TEXTS:
        token = steps.next()
        step: Any = SimpleNamespace(token=token, text=token.text, reason=steps.reason, error="", timings={})
        texts.append(choice.take(step).text)
    assert "".join(texts) == " two three"
