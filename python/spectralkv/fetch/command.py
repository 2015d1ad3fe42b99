"""The command `spectralkv pull`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spectralkv.fetch.errors import PullError
from spectralkv.fetch.named import MODELS
from spectralkv.fetch.pull import pull
from spectralkv.terminal import complain


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:20}{model.about}" for name, model in MODELS.items())
    parser = argparse.ArgumentParser(
        prog="spectralkv pull",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fetches a model unless it is there, checks it, and prints its path.",
        epilog=f"names:\n{names}\n\n"
        "Files by name or address lie in $XDG_CACHE_HOME/spectralkv (~/.cache/spectralkv), those of the\n"
        "Hugging Face Hub, which need the package huggingface_hub, in its own cache. What broke off goes\n"
        "on from there.",
    )
    add = parser.add_argument
    add(
        "what",
        nargs="?",
        metavar="WHAT",
        help="a name (default: demo), an address of http or https, or hf:OWNER/NAME:FILE.gguf, hf:OWNER/NAME:QUANT",
    )
    add("-hf", "-hfr", "--hf-repo", metavar="REPO", help="OWNER/NAME or OWNER/NAME:QUANT of the Hugging Face Hub")
    add("-hff", "--hf-file", metavar="FILE", default="", help="the file in that repository")
    add("--force", action="store_true", help="fetch it even when it is there")
    return parser


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(args)
    if options.what is not None and options.hf_repo is not None:
        parser.error(f"{options.what!r} and -hf each name a model")
    if options.hf_file and options.hf_repo is None:
        parser.error("-hff names a file of a repository, which -hf names")
    try:
        if options.hf_repo is not None:
            from spectralkv.fetch.hub import fetch_reference

            print(fetch_reference(options.hf_repo, options.hf_file, options.force))
        else:
            print(pull("demo" if options.what is None else options.what, options.force))
    except PullError as error:
        return complain(error)
    return 0
