"""The command `spectralkv quantize`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spectralkv.mixtures import ALIASES, NUMBERS, QUANTIZATIONS, READ_ONLY
from spectralkv.output import parse_size
from spectralkv.peers import Peer, add_peers
from spectralkv.quantize import QuantizeOptions, plan_quantization, quantize
from spectralkv.terminal import complain, for_terminal

_GOAL = "the types are chosen by name, not by a size"
_STATE = "nothing is kept of a run"
# Options of llama-quantize that are not here.
REFUSED = (
    Peer(("--include-weights",), "", "an importance matrix is used for all tensors that it has", True),
    Peer(("--exclude-weights",), "", "an importance matrix is used for all tensors that it has", True),
    Peer(("--keep-split",), "", "--split-max-size says how the result is split", True),
    Peer(("--prune-layers",), "", "a model keeps its layers", True),
    Peer(("--override-kv",), "", "metadata are copied as they are; `spectralkv run` overrides them", True),
    Peer(("--target-bpw",), "", _GOAL, True),
    Peer(("--target-size",), "", _GOAL, True),
    Peer(("--save-state",), "", _STATE, True),
    Peer(("--state-file",), "", _STATE, True),
)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spectralkv quantize",
        usage="spectralkv quantize [OPTIONS] IN.gguf [OUT.gguf] TYPE [THREADS]",
        description="Writes a GGUF file anew with its weights in another type.",
        epilog=f"TYPE: {', '.join(QUANTIZATIONS)}, or its number. OUT.gguf: by default IN-TYPE.gguf beside IN.gguf.",
    )
    add = parser.add_argument
    add("words", nargs="*", help=argparse.SUPPRESS)
    add(
        "--tensor-type",
        action="append",
        default=[],
        metavar="REGEX=TYPE",
        help="type of the tensors whose name the regular expression finds, like attn_v=q8_0; may be repeated, the "
        "first that fits wins",
    )
    add(
        "--tensor-type-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="the same, as many as the file has, with spaces or line breaks between; behind those of --tensor-type",
    )
    add(
        "--imatrix",
        type=Path,
        metavar="FILE",
        help="importance matrix of llama-imatrix (.gguf or .dat): errors of each column count as much as it says",
    )
    add("--pure", action="store_true", help="all matrices in the main type of TYPE, without its mixture")
    add("--output-tensor-type", metavar="TYPE", help="type of output.weight, or of the embedding that stands for it")
    add("--token-embedding-type", metavar="TYPE", help="type of token_embd.weight")
    add("--leave-output-tensor", action="store_true", help="output.weight keeps its type")
    add("--allow-requantize", action="store_true", help="also quantise what is quantised already")
    add("--dry-run", action="store_true", help="print every tensor's type and size, and write nothing")
    add("--split-max-size", type=_size, default=0, metavar="N", help="bytes of tensors in one file, like 500M or 2G")
    add("--force", action="store_true", help="replace a file that is there")
    add_peers(parser, REFUSED)
    return parser


def _overrides(parser: argparse.ArgumentParser, given: Sequence[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for text in given:
        pattern, equals, kind = text.rpartition("=")
        if not equals or not pattern:
            parser.error(f"--tensor-type: expected REGEX=TYPE, got {text!r}")
        out.setdefault(pattern, kind)
    return out


def _positional(parser: argparse.ArgumentParser, words: list[str]) -> tuple[Path, Path | None, str, int]:
    """(in, out, type, threads) of IN [OUT] TYPE [THREADS]."""
    known = {*QUANTIZATIONS, *ALIASES, *NUMBERS, *(kind.upper() for kind in READ_ONLY)}  # the last: refused by name
    at = next((i for i in (1, 2) if i < len(words) and words[i].upper() in known), None)
    if at is None:
        shown = words[-1] if len(words) > 1 else "nothing"
        parser.error(
            f"expected IN.gguf [OUT.gguf] TYPE [THREADS] with a TYPE of {', '.join(QUANTIZATIONS)}; got {shown}"
        )
    rest = words[at + 1 :]
    if len(rest) > 1 or (rest and not rest[0].isdecimal()):
        parser.error(f"behind the type comes the number of threads, got {' '.join(rest)}")
    name = NUMBERS.get(words[at], words[at].upper())
    return Path(words[0]), Path(words[1]) if at == 2 else None, name, int(rest[0]) if rest else 0


def main(args: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    parser = _parser()
    given = parser.parse_intermixed_args(args)
    source, target, quantization, n_threads = _positional(parser, given.words)
    try:
        of_files = [word for path in given.tensor_type_file for word in path.read_text(encoding="utf-8").split()]
        options = QuantizeOptions(
            overrides=_overrides(parser, [*given.tensor_type, *of_files]),
            pure=given.pure,
            output_type=given.output_tensor_type,
            embedding_type=given.token_embedding_type,
            leave_output=given.leave_output_tensor,
            importance=given.imatrix,
            allow_requantize=given.allow_requantize,
            n_threads=n_threads,
            split_max_size=given.split_max_size,
            force=given.force,
        )
        if given.dry_run:
            plan = plan_quantization(source, quantization, options)
            print(for_terminal(plan.table()))
            print(for_terminal(plan.summary()))
            return 0
        for path in quantize(
            source, target or source.with_name(f"{source.stem}-{quantization}.gguf"), quantization, options
        ):
            print(path)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        return complain(error)
    return 0
