"""The command `spectralkv convert`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spectralkv.convert.conversion import OUT_TYPES, ConvertOptions, convert, plan_conversion
from spectralkv.output import check_target, parse_size, shard_names
from spectralkv.terminal import complain, for_terminal


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectralkv convert",
        description="Turns a checkpoint of Hugging Face (config.json, safetensors) or of Mistral (params.json, "
        "consolidated safetensors, tekken.json) into a GGUF file. PyTorch is not needed.",
    )
    add = parser.add_argument
    add("folder", metavar="DIR", help="the checkpoint's folder")
    add(
        "--outfile",
        "-o",
        metavar="F",
        help="file to write, or a folder; default: a name after GGUF's convention in DIR",
    )
    add(
        "--outtype",
        choices=OUT_TYPES,
        default="auto",
        help="type of the matrices; auto (default) keeps the checkpoint's own",
    )
    add("--vocab-only", action="store_true", help="write the tokenizer and the metadata without tensors")
    add("--dry-run", action="store_true", help="say what would be written, and write nothing")
    add("--model-name", metavar="NAME", help="general.name; default: from the checkpoint")
    add("--split-max-size", type=_size, default=0, metavar="N", help="bytes of tensors in one file, like 500M or 2G")
    add("--threads", "-t", type=int, default=0, metavar="N", help="default: one a core")
    add("--force", action="store_true", help="replace files that are there")
    return parser


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    given = _parser().parse_args(args)
    options = ConvertOptions(
        outtype=given.outtype,
        vocab_only=given.vocab_only,
        model_name=given.model_name,
        split_max_size=given.split_max_size,
        force=given.force,
        n_threads=max(0, given.threads),
    )
    try:
        if given.dry_run:
            plan = plan_conversion(given.folder, given.outfile, options)
            print(for_terminal(plan.text(options.split_max_size)))
            for note in plan.notes:
                print(for_terminal(f"note: {note}"))
            check_target(shard_names(plan.outfile, plan.tensors, options.split_max_size), options.force, plan.sources)
            return 0
        for path in convert(given.folder, given.outfile, options):
            print(path)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        return complain(error)
    return 0
