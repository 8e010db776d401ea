"""How much a first-layer kernel cares for colour, and whether the two towers share the colour out (section 6.1)."""

import numpy as np

HALVES = 2000  # random halves that the towers are compared with
SEED = 2012  # of the draw of halves, so that the figure can be derived again


def colour_selectivity(kernels: np.ndarray) -> np.ndarray:
    """The share of each kernel's energy that is colour, [filters], from kernels [filters, 3, height, width].

    A kernel is the sum of a grey part, which weighs the three channels alike, and a colour part, which adds up to
    nothing over the channels; the two are orthogonal. 0: all grey, 1: all colour. A kernel of zeros counts as grey.
    """
    kernels = np.asarray(kernels, dtype=np.float64)
    colour = kernels - kernels.mean(axis=1, keepdims=True)
    energy = np.square(kernels).sum(axis=(1, 2, 3))
    return np.square(colour).sum(axis=(1, 2, 3)) / np.where(energy > 0, energy, 1.0)


def tower_means(kernels: np.ndarray) -> tuple[float, float]:
    """Mean colour selectivity of each tower; the first half of the filters is the first tower."""
    return _means_of_halves(colour_selectivity(kernels))


def _means_of_halves(values: np.ndarray) -> tuple[float, float]:
    half = len(values) // 2
    return float(values[:half].mean()), float(values[half:].mean())


def colour_separation(kernels: np.ndarray) -> tuple[float, float]:
    """Difference in mean colour selectivity between the towers (larger less smaller), and its mean over random halves.

    The first half of the filters is the first tower. Random halves show what difference chance alone gives.
    """
    selectivity = colour_selectivity(kernels)
    half = len(selectivity) // 2
    generator = np.random.default_rng(SEED)
    shuffled = np.stack([generator.permutation(selectivity) for _ in range(HALVES)])
    differences = np.abs(shuffled[:, :half].mean(axis=1) - shuffled[:, half:].mean(axis=1))
    first, second = _means_of_halves(selectivity)
    return abs(first - second), float(differences.mean())
