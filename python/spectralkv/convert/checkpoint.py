"""The safetensors files of a folder as one set of tensors: one file, or shards; Hugging Face's or Mistral's."""

from __future__ import annotations

from pathlib import Path

from spectralkv.convert.errors import ConvertError
from spectralkv.convert.forms import Each, read_json
from spectralkv.convert.safetensors import SafetensorsFile, TensorEntry


def open_checkpoint(folder: Path, consolidated: bool) -> dict[str, TensorEntry]:
    """Every tensor by name. ConvertError names a shard that is missing, or the tensor that its shard lacks."""
    stem = "consolidated" if consolidated else "model"
    index = folder / f"{stem}.safetensors.index.json"
    if index.exists():
        return _open_indexed(folder, index)
    if (folder / f"{stem}.safetensors").exists():
        return dict(SafetensorsFile(folder / f"{stem}.safetensors").tensors)
    shards = sorted(folder.glob(f"{stem}-*.safetensors"))
    if not shards:
        raise ConvertError(
            f"{folder} has no {stem}.safetensors, {stem}.safetensors.index.json or {stem}-00001-of-N.safetensors"
        )
    _check_count(shards)
    tensors: dict[str, TensorEntry] = {}
    for shard in shards:
        _add(tensors, SafetensorsFile(shard))
    return tensors


def _open_indexed(folder: Path, index: Path) -> dict[str, TensorEntry]:
    places = read_json(index, {"weight_map": Each(str)}).get("weight_map")
    if not places:
        raise ConvertError(f"{index} has no weight_map of tensors to files")
    names = sorted(set(places.values()))
    if outside := [name for name in names if Path(name).name != name]:
        raise ConvertError(f"{index} names {outside[0]!r}, expected a file of the same folder")
    if missing := [name for name in names if not (folder / name).exists()]:
        raise ConvertError(f"{folder / missing[0]} is missing: {index.name} names it ({len(names)} shards in all)")
    tensors: dict[str, TensorEntry] = {}
    for name in names:
        _add(tensors, SafetensorsFile(folder / name))
    for tensor, name in places.items():
        if tensor not in tensors or tensors[tensor].file.path.name != name:
            raise ConvertError(f"{folder / name} has no tensor '{tensor}', which {index.name} places there")
    return tensors


def _add(tensors: dict[str, TensorEntry], file: SafetensorsFile) -> None:
    for name, entry in file.tensors.items():
        if name in tensors:
            raise ConvertError(f"tensor '{name}' is in {tensors[name].file.path.name} and in {file.path.name}")
        tensors[name] = entry


def _check_count(shards: list[Path]) -> None:
    """Names end in -00001-of-00004: all four must be there."""
    count = shards[0].stem.rpartition("-of-")[2]
    if not count.isdigit():
        return
    for number in range(1, int(count) + 1):
        expected = shards[0].with_name(f"{shards[0].stem.split('-0')[0]}-{number:05d}-of-{count}.safetensors")
        if expected not in shards:
            raise ConvertError(f"{expected} is missing ({len(shards)} of {int(count)} shards are there)")
