"""eOptShrink of the C++ core against the numpy reference."""

import numpy as np
import pytest
from reference import eoptshrink as reference

from spectralkv import _core

LOSSES = ["frobenius", "operator", "nuclear", "truncate"]
SIZES = [(128, 128), (128, 64), (128, 80), (64, 128), (256, 128), (48, 256), (20, 64)]


def spiked(n, d, spikes, seed):
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.standard_normal((n, len(spikes))))[0] if spikes else np.zeros((n, 0))
    v = np.linalg.qr(rng.standard_normal((d, len(spikes))))[0] if spikes else np.zeros((d, 0))
    noise = rng.standard_normal((n, d)) / np.sqrt(max(n, d))
    # Separable covariance: rows of unequal variance, neighbouring columns correlated.
    noise = np.linspace(0.5, 1.5, n)[:, None] * (noise + 0.5 * np.roll(noise, 1, axis=1))
    return (u @ np.diag(spikes) @ v.T + noise).astype(np.float32)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("spikes", [[], [12.0], [20.0, 9.0, 7.0], [400.0, 9.0]])
def test_equals_the_reference(n, d, spikes, loss):
    block = spiked(n, d, spikes, seed=n + d + len(spikes))
    got, want = _core.eoptshrink(block, loss), reference.eoptshrink(block, loss)
    assert got["rank"] == want["rank"]
    top = want["singular_values"][0]
    # Squares are what the Gram matrix is accurate in: eps * top^2 for each, some 10 roundings.
    square_error = 100 * np.finfo(np.float64).eps * top**2
    got_squares, want_squares = (np.square(r["singular_values"]) for r in (got, want))
    np.testing.assert_allclose(got_squares, want_squares, rtol=1e-12, atol=square_error)
    np.testing.assert_allclose(got["edge"], want["edge"], rtol=1e-9, atol=10 * square_error)
    np.testing.assert_allclose(got["imputed"], want["imputed"], rtol=1e-9, atol=10 * square_error)
    np.testing.assert_allclose(got["shrunken"], want["shrunken"], rtol=1e-8)
    assert got["u"].shape == (want["rank"], n)
    assert got["v"].shape == (want["rank"], d)
    for name in ("u", "v"):
        vectors = got[name].astype(np.float64)
        np.testing.assert_allclose(np.abs(np.sum(vectors * want[name], axis=1)), 1, atol=1e-6)
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(want["rank"]), atol=1e-6)
    # The signs of u and v belong together.
    low, want_low = ((r["u"].T * r["shrunken"]) @ r["v"] for r in (got, want))
    np.testing.assert_allclose(low, want_low, atol=1e-6 * top)


def test_errors():
    block = spiked(64, 32, [9.0], 1)
    with pytest.raises(ValueError, match="l1"):
        _core.eoptshrink(block, "l1")
    block[3, 4] = np.nan
    with pytest.raises(ValueError, match="row 3, column 4"):
        _core.eoptshrink(block, "frobenius")


def test_zeros():
    got = _core.eoptshrink(np.zeros((128, 64), np.float32), "frobenius")
    assert got["rank"] == 0
    assert got["edge"] == 0
    assert not np.any(got["singular_values"])
