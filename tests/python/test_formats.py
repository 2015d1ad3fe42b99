"""Decoded weight rows against the `gguf` package's own dequantize, bit by bit, for every type in list.def."""

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType
from gguf.quants import dequantize

from spectralkv import _core

# Where a block has f16 numbers, in bytes; a type without a line here fails.
HALVES = {
    "f32": (),
    "f16": (0,),
    "bf16": (),
    "q4_0": (0,),
    "q4_1": (0, 2),
    "q5_0": (0,),
    "q5_1": (0, 2),
    "q8_0": (0,),
    "q2_k": (80, 82),
    "q3_k": (108,),
    "q4_k": (0, 2),
    "q5_k": (0, 2),
    "q6_k": (208,),
    "iq4_nl": (0,),
    "iq4_xs": (0,),
    "mxfp4": (),
    "iq2_xxs": (0,),
    "iq2_xs": (0,),
    "iq2_s": (0,),
    "iq3_xxs": (0,),
    "iq3_s": (0,),
    "iq1_s": (0,),
    "iq1_m": (),  # has one in four halves of bytes
    "tq1_0": (52,),
    "tq2_0": (64,),
}
TYPES = {name: (values, size, HALVES[name]) for name, (_, values, size) in _core.weight_types().items()}

# f16 bit patterns: zeros, the smallest and largest subnormals, the smallest and largest normals, one.
EXTREME_SCALES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00]


def random_blocks(name: str, n_blocks: int, seed: int) -> np.ndarray:
    """Random bytes [n_blocks, block bytes] whose f16 scale fields are finite."""
    _, block_bytes, scales = TYPES[name]
    blocks = np.random.default_rng(seed).integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)
    for offset in scales:
        high = blocks[:, offset + 1]
        high[(high & 0x7C) == 0x7C] &= 0xBB  # an exponent of all ones would be an infinity or a NaN
    if name == "iq1_m":
        blocks[:, 55] &= 0xBF  # the highest bit of the exponent
    return blocks


def assert_same_bits(name: str, blocks: np.ndarray) -> None:
    block_values = TYPES[name][0]
    n_values = len(blocks) * block_values
    with np.errstate(over="ignore"):  # the largest exponents of mxfp4
        expected = dequantize(blocks.copy(), GGMLQuantizationType[name.upper()]).reshape(-1)
    result = _core.decode_rows(name, np.ascontiguousarray(blocks).reshape(-1), n_values)
    assert result.dtype == np.float32 and result.shape == (n_values,)
    differ = np.flatnonzero(result.view(np.uint32) != np.ascontiguousarray(expected).view(np.uint32))
    if differ.size:
        i = int(differ[0])
        pytest.fail(
            f"{name}: {differ.size} of {n_values} values differ; first at value {i % block_values} of block "
            f"{i // block_values}: {result[i]!r}, expected {expected[i]!r}"
        )


@pytest.mark.parametrize("name", TYPES)
def test_numbers_and_sizes(name):
    number, values, size = _core.weight_types()[name]
    assert number == GGMLQuantizationType[name.upper()]
    assert (values, size) == GGML_QUANT_SIZES[GGMLQuantizationType(number)]
    file_type, in_its_place = _core.weight_type_choices()[name]
    upper = name.upper()
    assert LlamaFileType(file_type).name in (f"ALL_{upper}", *(f"MOSTLY_{upper}{end}" for end in ("", "_S", "_MOE")))
    assert TYPES[in_its_place][0] < values or in_its_place == name


@pytest.mark.parametrize("name", TYPES)
def test_random_blocks(name):
    assert_same_bits(name, random_blocks(name, 4096, seed=1))


@pytest.mark.parametrize("name", [name for name in TYPES if TYPES[name][2]])
def test_extreme_scales(name):
    offsets = TYPES[name][2]
    for first in EXTREME_SCALES:
        for second in EXTREME_SCALES if len(offsets) > 1 else [0]:
            blocks = random_blocks(name, 8, seed=first + second)
            for offset, scale in zip(offsets, (first, second), strict=False):
                blocks[:, offset] = scale & 0xFF
                blocks[:, offset + 1] = scale >> 8
            assert_same_bits(name, blocks)


def test_every_f16_number():
    bits = np.arange(0x10000, dtype=np.uint32).astype(np.uint16)
    values = _core.decode_rows("f16", bits.view(np.uint8), bits.size)
    expected = bits.view(np.float16).astype(np.float32)
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(values), nan)
    assert np.array_equal(values[~nan].view(np.uint32), expected[~nan].view(np.uint32))


def test_every_bf16_pattern():
    bits = np.arange(0x10000, dtype=np.uint32)
    values = _core.decode_rows("bf16", bits.astype(np.uint16).view(np.uint8), bits.size)
    assert np.array_equal(values.view(np.uint32), bits << 16)


@pytest.mark.parametrize("name", TYPES)
def test_no_values(name):
    assert _core.decode_rows(name, np.zeros(0, np.uint8), 0).size == 0


def test_every_exponent_of_mxfp4():
    blocks = random_blocks("mxfp4", 256, seed=3)
    blocks[:, 0] = np.arange(256)
    assert_same_bits("mxfp4", blocks)


def test_types_without_an_encoder_are_refused_by_name():
    values = np.zeros(256, np.float32).view(np.uint8)
    for name in _core.read_only_weight_types():
        with pytest.raises(ValueError, match=f"tensor 'w': type {name} is read and not written"):
            _core.requantize(values, "f32", name, 256, "w")
