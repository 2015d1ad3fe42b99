"""Models of the Hugging Face Hub, through huggingface_hub and in its own cache; which file of a repository is meant."""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from spectralkv.extras import install_hint
from spectralkv.fetch.errors import PullError
from spectralkv.fetch.place import MAGIC, SPLIT, check_magic, part_names, sha256_of

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DEFAULT_QUANT = "Q4_K_M"
Listing = dict[str, str]  # a file's name to its SHA-256, "" where it is not known


def split_reference(text: str) -> tuple[str, str, str]:
    """owner/name, owner/name:QUANT or owner/name:file.gguf as (repository, quant, file)."""
    repo, _, rest = text.partition(":")
    if not REPO.fullmatch(repo) or ".." in repo:
        raise PullError(
            f"[pull] {text!r} names no repository: expected OWNER/NAME, OWNER/NAME:QUANT or OWNER/NAME:FILE"
        )
    return (repo, "", rest) if rest.endswith(".gguf") else (repo, rest, "")


def fetch_reference(text: str, file: str = "", force: bool = False) -> str:
    """What -hf and -hff, or pull's hf:, name; returns the path of the file, or of its first part."""
    repo, quant, named = split_reference(text)
    if file and (quant or named):
        raise PullError(f"[pull] {text!r} and {file!r} each name a file")
    if file or named:
        return fetch_from_hub(repo, lambda names: _matching(names, repo, file or named), force=force)
    return fetch_from_hub(repo, lambda names: by_quant(names, repo, quant), force=force)


def fetch_pattern(
    repo: str,
    pattern: str | None,
    additional: Iterable[str],
    local_dir: str | None,
    cache_dir: str | None,
) -> str:
    """Llama.from_pretrained's file: the one that the pattern (as fnmatch has it) finds, and more files beside it."""
    if not REPO.fullmatch(repo) or ".." in repo:
        raise PullError(f"[pull] {repo!r} names no repository, expected OWNER/NAME")
    if isinstance(additional, str):
        raise TypeError(f"[pull] additional_files is a list of patterns, found {additional!r}")
    more = list(additional)

    def choose(names: list[str]) -> str:
        return by_quant(names, repo, "") if pattern is None else _matching(names, repo, pattern)

    return fetch_from_hub(repo, choose, more=more, local_dir=local_dir, cache_dir=cache_dir)


def is_safe(name: str) -> bool:
    """Whether a file's name stays inside the repository's folder."""
    parts = name.split("/")
    return not any(part in ("", ".", "..") for part in parts) and name.isprintable() and "\\" not in name


def _models(names: Iterable[str]) -> list[str]:
    """The models among a repository's files, a split one by its first part; no projectors of images, no statistics."""
    found = {part_names(name)[0] for name in names if name.endswith(".gguf")}
    return sorted(n for n in found if not re.search(r"(?i)mmproj|imatrix", n.rpartition("/")[2]))


def _list(names: list[str]) -> str:
    most = 20
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def by_quant(names: Iterable[str], repo: str, quant: str) -> str:
    """The model whose name ends in the quant, or else has it in front of a "-", "." or "/", of several the one with the
    shortest name; without a quant Q4_K_M, or else the only model."""
    models = _models(names)
    if not models:
        raise PullError(f"[pull] the repository {repo} holds no GGUF model")
    found: list[str] = []
    for behind in ("$", "[-./]"):
        place = re.compile(rf"(?:^|[-._/]){re.escape(quant or DEFAULT_QUANT)}{behind}", re.IGNORECASE)
        found = found or [name for name in models if place.search(SPLIT.sub(".gguf", name).removesuffix(".gguf"))]
    if not found and not quant and len(models) == 1:
        found = models
    if not found:
        wanted = f"no file of {quant}" if quant else f"no {DEFAULT_QUANT} and several others"
        raise PullError(f"[pull] the repository {repo} has {wanted}; it has {_list(models)}")
    return min(found, key=lambda name: (len(name), name))


