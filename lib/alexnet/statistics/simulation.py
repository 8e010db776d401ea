"""How often the rule errs: it judges simulated experiments whose truth is known, with the code of the real ones."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas
from numpy.typing import NDArray
from scipy import stats

from ..paper.claims import claims
from .effects import Booleans, Floats, censored_bounds
from .verdicts import (
    CONTRADICTED,
    DIRECTION_REPRODUCED,
    INCONCLUSIVE,
    NO_EFFECT,
    NOT_TESTED,
    REPRODUCED,
    WEAKER,
    false_discovery_level,
    judge,
    sided,
    simultaneous_level,
)

Noise = Literal["normal", "heavy", "skewed", "two-point"]
Labels = NDArray[np.int8]  # places in `verdicts.LABELS`

# What may go wrong with runs of two arms: how each arm's noise is spread and how many of its runs miss their caps.
# `baseline_runs` of the second arm are averaged in each pair, `collapsed` of the first arm's runs are set aside.
SCENARIOS: dict[str, dict[str, Any]] = {
    "normal noise": {},
    "heavy tails": {"noise": "heavy"},
    "skewed noise": {"noise": "skewed"},
    "skewed noise in one arm": {"noise": ("skewed", "normal")},
    "two values only": {"noise": "two-point"},
    "a shared baseline of two runs a pair": {"baseline_runs": 2},
    "the same, skewed": {"noise": "skewed", "baseline_runs": 2},
    "one run in six collapses": {"collapsed": 1 / 6},
    "30% of the slower arm censored": {"censored": (0.3, 0.0)},
    "all of the slower arm censored": {"censored": (1.0, 0.0)},
    "30% of both arms censored": {"censored": (0.3, 0.3)},
    "skewed, 30% of the slower arm censored": {"noise": "skewed", "censored": (0.3, 0.0)},
    # Unequal arms, where the t interval is known to be too short, and so is ours.
    "one arm three times as noisy, skewed": {"noise": "skewed", "spread": 3.0},
}
LARGE_MARGIN = 2.0  # standard deviations of a run: a margin that six pairs can rule out


def simulated_errors(seeds: Sequence[int] = (3, 6, 12), repeats: int = 20_000) -> pandas.DataFrame:
    """How often the rule errs: a row a scenario and number of pairs, shares of simulated experiments.

    `a given side` is granted where the arms do not differ: the claimed one in any form, or the other; `either side` is
    one or the other. `reproduced` and `no effect` are granted where the effect is just as large as the margin (two
    standard deviations of a run), where half of all estimates lie above it. Each is the larger share of two: noise may
    lean to the claimed side or the other.
    """
    rows = []
    for name, options in SCENARIOS.items():
        for n in seeds:
            shares: dict[str, float] = {}
            for claimed_side in (1, -1):
                none, some = (
                    simulated_labels(n, claimed_side, effect=effect, repeats=repeats, **options)
                    for effect in (0.0, LARGE_MARGIN)
                )
                sides = np.mean(none <= DIRECTION_REPRODUCED), np.mean(none == CONTRADICTED)
                found = {
                    "a given side": max(sides),
                    "either side": sum(sides),
                    "reproduced": np.mean(some == REPRODUCED),
                    "no effect": np.mean(some == NO_EFFECT),
                }
                shares = {what: max(float(share), shares.get(what, 0.0)) for what, share in found.items()}
            rows.append({"scenario": name, "pairs": n, **shares})
    return pandas.DataFrame(rows)


def simulated_labels(
    n: int,  # pairs
    claimed_side: int = 1,  # 1 above, -1 below
    *,
    effect: float = 0.0,  # true effect on the claimed side, in standard deviations of a run, as is the margin
    margin: float = LARGE_MARGIN,
    noise: Noise | tuple[Noise, Noise] = "normal",
    spread: float = 1.0,  # standard deviation of the first arm over that of the second
    baseline_runs: int = 1,
    collapsed: float = 0.0,  # probability that a run of the first arm is set aside
    censored: tuple[float, float] = (0.0, 0.0),  # shares of the arms' runs that lie beyond their caps
    repeats: int = 20_000,
    seed: int = 2012,
) -> Labels:
    """Labels [repeats] of simulated experiments, judged by the code that judges the real ones, from runs drawn
    independently. `noise` is normal; heavy (t with three degrees of freedom); skewed (exponential, a few slow runs); or
    two-point (each run one of two values, near the worst case of the t interval)."""
    random = np.random.default_rng(seed)
    kinds = (noise, noise) if isinstance(noise, str) else noise
    first = spread * _noise(random, kinds[0], (repeats, n))
    second = _noise(random, kinds[1], (repeats, n, baseline_runs)).mean(axis=-1)
    (first, late), (second, late_too) = (_capped(*of) for of in zip((first, second), censored, strict=True))
    lowest, highest = censored_bounds(first + claimed_side * effect - second, late, late_too)
    confidence = claims().rule.confidence
    left = (random.random((repeats, n)) >= collapsed).sum(axis=-1)  # pairs that are left; they are exchangeable
    found = np.full(repeats, NOT_TESTED, dtype=np.int8)
    for count in np.unique(left[left >= 2]):
        rows = np.flatnonzero(left == count)
        # numpy sums over the few pairs of an experiment several times as fast where they do not lie next to each other
        some_low, some_high = (of.T[:count].take(rows, 1).T for of in (lowest, highest))
        known = (late | late_too).T[:count].take(rows, 1).T
        low, high = sided(some_low, some_high, known, 0.0, claimed_side, confidence)
        found[rows] = judge(low, high, margin, known.any(axis=-1) | (count < n))
    return found


def _noise(random: np.random.Generator, noise: Noise, shape: tuple[int, ...]) -> Floats:
    """Draws with mean 0 and standard deviation 1."""
    if noise == "normal":
        return random.standard_normal(shape)
    if noise == "heavy":
        return random.standard_t(3, shape) / math.sqrt(3)
    if noise == "skewed":
        return random.standard_exponential(shape) - 1.0
    # two-point: a little jitter, because a spread of exactly zero gives no interval at all
    return random.choice([-1.0, 1.0], shape) + 1e-3 * random.standard_normal(shape)


def _capped(values: Floats, share: float) -> tuple[Floats, Booleans]:
    """The values, that share of them at their cap, and which these are."""
    cap = float(np.quantile(values, 1 - share)) if share else math.inf
    return np.minimum(values, cap), values > cap


# ---- many claims that share a baseline -------------------------------------------------------------------------------

CLAIMS, PAIRS = 10, 6  # of a family
BASELINE_RUNS = 2  # averaged in each pair: twelve in all, the same for every claim of a family
FAMILIES = {"none has an effect": 0, "half have twice the margin": CLAIMS // 2}  # claims that have an effect
MARGINS = (0.5, LARGE_MARGIN)  # standard deviations of a run: one that six pairs cannot rule out, and one that they can
NOISES: tuple[Noise, ...] = ("normal", "skewed")


def simulated_families(repeats: int = 5_000, seed: int = 2012) -> pandas.DataFrame:
    """How often labels are false among many claims whose arms share a baseline: a row a kind of family, with shares.

    `any false`: of families in which at least one label is false. `share false`: of the labels that say something, the
    mean over families. Each uncorrected and after either correction. A baseline that arms share makes their effects
    depend on each other (Dunnett 1955, J. Am. Statist. Assoc. 50, 1096). Benjamini and Hochberg's correction is proven
    for tests that are independent or positively dependent (Benjamini and Yekutieli 2001, Ann. Statist. 29, 1165);
    Bonferroni's holds for any.
    """
    random = np.random.default_rng(seed)
    rows = []
    for (truth, some), margin, noise in itertools.product(FAMILIES.items(), MARGINS, NOISES):
        effects = np.where(np.arange(CLAIMS) < some, 2 * margin, 0.0)
        found = corrected(_family(random, noise, effects, repeats), margin)
        wrong = {way: _false(labels, effects > 0) for way, labels in found.items()}
        said = {way: np.maximum((labels < INCONCLUSIVE).sum(axis=-1), 1) for way, labels in found.items()}
        rows.append(
            {"family": truth, "margin": margin, "noise": noise}
            | {f"any false, {way}": float(wrong[way].any(axis=-1).mean()) for way in found}
            | {f"share false, {way}": float((wrong[way].sum(axis=-1) / said[way]).mean()) for way in found}
        )
    return pandas.DataFrame(rows)


def corrected(values: Floats, margin: float) -> dict[str, Labels]:
    """Labels of families of claims, values [families, claims, pairs] counted on the claimed side -> [families, claims]:
    uncorrected, and after the corrections as `board.corrected` makes them."""
    rule, p_values = claims().rule, label_p_values(values, margin)
    alone = _labels(values, margin, rule.confidence)
    kept, levels = np.empty_like(alone), false_discovery_level(p_values, rule.false_discoveries)
    for level in np.unique(levels):
        kept[levels == level] = _labels(values[levels == level], margin, 1 - level)
    strict = _labels(values, margin, 1 - simultaneous_level(p_values[0], 1 - rule.confidence))
    return {"uncorrected": alone, "Benjamini-Hochberg": kept, "Bonferroni": strict}


def label_p_values(values: Floats, margin: float) -> Floats:
    """What `verdicts.decisive` finds by bisection, here in closed form, [..., pairs] -> [...].

    A label says something where the interval leaves out zero (the two-sided t test), or lies within the margin on both
    sides (either one-sided test at half the rate): the smaller p-value of the two. No run may be censored.
    """
    n = values.shape[-1]
    distance, error = np.abs(values.mean(axis=-1)), values.std(axis=-1, ddof=1) / math.sqrt(n)
    return np.asarray(np.minimum(1.0, 2 * stats.t.sf(np.maximum(distance, margin - distance) / error, n - 1)))


def _family(random: np.random.Generator, noise: Noise, effects: Floats, repeats: int) -> Floats:
    """Values [repeats, claims, pairs] of arms with these effects, all less the same runs of one baseline."""
    baseline = _noise(random, noise, (PAIRS, repeats, 1, BASELINE_RUNS)).mean(axis=-1)
    arms = _noise(random, noise, (PAIRS, repeats, len(effects)))
    return np.moveaxis(arms + effects - baseline, 0, -1)


def _labels(values: Floats, margin: float, confidence: float) -> Labels:
    low, high = sided(values, values, np.zeros(values.shape, dtype=bool), 0.0, 1, confidence)
    return judge(low, high, margin)


def _false(labels: Labels, effect: Booleans) -> Booleans:
    """Which labels [families, claims] are false: a side where there is no effect; less than the margin, or the other
    side, where it is twice as large."""
    return np.where(effect, np.isin(labels, (WEAKER, CONTRADICTED, NO_EFFECT)), labels <= CONTRADICTED)
