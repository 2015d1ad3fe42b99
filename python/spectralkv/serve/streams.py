"""How streams of events look in each of the APIs that are spoken here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spectralkv.serve.errors import ApiError

Event = dict[str, str]


@dataclass(frozen=True)
class Form:
    """marks_end: a last event "[DONE]". named: events have the names that are their types."""

    marks_end: bool = False
    named: bool = False

    def event(self, chunk: dict[str, Any]) -> Event:
        data = json.dumps(chunk, ensure_ascii=False)
        return {"event": chunk["type"], "data": data} if self.named else {"data": data}

    def failed(self, error: ApiError) -> Event:
        return self.event(({"type": "error"} if self.named else {}) | error.body())

    def end(self) -> Iterator[Event]:
        """What comes last, also behind an error."""
        if self.marks_end:
            yield {"data": "[DONE]"}


_OPENAI, _LLAMA_SERVER, _NAMED = Form(marks_end=True), Form(), Form(named=True)
_FORMS = {
    **dict.fromkeys(("/completion", "/completions", "/infill"), _LLAMA_SERVER),
    **dict.fromkeys(("/v1/messages", "/v1/responses", "/responses"), _NAMED),
}


def form_of(path: str) -> Form:
    """Of a route that answers in streams."""
    return _FORMS.get(path, _OPENAI)
