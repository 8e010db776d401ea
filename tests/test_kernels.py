"""Colour selectivity of kernels and its separation between towers."""

import numpy as np
import pytest

from alexnet.training.evaluation import colour_selectivity, colour_separation, tower_means


def grey(count: int) -> np.ndarray:
    return np.repeat(np.random.default_rng(1).normal(size=(count, 1, 5, 5)), 3, axis=1)


def coloured(count: int) -> np.ndarray:
    """Kernels whose channels add up to nothing."""
    kernels = np.random.default_rng(2).normal(size=(count, 3, 5, 5))
    return kernels - kernels.mean(axis=1, keepdims=True)


def test_selectivity_is_the_share_of_energy_that_is_colour():
    assert colour_selectivity(grey(4)) == pytest.approx(np.zeros(4), abs=1e-15)
    assert colour_selectivity(coloured(4)) == pytest.approx(np.ones(4))
    one = np.zeros((1, 3, 1, 1))
    one[0, 0] = 3.0  # red alone: grey part 1, 1, 1 has a third of the energy
    assert colour_selectivity(one) == pytest.approx([2 / 3])
    assert colour_selectivity(np.zeros((1, 3, 2, 2))) == pytest.approx([0.0])


def test_white_noise_has_two_thirds_of_its_energy_in_colour():
    noise = np.random.default_rng(3).normal(size=(2000, 3, 5, 5))
    assert colour_selectivity(noise).mean() == pytest.approx(2 / 3, abs=0.01)


def test_towers_that_share_out_colour_stand_out_from_random_halves():
    towers, halves = colour_separation(np.concatenate([grey(12), coloured(12)]))
    assert towers == pytest.approx(1.0)
    assert halves < 0.3
    assert tower_means(np.concatenate([grey(12), coloured(12)])) == pytest.approx((0.0, 1.0))
    mixed = np.concatenate([grey(6), coloured(6), grey(6), coloured(6)])
    towers, same = colour_separation(mixed)
    assert towers == pytest.approx(0.0, abs=1e-12)
    assert same == pytest.approx(halves, abs=0.02), "the halves do not depend on the order"
    assert colour_separation(mixed) == (towers, same), "the draw is fixed, so an audit derives the same figure"
