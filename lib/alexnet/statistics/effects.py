"""Numbers of paired runs -> an effect with its interval, and what size of effect so many pairs can show.

Everything here works on plain numbers; `statistics.board` takes them from records, and `statistics.verdicts` judges.
Each pair of runs (same seed, two arms) gives one value: a difference, or a ratio, which is handled as its logarithm.
The interval is Student's t interval of the mean over pairs.

Censored runs. A run that does not reach its target within its cap, or diverges, enters at its cap. Its pair's log
ratio is then known on one side only, so a pair has a lowest and a highest value, equal unless a run was censored, and
infinite on the side about which nothing is known. The lower limit of the interval is the t limit of the lowest
values, the upper limit that of the highest values.

Why that is sound. The mean of the lowest values estimates the *restricted mean*, of log min(time, cap) in place of log
time (as in survival analysis). It cannot exceed the mean of log time, so a lower limit of the one is a lower limit of
the other, however large the unseen times are. What remains is the t interval's own assumption: a cap makes the
restricted values lean to the left, and when every slower run is at its cap, their spread is that of the faster arm
alone, which is too small if the few seeds all miss a quick run. Three things guard against it. With any run censored a
side is granted only if every single pair is on it, which has a probability of at most 2^-n when the arms do not differ
(1 in 32 at five seeds), whatever the distribution. A censored effect is never more than "direction reproduced". And its
size is given as a bound, never as an estimate. `statistics.simulation` measures what is left.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from ..errors import SpecError
from ..paper.claims import claims

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Kind = Literal["difference", "ratio"]
POWER = 0.8  # with which an effect shall be found, where a number of seeds is asked for


@dataclasses.dataclass(frozen=True)
class Effect:
    """The effect of one arm against another over paired seeds, in its own unit (ratios not as logarithms).

    `estimate` is the mean difference or geometric mean ratio. With censored runs it is a bound (see `lower_bound`,
    `upper_bound`), and NaN where nothing is known on either side. `low` and `high` are infinite (0 and infinity for a
    ratio) where the interval has no limit.
    """

    estimate: float
    low: float
    high: float
    n: int  # pairs
    kind: Kind
    unit: str
    null: float
    confidence: float
    p_value: float  # two-sided, against the null; 1 where censoring hides the answer; NaN for fewer than two pairs
    lowest: tuple[float, ...]  # each pair's value, or its lower bound
    highest: tuple[float, ...]  # each pair's value, or its upper bound
    censored: tuple[bool, ...]  # pairs with a run that was censored or diverged
    parts: tuple["Effect", ...] = ()  # the effects of which this is the smallest

    def limits(self, confidence: float) -> tuple[float, float]:
        """The limits at another confidence, on the scale on which pairs are averaged."""
        if self.parts:
            lows = [part.limits(confidence)[0] for part in self.parts]
            stricter = 1 - (1 - confidence) / len(self.parts)
            return min(lows), min(part.limits(stricter)[1] for part in self.parts)
        low, high = limits(self.scaled(self.lowest), self.scaled(self.highest), confidence)
        return float(low), float(high)

    def scaled(self, values: ArrayLike) -> Floats:
        """Values on the scale on which pairs are averaged and the interval is symmetric: logarithms of ratios."""
        return scaled(values, self.kind)

    @property
    def least(self) -> float:
        """What no effect of this kind is below: 0 for ratios."""
        return 0.0 if self.kind == "ratio" else -math.inf

    @property
    def values(self) -> tuple[float, ...]:
        """Each pair's value, censored runs at their cap; NaN where both runs were censored."""
        pairs = zip(self.lowest, self.highest, strict=True)
        return tuple(low if low > self.least else high if high < math.inf else math.nan for low, high in pairs)

    @property
    def lower_bound(self) -> bool:
        """Whether the true effect may be larger than the estimate without limit."""
        return math.inf in self.highest and self.least not in self.lowest

    @property
    def upper_bound(self) -> bool:
        """Whether the true effect may be smaller than the estimate without limit."""
        return self.least in self.lowest and math.inf not in self.highest

    @property
    def has_interval(self) -> bool:
        """Whether the interval has a limit on at least one side."""
        return self.low > self.least or self.high < math.inf

    @property
    def spread(self) -> float:
        """Standard deviation over pairs (of the natural logarithm, for ratios); NaN if censored or fewer than two."""
        return math.nan if self.n < 2 or any(self.censored) else float(np.std(self.scaled(self.lowest), ddof=1))

    @property
    def text(self) -> str:
        """The estimate and its interval: "6.1 [5.2, 7.1], n = 5", or "≥ 6.8 [≥ 6.5], n = 5" for a bound."""
        if self.n == 0:
            return "no runs"
        if math.isnan(self.estimate):
            return f"unknown, n = {self.n}"
        sign = "≥ " if self.lower_bound else "≤ " if self.upper_bound else ""
        low, high = self.number(self.low), self.number(self.high)
        if self.low > self.least and self.high < math.inf:
            interval = f" [{low}, {high}]"
        else:
            interval = f" [≥ {low}]" if self.low > self.least else f" [≤ {high}]" if self.high < math.inf else ""
        return f"{sign}{self.number(self.estimate)}{interval}, n = {self.n}"

    def number(self, value: float) -> str:
        """A value of this effect as it is printed."""
        if self.kind == "ratio":
            return f"{value:.3g}"
        return f"{value:.{decimals([self.estimate, self.low, self.high])}f}"

    def smallest_detectable(self, power: float = POWER) -> float:
        """The smallest effect that this many pairs with this spread show with that probability, as a distance.

        Of a difference: how far from the null, in its unit; of a ratio: how many times the null. NaN if censored.
        """
        if not self.spread > 0:
            return math.nan
        distance = smallest_detectable(self.n, power, self.confidence) * self.spread
        return math.exp(distance) if self.kind == "ratio" else distance