def _matching(names: Iterable[str], repo: str, pattern: str) -> str:
    files = list(names)
    meant = [pattern] if pattern in files else [name for name in files if fnmatch.fnmatchcase(name, pattern)]
    found = sorted({part_names(name)[0] for name in meant})
    if not found:
        raise PullError(f"[pull] the repository {repo} has no file {pattern!r}; it has {_list(_models(files))}")
    if len(found) > 1:
        raise PullError(f"[pull] {pattern!r} names {len(found)} files of {repo}: {_list(found)}")
    return found[0]


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise PullError(
            f"[pull] models of the Hugging Face Hub need the package huggingface_hub ({error}): {install_hint('hub')}"
        ) from error
    return huggingface_hub


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _listing(hub: Any, repo: str, cache_dir: str | None) -> tuple[Listing, Path | None]:
    """What the repository holds; where the hub cannot be reached, what the cache holds of it, and the folder there."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = hub.HfApi().model_info(repo, files_metadata=True)
    except GatedRepoError as error:
        raise PullError(
            f"[pull] {repo} wants its terms accepted on the hub, and a token (HF_TOKEN, or `hf auth login`)"
        ) from error
    except RepositoryNotFoundError as error:
        raise PullError(
            f"[pull] the hub knows no repository {repo}, or shows it only to a token (HF_TOKEN, or `hf auth login`)"
        ) from error
    except Exception as error:  # of whatever transport the package has
        try:
            kept = Path(hub.snapshot_download(repo, local_files_only=True, cache_dir=cache_dir))
        except Exception:
            raise PullError(f"[pull] the hub cannot be asked for {repo}: {_one_line(error)}") from error
        print(f"the hub cannot be asked for {repo}: using what was fetched of it before", file=sys.stderr)
        return {path.relative_to(kept).as_posix(): "" for path in kept.rglob("*") if path.is_file()}, kept
    listing: Listing = {}
    for file in info.siblings or []:
        if isinstance(file.rfilename, str) and is_safe(file.rfilename):
            listing[file.rfilename] = getattr(file.lfs, "sha256", None) or ""
    return listing, None


def fetch_from_hub(
    repo: str,
    choose: Callable[[list[str]], str],
    *,
    more: Iterable[str] = (),
    force: bool = False,
    local_dir: str | None = None,
    cache_dir: str | None = None,
) -> str:
    """Fetches the chosen file, all parts of a split one, and those that the patterns `more` find; returns the first
    one's path. huggingface_hub resumes and stores; what it brings is checked here."""
    hub = _hub()
    listing, kept = _listing(hub, repo, cache_dir)
    chosen = part_names(choose(list(listing)))
    if missing := [name for name in chosen if name not in listing]:
        raise PullError(f"[pull] {repo}: {missing[0]} is missing of the {len(chosen)} parts")
    if kept is not None:
        return str(kept / chosen[0])
    beside: list[str] = []
    for pattern in more:
        found = fnmatch.filter(listing, pattern)
        if not found:
            raise PullError(f"[pull] the repository {repo} has no file {pattern!r}")
        beside += [name for name in found if name not in chosen]
    paths = [_fetch_one(hub, repo, name, listing[name], force, local_dir, cache_dir) for name in [*chosen, *beside]]
    return paths[0]


def _state(path: str | None) -> tuple[int, int] | None:
    """What tells whether a file is the one that it was."""
    try:
        facts = Path(path or "").stat()
    except OSError:
        return None
    return (facts.st_mtime_ns, facts.st_size) if path else None


def _fetch_one(
    hub: Any, repo: str, name: str, sha256: str, force: bool, local_dir: str | None, cache_dir: str | None
) -> str:
    if local_dir is not None:
        before = str(Path(local_dir) / name)
    else:
        cached = hub.try_to_load_from_cache(repo, name, cache_dir=cache_dir)
        before = cached if isinstance(cached, str) else ""
    known = _state(before)
    if known is None or force:
        print(f"fetching {name} of {repo}", file=sys.stderr, flush=True)
    try:
        path = str(hub.hf_hub_download(repo, name, force_download=force, local_dir=local_dir, cache_dir=cache_dir))
    except Exception as error:  # of whatever transport the package has, or of the disk
        raise PullError(f"[pull] {name} of {repo} cannot be fetched: {_one_line(error)}") from error
    if path != before or _state(path) != known:
        _check(Path(path), f"{name} of {repo}", sha256)
    return path


def _check(path: Path, source: str, sha256: str) -> None:
    """A file that is not what the hub says is taken out of its cache."""
    try:
        if path.name.endswith(".gguf"):
            with path.open("rb") as file:
                check_magic(file.read(len(MAGIC)), source)
        if sha256 and (found := sha256_of(path)) != sha256:
            raise PullError(f"[pull] {source} has SHA-256 {found}, the hub says {sha256}")
    except PullError:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
