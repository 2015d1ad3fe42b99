"""Slow TurboQuant in numpy, written from the formulas ([T] arXiv 2504.19874): truth for tests."""

from math import lgamma

import numpy as np

GRID = 200001  # points of the integration grid: error far below 1e-9 for d >= 8


def lloyd_max(d, bits, rounds=20000):
    """Levels [2^bits], ascending, for a coordinate of a random unit vector of d dimensions, and the distortion D.

    Plain Lloyd iteration on cumulative integrals of f(t) over t = sin(angle).
    """
    angle = np.linspace(0, np.pi / 2, GRID)
    t = np.sin(angle)
    f = np.exp(lgamma(d / 2) - lgamma((d - 1) / 2)) / np.sqrt(np.pi) * np.cos(angle) ** (d - 2)
    h = angle[1] - angle[0]

    def cumulative(g):  # trapezoids with the end correction: Hermite's rule, fourth order
        slope = np.gradient(g, h, edge_order=2)
        return np.concatenate([[0], np.cumsum((g[1:] + g[:-1]) * h / 2 - h * h / 12 * np.diff(slope))])

    mass, moment = cumulative(f), cumulative(f * t)
    n = 2 ** (bits - 1)
    levels = (np.arange(n) + 0.5) / n * min(0.9, 3.5 / np.sqrt(d))
    for _ in range(rounds):
        edges = np.arcsin(np.concatenate([[0], (levels[1:] + levels[:-1]) / 2, [1]]))
        at_mass, at_moment = np.interp(edges, angle, mass), np.interp(edges, angle, moment)
        new = np.diff(at_moment) / np.diff(at_mass)
        change = np.max(np.abs(new - levels))
        levels = new
        if change < 1e-13:
            break
    edges = np.arcsin(np.concatenate([[0], (levels[1:] + levels[:-1]) / 2, [1]]))
    captured = 2 * np.sum(levels * np.diff(np.interp(edges, angle, moment)))
    return np.concatenate([-levels[::-1], levels]), 1 - d * captured


def nearest(values, levels):
    """The index of the nearest level; a value on a boundary takes the lower one."""
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values, side="left")


def round_trip(x, levels, distortion, rotation, scale="norm"):
    """x_hat [n, d] of the mean-square quantiser; rotation is the matrix Pi [d, d]; row scales are rounded to f16."""
    x = np.asarray(x, dtype=np.float64)
    y = x @ np.asarray(rotation, dtype=np.float64).T
    norm = np.linalg.norm(y, axis=1, keepdims=True)
    c = levels[nearest(y / np.where(norm > 0, norm, 1), levels)]
    if scale == "norm":
        factor = norm
    elif scale == "unbiased":
        factor = norm / (1 - distortion)
    elif scale == "length":
        factor = norm / np.linalg.norm(c, axis=1, keepdims=True)
    else:
        factor = np.sum(y * c, axis=1, keepdims=True) / np.sum(c * c, axis=1, keepdims=True)
    return (factor.astype(np.float16).astype(np.float64) * c) @ np.asarray(rotation, dtype=np.float64)
