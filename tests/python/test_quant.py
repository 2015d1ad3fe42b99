"""Codebooks, rotations and TurboQuant of the C++ core against the numpy reference."""

import numpy as np
import pytest
from reference import turboquant as reference

from spectralkv import _core


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("d", [8, 64, 80, 128])
def test_codebook(d, bits):
    levels, distortion = _core.lloyd_max(d, bits)
    want, want_distortion = reference.lloyd_max(d, bits)
    np.testing.assert_allclose(levels, want, atol=1e-7)  # levels are float
    np.testing.assert_allclose(distortion, want_distortion, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "d"), [("haar", 64), ("haar", 80), ("haar", 128), ("hadamard", 64), ("hadamard", 128)]
)
def test_rotation_is_orthogonal_and_repeats(kind, d):
    matrix = np.asarray(_core.rotation(kind, d, 3), dtype=np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(d), atol=1e-6)
    np.testing.assert_array_equal(matrix, _core.rotation(kind, d, 3))
    assert np.any(matrix != _core.rotation(kind, d, 4))


def test_hadamard_is_signs_times_sylvester():
    sylvester = np.ones((1, 1))
    while len(sylvester) < 64:
        sylvester = np.block([[sylvester, sylvester], [sylvester, -sylvester]])
    matrix = _core.rotation("hadamard", 64, 5)
    signs = np.sign(matrix[0])
    np.testing.assert_allclose(matrix, sylvester * signs / 8, rtol=1e-6)


@pytest.mark.parametrize(("kind", "d"), [("haar", 80), ("hadamard", 128)])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", ["norm", "least_squares", "unbiased", "length"])
def test_round_trip(kind, d, bits, scale):
    x = np.random.default_rng(d + bits).standard_normal((200, d)).astype(np.float32)
    x[0] = 0
    got = _core.turboquant(x, bits, kind, 9, scale)
    assert got.shape == x.shape
    levels, distortion = _core.lloyd_max(d, bits)
    want = reference.round_trip(x, np.asarray(levels, np.float64), distortion, _core.rotation(kind, d, 9), scale)
    # Float against double: a coordinate near a boundary may take the other side and a scale the next f16. Few rows do.
    near = np.abs(got - want).max(axis=1) <= 1e-5
    assert near.mean() > 0.97


def test_errors():
    with pytest.raises(ValueError, match="9 bits"):
        _core.lloyd_max(64, 9)
    with pytest.raises(ValueError, match="power of two"):
        _core.rotation("hadamard", 80, 1)
    with pytest.raises(ValueError, match="givens"):
        _core.rotation("givens", 64, 1)
    with pytest.raises(ValueError, match="row 0, column 0"):
        _core.turboquant(np.full((2, 64), np.nan, np.float32), 2, "haar", 1)


def test_inner_product_form_is_unbiased():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3000, 64)).astype(np.float32)
    q = 0.5 * x + rng.standard_normal(x.shape)
    error = np.sum(q * (_core.turboquant_ip(x, 2, "haar", 7) - x), axis=1)
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(x))
