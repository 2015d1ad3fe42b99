"""What requests begin with, as hashes that tell which replica has read it already."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

BLOCK = 256  # characters of a link of the chain: some 64 tokens; shorter beginnings are not worth a detour
MOST = 256  # links; what begins alike for so long is read by one replica, whatever comes behind


@dataclass(frozen=True)
class Forward:
    """A request on its way to a replica. prompt: what it begins with, as text, or the path where there is no prompt:
    Ray's own prefix router reads it, and can do nothing with an empty one. chain: of each of its blocks, the hash of
    all up to its end."""

    method: str
    path: str
    body: bytes
    prompt: str
    chain: tuple[bytes, ...]


def forward(method: str, path: str, body: bytes) -> Forward:
    text = beginning(path, body) if method == "POST" else ""
    return Forward(method, path, body, text or path, chain_of(text))


def chain_of(text: str) -> tuple[bytes, ...]:
    data, links = hashlib.blake2b(digest_size=8), []
    for end in range(BLOCK, min(len(text), BLOCK * MOST) + 1, BLOCK):
        data.update(text[end - BLOCK : end].encode("utf-8", "surrogatepass"))
        links.append(data.digest())
    return tuple(links)


def beginning(path: str, body: bytes) -> str:
    """What a body's prompt begins with; "" for what has none, and for what a replica will refuse."""
    if not path.startswith(("/v1/", "/responses", "/completion", "/chat/completions", "/infill")):
        return ""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(given, dict):
        return ""
    parts: list[str] = []
    turns = given.get("input") if path.endswith("/responses") else given.get("messages")
    if isinstance(turns, list):
        if given.get("tools"):
            parts.append(json.dumps(given["tools"]))  # templates put them first, in one way or another
        parts.append(_text(given.get("instructions" if path.endswith("/responses") else "system")))
        for message in turns:
            if isinstance(message, dict):
                parts.append(f"\n{message.get('role')}\n{_text(message.get('content'))}")
    elif path == "/infill":
        parts += [_text(given.get("input_extra")), _text(given.get("input_prefix"))]
    else:
        parts += [_text(given.get(name)) for name in ("instructions", "input", "prompt")]
    return "".join(parts)[: BLOCK * MOST]


def _text(value: Any) -> str:
    """A text, the texts of parts, token ids, or the first of several prompts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return ""
    if isinstance(value[0], dict):
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    if isinstance(value[0], int):
        return ",".join(map(str, value[: BLOCK * MOST]))
    return _text(value[0])