def decimals(values: ArrayLike) -> int:
    """Digits after the point for differences printed together: two, or more where the largest would lose its digits."""
    found = np.abs(np.asarray(values, dtype=np.float64))
    largest = float(found[np.isfinite(found)].max(initial=0.0))
    return 2 if largest >= 0.1 or largest == 0 else 1 - math.floor(math.log10(largest))


def scaled(values: ArrayLike, kind: str) -> Floats:
    """Values on the scale on which they are averaged: logarithms of ratios."""
    found = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.log(found) if kind == "ratio" else found


# ---- effects of numbers ----------------------------------------------------------------------------------------------


def paired_difference(
    first: ArrayLike,  # [n] one value a seed
    second: ArrayLike,  # [n] the same seeds in the other arm, or one number to compare with
    *,
    diverged: ArrayLike | None = None,  # [n] pairs in which a run diverged and stands at the value of blind guessing
    unit: str = "percentage points",
    null: float = 0.0,
    confidence: float | None = None,  # by default that of the rule in claims.toml
) -> Effect:
    """Mean of `first` less `second` over paired seeds, with its t interval. Raises `SpecError` for bad numbers."""
    first, second = _numbers(first, "first arm"), _numbers(second, "second arm")
    if len(second) == 1:
        second = np.repeat(second, len(first))
    _same_length(first, second)
    found = first - second
    return _effect(found, found, _flags(diverged, len(found), "diverged runs"), "difference", unit, null, confidence)


def paired_ratio(
    numerator: ArrayLike,  # [n] positive, one value a seed; a censored run's is its cap
    denominator: ArrayLike,  # [n] the same seeds in the other arm
    *,
    numerator_censored: ArrayLike | None = None,  # [n] runs that had not arrived at their cap, or diverged
    denominator_censored: ArrayLike | None = None,  # [n]
    null: float = 1.0,
    confidence: float | None = None,  # by default that of the rule in claims.toml
) -> Effect:
    """Geometric mean of `numerator` over `denominator` over paired seeds, with the t interval of its logarithm.

    Raises `SpecError` for numbers that are not positive.
    """
    top, bottom = _numbers(numerator, "numerator"), _numbers(denominator, "denominator")
    _same_length(top, bottom)
    if (top <= 0).any() or (bottom <= 0).any() or null <= 0:
        raise SpecError("A ratio needs positive numbers in both arms and a positive null.")
    top_censored = _flags(numerator_censored, len(top), "numerator")
    bottom_censored = _flags(denominator_censored, len(top), "denominator")
    lowest, highest = censored_bounds(np.log(top) - np.log(bottom), top_censored, bottom_censored)
    return _effect(lowest, highest, top_censored | bottom_censored, "ratio", "times", null, confidence)


def _numbers(values: ArrayLike, what: str) -> Floats:
    found = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if found.ndim != 1:
        raise SpecError(f"The {what} must be a list of numbers, one a seed; it has the shape {found.shape}.")
    if not np.isfinite(found).all():
        raise SpecError(
            f"The {what} holds a value that is not a finite number. Give a run that diverged or never arrived its cap "
            "(or the error of blind guessing) and flag it as censored; do not leave it out."
        )
    return found


def _flags(flags: ArrayLike | None, n: int, what: str) -> Booleans:
    found = np.zeros(n, dtype=bool) if flags is None else np.atleast_1d(np.asarray(flags, dtype=bool))
    if found.shape != (n,):
        raise SpecError(f"{n} pairs need {n} flags for the {what}, one each; there are {found.size}.")
    return found


def _same_length(first: Floats, second: Floats) -> None:
    if len(first) != len(second):
        raise SpecError(f"Pairs need as many values in both arms; there are {len(first)} and {len(second)}.")


def censored_bounds(
    values: Floats,  # log ratios with censored runs at their caps
    numerator_censored: Booleans,
    denominator_censored: Booleans,
) -> tuple[Floats, Floats]:
    """The lowest and the highest log ratio each pair may have."""
    return np.where(denominator_censored, -np.inf, values), np.where(numerator_censored, np.inf, values)


