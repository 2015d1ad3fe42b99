"""Prompts of LongBench as token ids, and answers that end with their line."""

from __future__ import annotations

from spectralkv import _core
from spectralkv.evaluate.reader import Reader, chat_tokens

NEVER = float("-inf")


def cut_middle(tokenizer: _core.Tokenizer, text: str, length: int) -> str:
    """The text, or where it has more than `length` tokens (BOS included) its first and last length // 2 joined: the
    question stands at an end. Control tokens are left out of what was cut."""
    ids = tokenizer.encode_prompt(text.encode("utf-8", "surrogatepass"))
    if len(ids) <= length:
        return text
    half = length // 2
    parts = (ids[:half], ids[len(ids) - half :])  # each decoded as a text of its own
    return "".join(tokenizer.decode(part, False, True).decode("utf-8", "replace") for part in parts)


def prompt_tokens(engine: _core.Engine, text: str, chat: bool, length: int) -> list[int]:
    """Token ids of a prompt, cut to `length` before the model's chat template goes around it (chat)."""
    cut = cut_middle(engine.tokenizer, text, length)
    if chat:
        return chat_tokens(engine, cut)
    return list(engine.tokenizer.encode_prompt(cut.encode("utf-8", "surrogatepass")))


class LineReader(Reader):
    """A Reader whose answers end with a line feed's token, or an end token, but have one token at least."""

    def __init__(self, engine: _core.Engine, *args: object, **options: object) -> None:
        super().__init__(engine, *args, **options)  # type: ignore[arg-type]
        self._tokenizer = engine.tokenizer
        self._line_feed = self._tokenizer.encode(b"\n", False, False)[-1]
        ends = [token for token in range(self._tokenizer.n_vocab) if self._tokenizer.is_end(token)]
        self._no_end = [(token, NEVER) for token in (self._line_feed, *ends)]

    def _continue(self, max_tokens: int) -> str:
        first = _core.Generation(
            self._session, _core.SamplingOptions(temperature=0, logit_bias=self._no_end), max_tokens=1, stop=[]
        ).next()
        ids = [first.token] if first else []
        if ids and max_tokens > 1:
            self._session.eval(ids)
            rest = _core.Generation(
                self._session, _core.SamplingOptions(temperature=0), max_tokens=max_tokens - 1, stop=[]
            )
            while (step := rest.next()) is not None:
                if step.token == self._line_feed or self._tokenizer.is_end(step.token):
                    break
                ids.append(step.token)
        return self._tokenizer.decode(ids, False, False).decode("utf-8", "replace")
