"""Choosing RQM's extension and keep probability: least variance at a given Rényi divergence.

For `RQM.calibrate`. The search is ours; Youn et al. 2023 choose their pairs by hand.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize

from sfumato.errors import InvalidClaim
from sfumato.federation.quantization.aggregate import log_law
from sfumato.federation.quantization.divergence import log_convolve, log_power, renyi_divergence
from sfumato.federation.quantization.mechanisms import RQM

_WIDEST = 64.0  # extension, in clips
_KEEPS = np.concatenate((np.geomspace(0.002, 0.08, 6), np.linspace(0.1, 0.96, 44)))


def calibrate_rqm(target: float, alpha: float, n: int, *, clip: float, levels: int) -> RQM:
    """Return the RQM whose worst variance is least among those with `renyi(alpha, n)` at most target.

    For each keep probability the smallest extension that suffices is found by bisection (the divergence falls with the
    extension, the variance grows); then the best keep probability, on a grid and then between its neighbours. During
    the search others all hold the same corner, or half of them either end; the result is held to ``others="worst"``,
    and widened by small steps where that asks for it.

    Raises
    ------
    InvalidClaim
        If the target is not positive, or no extension up to 64 clips reaches it.
    """
    if not 0 < target < math.inf:
        raise InvalidClaim(f"target must be finite and above 0, got {target!r}")

    def divergence(extension: float, keep: float) -> float:
        law = RQM(1.0, extension, levels, keep)
        ends = log_law(law, [-1.0, 1.0])
        if n == 1:
            return float(renyi_divergence(ends[0], ends[1], alpha))
        half = log_power(log_convolve(*ends), (n - 1) // 2)  # half at one end, half at the other
        odd = half if n % 2 else log_convolve(ends[0], half)
        alike = [log_power(each, n - 1) for each in log_law(law, law.corners[law.corners >= 0])]
        seen = [log_convolve(ends, rest) for rest in (odd, *alike)]
        return max(float(renyi_divergence(p, q, alpha)) for a, b in seen for p, q in ((a, b), (b, a)))

    def narrowest(keep: float) -> float:
        low, high = 1e-3, _WIDEST
        if divergence(high, keep) > target:
            return math.inf
        while high / low > 1 + 1e-4:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if divergence(middle, keep) <= target else (middle, high)
        return high

    def variance(keep: float) -> float:
        extension = narrowest(keep)
        return RQM(1.0, extension, levels, keep).worst_variance() if math.isfinite(extension) else math.inf

    found = [variance(keep) for keep in _KEEPS]
    best = int(np.argmin(found))
    if math.isinf(found[best]):
        raise InvalidClaim(f"no extension up to {_WIDEST:g} clips reaches a divergence of {target:g}")
    around = (float(_KEEPS[max(0, best - 1)]), float(_KEEPS[min(len(_KEEPS) - 1, best + 1)]))
    refined = optimize.minimize_scalar(variance, bounds=around, method="bounded", options={"xatol": 1e-3})
    keep = float(refined.x if refined.fun < found[best] else _KEEPS[best])
    extension = narrowest(keep)
    while (result := RQM(clip, extension * clip, levels, keep)).renyi(alpha, n) > target:
        extension *= 1.001
    return result