def limits(lowest: Floats, highest: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The t interval of the mean over the last axis, [..., n] -> two of [...]; infinite where there is no limit.

    There is none for fewer than two pairs, on a side on which a pair is unbounded, and where all values are equal: a
    spread of zero over a few seeds says that the measure is too coarse, not that the effect is known exactly.
    """

    def limit(values: Floats, side: float) -> Floats:
        nowhere = np.full(values.shape[:-1], side * np.inf)
        if values.shape[-1] < 2:
            return nowhere
        known: Booleans = np.asarray(np.isfinite(values).all(axis=-1))
        finite = np.where(known[..., None], values, 0.0)
        return np.where(known & _varied(finite), finite.mean(axis=-1) + side * reach(finite, confidence), nowhere)

    return limit(lowest, -1.0), limit(highest, 1.0)


def reach(values: Floats, confidence: float) -> Floats:
    """Half the width of the t interval of the mean over the last axis, [..., n] -> [...]."""
    n = values.shape[-1]
    return np.asarray(stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(axis=-1, ddof=1) / math.sqrt(n))


def _varied(values: Floats) -> Booleans:
    """Whether the values differ by more than rounding, over the last axis."""
    return np.asarray(values.std(axis=-1, ddof=1) > 1e-9 * np.abs(values).max(axis=-1))


def _effect(
    lowest: Floats,  # on the scale on which pairs are averaged, as `highest`
    highest: Floats,
    censored: Booleans,
    kind: Kind,
    unit: str,
    null: float,
    confidence: float | None,
) -> Effect:
    confidence = claims().rule.confidence if confidence is None else confidence
    if not 0 < confidence < 1:
        raise SpecError(f"The confidence must lie between 0 and 1; {confidence} does not.")
    if len(lowest) == 0:
        raise SpecError("An effect needs at least one pair of runs.")
    # Which bound to show: the values themselves, unless they are unbounded below but not above.
    shown = next((float(values.mean()) for values in (lowest, highest) if np.isfinite(values).all()), math.nan)
    in_unit = np.exp if kind == "ratio" else np.asarray
    estimate, low, high = (float(in_unit(value)) for value in (shown, *limits(lowest, highest, confidence)))
    p_value = _p_value(lowest, highest, censored, float(scaled(null, kind)))
    least, most = (tuple(map(float, in_unit(values))) for values in (lowest, highest))
    flags = tuple(map(bool, censored))
    return Effect(estimate, low, high, len(lowest), kind, unit, null, confidence, p_value, least, most, flags)


def _p_value(lowest: Floats, highest: Floats, censored: Booleans, null: float) -> float:
    """Two-sided p-value of the t test, below 1 - confidence exactly where the interval leaves the null out."""
    n = len(lowest)
    if n < 2:
        return math.nan
    for values, side in ((lowest, 1.0), (highest, -1.0)):
        if np.isfinite(values).all() and _varied(values):
            away = side * (values.mean() - null)
            if away > 0 and (not censored.any() or (side * (values - null) > 0).all()):
                return float(2 * stats.t.sf(away / values.std(ddof=1) * math.sqrt(n), n - 1))
    return 1.0


def smallest_of(parts: Sequence[Effect]) -> Effect:
    """The smallest of several effects, for a claim on any of them: an intersection-union test.

    Its interval runs from the smallest lower limit to the smallest upper limit, the latter corrected for its choice
    (Bonferroni). The pairs' values are those of the smallest effect.
    """
    least = min(parts, key=lambda part: part.estimate)
    found = dataclasses.replace(least, parts=tuple(parts), p_value=max(part.p_value for part in parts))
    back = math.exp if least.kind == "ratio" else float
    low, high = (back(limit) for limit in found.limits(least.confidence))
    return dataclasses.replace(found, low=low, high=high)


# ---- what so many pairs can show -------------------------------------------------------------------------------------


def power(n: int, distance: float, confidence: float = 0.95) -> float:
    """Probability that the interval over `n` pairs lies on the side of a true effect.

    `distance` of the effect from the null is in standard deviations of the pairs' values.
    """
    if n < 2:
        return 0.0
    critical = stats.t.ppf((1 + confidence) / 2, n - 1)
    return float(stats.nct.sf(critical, n - 1, abs(distance) * math.sqrt(n)))


def smallest_detectable(n: int, wanted: float = POWER, confidence: float = 0.95) -> float:
    """The distance from the null, in standard deviations of the pairs' values, found with that probability.

    Infinite for fewer than two pairs.
    """
    if not (1 - confidence) / 2 < wanted < 1:
        raise SpecError(f"A power of {wanted} cannot be asked for; give one between {(1 - confidence) / 2:g} and 1.")
    if n < 2:
        return math.inf
    return float(optimize.brentq(lambda distance: power(n, distance, confidence) - wanted, 0.0, 100.0))


def proportion(successes: int, tries: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a probability: Clopper and Pearson (1934), Biometrika 26, 404."""
    interval = stats.binomtest(successes, tries).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)
