"""Slow eOptShrink in numpy, written from the formulas ([S] arXiv 2207.03466, [E] arXiv 2605.02905): truth for tests."""

import numpy as np


def edge_window(head_dim):
    """k: how many eigenvalues below the top the bulk edge is read from."""
    d = float(head_dim)
    c = 1 / 2.01
    if d >= 3:
        c = min(c, 1 / np.log(np.log(d)))
    return max(1, int(np.floor(d**c)))


def bulk_edge(lam, k):
    """lambda_plus from squared singular values lam [p], descending."""
    return lam[k] + (lam[k] - lam[2 * k]) / (2 ** (2 / 3) - 1)


def impute(lam, r, k, edge):
    """The p - r points of the noise spectrum: outliers dropped, the next k replaced."""
    j = np.arange(1, k + 1)
    points = lam[r + k] + (1 - (j / k) ** (2 / 3)) / (2 ** (2 / 3) - 1) * (lam[r + k] - lam[r + 2 * k])
    if r > 0 and points[0] >= lam[r - 1]:
        points = np.minimum(points, edge)
    return np.concatenate([points, lam[r + k :]])


def shrink(noise, beta, x, loss):
    """phi for an outlier x = lambda_i above the points `noise`."""
    m1, m1p = np.mean(1 / (noise - x)), np.mean(1 / (noise - x) ** 2)
    m2, m2p = -(1 - beta) / x + beta * m1, (1 - beta) / x**2 + beta * m1p
    t, tp = x * m1 * m2, m1 * m2 + x * m1p * m2 + x * m1 * m2p
    d_hat = 1 / np.sqrt(t)
    a1, a2 = np.clip(m1 / (d_hat**2 * tp), 0, 1), np.clip(m2 / (d_hat**2 * tp), 0, 1)
    phi = {
        "frobenius": d_hat * np.sqrt(a1 * a2),
        "operator": d_hat,
        "nuclear": d_hat * (np.sqrt(a1 * a2) - np.sqrt((1 - a1) * (1 - a2))),
        "truncate": np.sqrt(x),
    }[loss]
    return np.clip(phi, 0, np.sqrt(x))


def eoptshrink(block, loss="frobenius"):
    """The same dictionary as spectralkv._core.eoptshrink: block [n, d]; u [r, n], v [r, d]."""
    y = np.asarray(block, dtype=np.float64)
    n, d = y.shape
    p = min(n, d)
    u, s, vt = np.linalg.svd(y, full_matrices=False)
    k = edge_window(d)
    if p < 3 * k + 1:
        none = np.zeros(0)
        return {
            "rank": 0,
            "edge": 0.0,
            "singular_values": s,
            "shrunken": none,
            "u": u.T[:0],
            "v": vt[:0],
            "imputed": none,
        }
    lam = s**2
    edge = bulk_edge(lam, k)
    r = int(np.sum(lam > edge * (1 + d ** (-1 / 3))))
    noise = impute(lam, r, k, edge)
    phi = np.array([shrink(noise, p / max(n, d), x, loss) for x in lam[:r]])
    return {"rank": r, "edge": edge, "singular_values": s, "shrunken": phi, "u": u.T[:r], "v": vt[:r], "imputed": noise}
