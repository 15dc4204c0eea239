"""What is kept of heatmaps in files: few digits where they matter little, which compress well."""

import numpy as np

# How exactly a logit is kept: up to a distance below the map's peak, in steps. Errors are to matter little
# *as probabilities*, and a cell at distance d has e^-d times the probability of the peak.
STEPS = ((1, 1 / 2048), (2, 1 / 512), (3, 1 / 128), (4, 1 / 32), (6, 1 / 4))
FLOOR = STEPS[-1][0]


def compact(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(…, S, S) logits → float16 logits less the map's peak, which compress well and give (nearly) the same
    probabilities, and the peaks (…) float32.

    Logits are rounded to `STEPS`; all cells below the floor get one value, the logarithm of their mean
    exponential, so that the sum that the softmax divides by stays the same.
    """
    logits = np.asarray(logits, dtype=np.float32)
    peak = logits.max(axis=(-2, -1), keepdims=True)
    depth = peak - logits
    low = depth > FLOOR
    mass = np.exp(-depth, where=low, out=np.zeros_like(depth)).sum(axis=(-2, -1), keepdims=True)
    fill = -np.log(np.maximum(mass, 1e-12) / np.maximum(low.sum(axis=(-2, -1), keepdims=True), 1))
    step = np.select([depth <= limit for limit, _ in STEPS], [np.float32(step) for _, step in STEPS], 1)
    depth = np.where(low, np.round(fill * 8) / 8, np.round(depth / step) * step)
    return -depth.astype(np.float16), peak[..., 0, 0]


def compact_heat(heat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(…, H, W) heat → float16 heat less the map's peak, and the peaks (…) float32.

    Around the peak, where refinement reads it, it keeps all the digits of float16; what is lower than
    a quarter of the peak is rounded to 64ths of it.
    """
    heat = np.asarray(heat, dtype=np.float32)
    peak = heat.max(axis=(-2, -1), keepdims=True)
    depth, unit = peak - heat, np.maximum(np.abs(peak), 1e-6)
    low = np.round(depth / unit * 64) / 64 * unit
    return -np.where(depth > 0.75 * unit, low, depth).astype(np.float16), peak[..., 0, 0]
