"""`pull`: a model by its name, its address, or its place on the Hugging Face Hub."""

from __future__ import annotations

from spectralkv.fetch.errors import PullError
from spectralkv.fetch.named import MODELS


def pull(source: str = "demo", force: bool = False) -> str:
    """Makes sure that a model is in the cache folder and returns its path; of a split one, that of the first part.

    source: a name ("demo" is SmolLM2-135M-Instruct Q4_1, 98 MB), an http or https address, or
    "hf:owner/name:file.gguf", "hf:owner/name:QUANT" or "hf:owner/name" (needs huggingface_hub, the extra "hub").
    `force` fetches it even when it is there. Processes that do this at once wait for each other. What was fetched of a
    file before a fault is kept where it can be of use, and the next call goes on from there. Raises PullError when the
    network, the disk, or the file's size or hash stands in the way; what was there before then stays.
    """
    if source in MODELS:
        from spectralkv.fetch.wheels import fetch_named

        return fetch_named(source, MODELS[source], force)
    if source.startswith("hf:"):
        from spectralkv.fetch.hub import fetch_reference

        return fetch_reference(source[len("hf:") :], force=force)
    if "://" in source:
        from spectralkv.fetch.web import fetch_url

        return fetch_url(source, force)
    raise PullError(
        f"[pull] {source!r} is not known: expected a name ({', '.join(MODELS)}), an address (https://...), or "
        "hf:OWNER/NAME:FILE.gguf"
    )
