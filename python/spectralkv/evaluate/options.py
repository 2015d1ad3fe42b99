"""Options that the evaluations share, and what they mean: the model, the cache types, where results go."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

import spectralkv
from spectralkv import _core
from spectralkv.calibrations import CALIBRATION_HELP, open_engine
from spectralkv.evaluate.cache_types import CacheType, parse_cache_type

Item = TypeVar("Item")
FINGERPRINT = 1 << 20  # bytes at either end of a model file that its fingerprint covers
DEFAULT_CACHES = ("f16", "eoptshrinkq:2")


def cache_type(text: str) -> CacheType:
    """As argparse wants it."""
    try:
        return parse_cache_type(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_number(least: int, most: int = 2**31 - 1) -> Any:
    """A converter for argparse: whole numbers from least to most."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, got {text!r}")
        return number

    return convert


def number_list(least: int, most: int) -> Any:
    """A converter for argparse: whole numbers between commas, which it sorts."""
    convert = whole_number(least, most)
    return lambda text: sorted({convert(part.strip()) for part in text.split(",")})


def add_shared_options(parser: argparse.ArgumentParser, caches: str = " and ".join(DEFAULT_CACHES)) -> None:
    """-m, -hf, -t, -ngl, -b and --cache: the model and its caches. caches: what stands for none."""
    add = parser.add_argument
    add("-m", "--model", metavar="PATH", help="a GGUF file (default: the demo model)")
    add("-hf", "-hfr", "--hf-repo", metavar="REPO", help="OWNER/NAME[:QUANT] of the Hugging Face Hub, in place of -m")
    add("-hff", "--hf-file", metavar="FILE", default="", help="the file in that repository")
    add("-t", "--threads", type=whole_number(0, 1024), default=0, metavar="N", help="CPU threads (default: one a core)")
    add(
        "-ngl",
        "--n-gpu-layers",
        type=int,
        default=0,
        metavar="N",
        help="0: CPU (default), any negative number: all on the GPU",
    )
    add("--kv-calibration", default="auto", metavar="SOURCE", help=CALIBRATION_HELP)
    add(
        "-b",
        "--batch-size",
        type=whole_number(1, 65536),
        default=512,
        metavar="N",
        help="tokens in one pass, at most (default: 512)",
    )
    add(
        "--cache",
        action="append",
        type=cache_type,
        metavar="TYPE",
        help="a cache type, TYPE or KEYS/VALUES, such as q8_0 or eoptshrinkq:3/eoptshrinkq:2; again for another one "
        f"(default: {caches})",
    )


def add_result_options(parser: argparse.ArgumentParser, out: str) -> None:
    """--out and --seed. out: the folder that --out stands for."""
    add = parser.add_argument
    add("--out", type=Path, default=Path(out), metavar="FOLDER", help=f"where results go (default: {out})")
    add("--seed", type=whole_number(0, 2**63 - 1), default=0, metavar="N", help="of all that is random (default: 0)")


def given_caches(options: argparse.Namespace) -> list[CacheType]:
    """The cache types asked for, each once."""
    return list(dict.fromkeys(options.cache or map(parse_cache_type, DEFAULT_CACHES)))


def _fetched_model(options: argparse.Namespace) -> str:
    from spectralkv.fetch.hub import fetch_reference
    from spectralkv.fetch.pull import pull

    return pull() if options.hf_repo is None else fetch_reference(options.hf_repo, options.hf_file)


def load_engine(options: argparse.Namespace) -> _core.Engine:
    """The model, after a check that it can have every cache type: ValueError names the one that it cannot."""
    if options.model is None:
        options.model = _fetched_model(options)
    elif options.hf_repo is not None:
        raise ValueError(f"[eval] -m {options.model} and -hf {options.hf_repo} each name a model")
    engine = open_engine(
        options.model,
        n_threads=options.threads,
        n_gpu_layers=options.n_gpu_layers,
        kv_calibration=options.kv_calibration,
    )
    for cache in given_caches(options):
        _core.Session(engine, n_ctx=16, type_k=cache.k, type_v=cache.v)
    return engine


def model_settings(path: str, kv_calibration: str) -> dict[str, object]:
    """What says in a result file which model it was: the file's name, size, and SHA-256 of its first and last MiB; and
    which calibration its caches had."""
    size, digest = Path(path).stat().st_size, hashlib.sha256()
    with open(path, "rb") as file:
        digest.update(file.read(FINGERPRINT))
        file.seek(max(0, size - FINGERPRINT))
        digest.update(file.read())
    return {
        "spectralkv": spectralkv.__version__,
        "model": Path(path).name,
        "bytes": size,
        "sha256": digest.hexdigest(),
        "kv_calibration": kv_calibration,
    }


def with_progress(items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
    """The items, with a bar on a terminal."""
    yield from tqdm(items, total=total, desc=label, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False)
