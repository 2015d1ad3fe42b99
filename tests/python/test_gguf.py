"""The GGUF reader against files that the `gguf` package writes: every metadata kind, every tensor type, split files."""

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, GGUFWriter

from spectralkv import _core

SCALARS = {
    "kind.u8": ("add_uint8", 255),
    "kind.i8": ("add_int8", -128),
    "kind.u16": ("add_uint16", 65535),
    "kind.i16": ("add_int16", -32768),
    "kind.u32": ("add_uint32", 2**32 - 1),
    "kind.i32": ("add_int32", -(2**31)),
    "kind.u64": ("add_uint64", 2**64 - 1),
    "kind.i64": ("add_int64", -(2**63)),
    "kind.f32": ("add_float32", 0.5),
    "kind.f64": ("add_float64", 0.1),
    "kind.true": ("add_bool", True),
    "kind.false": ("add_bool", False),
    "kind.str": ("add_string", "h\u00e9llo \u2581 \U0001f600\x00\n"),
}

ARRAYS = {
    "list.u8": (GGUFValueType.UINT8, [0, 255]),
    "list.i8": (GGUFValueType.INT8, [-128, 127]),
    "list.u16": (GGUFValueType.UINT16, [0, 65535]),
    "list.i16": (GGUFValueType.INT16, [-32768]),
    "list.u32": (GGUFValueType.UINT32, [2**32 - 1]),
    "list.i32": (GGUFValueType.INT32, [-1, 0, 1]),
    "list.u64": (GGUFValueType.UINT64, [2**63 - 1]),
    "list.i64": (GGUFValueType.INT64, [-(2**63), 2**63 - 1]),
    "list.f32": (GGUFValueType.FLOAT32, [0.5, -2.0, float("inf")]),
    "list.f64": (GGUFValueType.FLOAT64, [0.1, 1e300]),
    "list.bool": (GGUFValueType.BOOL, [True, False, True]),
    "list.str": (GGUFValueType.STRING, ["", "a", "\u2581the", "x" * 300]),
}


def write(path, writer=None, tensors=()):
    """Finishes `writer` (a plain one when None) with tensors (name, bytes or array, type or None)."""
    writer = writer or GGUFWriter(path, "llama")
    for name, data, dtype in tensors:
        writer.add_tensor(name, data, raw_dtype=dtype)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def raw_tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random bytes of a tensor of `shape` (numpy order) in type `name`."""
    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[name.upper()]]
    row = shape[-1] // values * size
    return np.random.default_rng(seed).integers(0, 256, (*shape[:-1], row), dtype=np.uint8)


def test_metadata_of_every_kind(tmp_path):
    path = tmp_path / "kinds.gguf"
    writer = GGUFWriter(path, "llama")
    for key, (method, value) in SCALARS.items():
        getattr(writer, method)(key, value)
    for key, (kind, values) in ARRAYS.items():
        writer.add_key_value(key, values, GGUFValueType.ARRAY, sub_type=kind)
    write(path, writer)

    info = _core.gguf_info(str(path))
    assert info["version"] == 3
    assert info["alignment"] == 32
    assert info["tensors"] == []
    metadata = info["metadata"]
    assert metadata["general.architecture"] == "llama"
    for key, (_, value) in SCALARS.items():
        assert metadata[key] == value and type(metadata[key]) is type(value), key
    for key, (_, values) in ARRAYS.items():
        assert list(metadata[key]) == values, key


@pytest.mark.parametrize("alignment", [8, 32, 256])
def test_tensors_of_every_type(tmp_path, alignment):
    path = tmp_path / "tensors.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_custom_alignment(alignment)
    shapes = [(256,), (3, 512), (2, 3, 256), (2, 1, 5, 256)]
    expected = []
    tensors = []
    for i, name in enumerate(_core.weight_types()):
        shape = shapes[i % len(shapes)]
        data = raw_tensor(name, shape, seed=i)
        dtype = GGMLQuantizationType[name.upper()]
        if name in ("f32", "f16"):  # the writer takes these as arrays of values
            data, dtype = data.view(np.float32 if name == "f32" else np.float16), None
        tensors.append((f"blk.{i}.{name}", data, dtype))
        expected.append(
            {"name": f"blk.{i}.{name}", "type": name, "shape": list(shape[::-1]), "bytes": data.nbytes, "file": 0}
        )
    write(path, writer, tensors)

    info = _core.gguf_info(str(path))
    assert info["alignment"] == alignment
    content = path.read_bytes()
    for tensor, (_, data, _) in zip(info["tensors"], tensors, strict=True):
        at = tensor.pop("offset")
        assert at % alignment == 0 and content[at : at + data.nbytes] == data.tobytes()
    assert [{**tensor, "shape": list(tensor["shape"])} for tensor in info["tensors"]] == expected


def test_split_model(tmp_path):
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama", split_max_tensors=2)
    names = [f"t{i}" for i in range(5)]
    write(path, writer, [(name, np.full((2, 4), i, np.float32), None) for i, name in enumerate(names)])
    parts = sorted(tmp_path.glob("model-*.gguf"))
    assert [part.name for part in parts] == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]

    for part in parts:
        info = _core.gguf_info(str(part))
        assert info["metadata"]["general.architecture"] == "llama"
        assert [(tensor["name"], tensor["file"]) for tensor in info["tensors"]] == [
            (name, i // 2) for i, name in enumerate(names)
        ]

    parts[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"part 2 of 3.*model-00002-of-00003\.gguf"):
        _core.gguf_info(str(parts[0]))


def test_errors_are_python_exceptions(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        _core.gguf_info(str(tmp_path / "none.gguf"))
    path = tmp_path / "text.gguf"
    path.write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match="text.gguf.*'not '.*'GGUF'"):
        _core.gguf_info(str(path))
    big = tmp_path / "big.gguf"
    writer = GGUFWriter(big, "llama", endianess=1)
    write(big, writer)
    with pytest.raises(ValueError, match="big-endian"):
        _core.gguf_info(str(big))


def test_unsupported_weight_type_is_named(tmp_path):
    path = tmp_path / "q8_k.gguf"
    write(path, tensors=[("blk.0.ffn_up.weight", raw_tensor("q8_k", (2, 256)), GGMLQuantizationType.Q8_K)])
    with pytest.raises(ValueError, match=r"blk\.0\.ffn_up\.weight.*15 \(Q8_K\)"):
        _core.gguf_info(str(path))


def test_every_truncation_of_a_written_file(tmp_path):
    path = tmp_path / "whole.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "a"])
    write(path, writer, [("t", np.arange(8, dtype=np.float32), None)])
    whole = path.read_bytes()
    assert len(_core.gguf_info(str(path))["tensors"]) == 1
    cut = tmp_path / "cut.gguf"
    for n in range(1, len(whole)):
        cut.write_bytes(whole[:n])
        with pytest.raises(ValueError, match="cut.gguf"):
            _core.gguf_info(str(cut))
