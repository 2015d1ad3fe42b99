"""Intervals of 95 % for mean scores and for differences of scores, where answers may come in clusters.

Answers to several questions about one text are not independent: such answers share a cluster, and the variance is that
between clusters. Sources: Wilson 1927 for the interval of a proportion; Korn and Graubard 1998 for putting the
effective number of answers into it; Bonett and Price 2012 for the adjusted interval of a paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

Z = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval. n: answers, clusters: groups of them that are independent of each other."""

    mean: float
    low: float
    high: float
    n: int
    clusters: int


def _cluster_sums(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """The sum of the values in each cluster."""
    sums: dict[Hashable, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value
    return list(sums.values())


def _variance_of_mean(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Of the mean of all values, from the spread between clusters; infinite with one cluster."""
    mean, n = math.fsum(values) / len(values), len(values)
    sums = _cluster_sums([value - mean for value in values], clusters)
    m = len(sums)
    return math.inf if m < 2 else m / (m - 1) * math.fsum(s * s for s in sums) / (n * n)


def wilson(mean: float, n: float) -> tuple[float, float]:
    """Wilson's interval of a proportion from n independent answers; n need not be whole."""
    centre = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if mean == 0 else low), (1.0 if mean == 1 else high)


def score_interval(scores: Sequence[float], clusters: Sequence[Hashable]) -> Interval:
    """Mean of scores from 0 to 1, and Wilson's interval at the effective number of answers: n over the design effect,
    which is the variance between clusters over that of independent answers (never taken to be below 1). Where all
    scores are 0, or all 1, only the clusters count. ValueError without scores."""
    if not scores:
        raise ValueError("[eval] an interval needs at least one score")
    n, m = len(scores), len(set(clusters))
    mean = math.fsum(scores) / n
    spread = mean * (1 - mean)
    if n == m:
        effective = float(n)
    elif spread <= 0 or m < 2:
        effective = float(m)
    else:
        design = _variance_of_mean(scores, clusters) / (spread / (n - 1))
        effective = n / max(design, 1.0)
    return Interval(mean, *wilson(mean, effective), n, m)


def paired_difference(a: Sequence[float], b: Sequence[float], clusters: Sequence[Hashable]) -> Interval:
    """Mean of a - b over the same questions. The interval is that of Bonett and Price, one more pair in favour of
    either side, with the variance between clusters; so it has a width where no pair differs. ValueError without
    pairs."""
    if not a:
        raise ValueError("[eval] a difference needs at least one pair of scores")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    adjusted = [*differences, 1.0, -1.0]
    groups: list[Hashable] = [*((0, cluster) for cluster in clusters), (1, 0), (1, 1)]
    centre = math.fsum(adjusted) / len(adjusted)
    half = Z * math.sqrt(_variance_of_mean(adjusted, groups))
    mean = math.fsum(differences) / len(differences)
    return Interval(mean, max(-1.0, centre - half), min(1.0, centre + half), len(a), len(set(clusters)))
