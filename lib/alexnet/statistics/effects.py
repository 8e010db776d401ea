"""Numbers of paired runs -> effect, interval, verdict.

Everything here works on plain numbers; `statistics.board` takes them from run records. The rule that gives a verdict
stands in words in `claims.toml`, was fixed before the runs, and is applied by one vectorised function, `judge`: the
same code judges the experiments and is put through the simulation that says how often it errs.

Each pair of runs (same seed, two arms) gives one value: a difference, or a ratio, which is handled as its logarithm.
The interval is Student's t interval of the mean over pairs.

Censored runs. A run that does not reach its target within its cap, or diverges, enters at its cap. Its pair's log
ratio is then known on one side only, so a pair has a lowest and a highest value, equal unless a run was censored, and
infinite on the side about which nothing is known. The lower limit of the interval is the t limit of the lowest
values, the upper limit that of the highest values.

Why that is sound. The mean of the lowest values estimates the *restricted mean*, the mean of log min(time, cap) in
place of log time (as restricted mean survival time does in survival analysis). It cannot exceed the mean of log time,
so a lower limit of the one is a lower limit of the other, however large the unseen times are: the spread that matters
is that of the restricted values, which is what the t limit uses. What remains is the t interval's own assumption. A
cap makes the restricted values lean to the left, and when every slower run is at its cap, their spread is that of the
faster arm alone; if the few seeds all miss a quick run, that spread is too small. Three things guard against it. With
any run censored a side is granted only if every single pair is on it, which has a probability of at most 2^-n when
the arms do not differ (1 in 32 at five seeds), whatever the distribution. A censored effect is never more than
"direction reproduced". And its size is given as a bound, never as an estimate. `simulated_errors` measures what is
left.

References. Schuirmann (1987), J. Pharmacokinetics and Biopharmaceutics 15, 657: two one-sided tests. Benjamini and
Hochberg (1995), J. R. Statist. Soc. B 57, 289: the rate of false discoveries; Benjamini and Yekutieli (2005), J. Am.
Statist. Assoc. 100, 71: intervals that keep it. Holm (1979), Scand. J. Statistics 6, 65. Dunnett (1955), J. Am.
Statist. Assoc. 50, 1096: a baseline shared by several arms.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from ..errors import SpecError
from ..paper.claims import Question, claims

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Label = Literal[
    "reproduced", "weaker than claimed", "direction reproduced", "contradicted", "no effect of that size",
    "inconclusive", "not tested",
]  # fmt: skip
Noise = Literal["normal", "heavy", "skewed", "two-point"]
LABELS: tuple[Label, ...] = get_args(Label)  # in the order of the rule
REPRODUCED, WEAKER, DIRECTION_REPRODUCED, CONTRADICTED, NO_EFFECT, INCONCLUSIVE, NOT_TESTED = range(len(LABELS))
LEAST = "the least that the claim's words take"
POWER = 0.8  # with which an effect shall be found, where a number of seeds is asked for
STEP = 10.0  # points that a margin is drawn as where it is the null itself


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
    kind: Literal["difference", "ratio"]
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
        low, high = limits(_scaled(self.lowest, self.kind), _scaled(self.highest, self.kind), confidence)
        return float(low), float(high)

    @property
    def scale(self) -> Literal["linear", "log"]:
        """The scale on which pairs are averaged and the interval is symmetric."""
        return "log" if self.kind == "ratio" else "linear"

    @property
    def values(self) -> tuple[float, ...]:
        """Each pair's value, censored runs at their cap; NaN where both runs were censored."""
        nothing = 0.0 if self.kind == "ratio" else -math.inf
        pairs = zip(self.lowest, self.highest, strict=True)
        return tuple(low if low > nothing else high if high < math.inf else math.nan for low, high in pairs)

    @property
    def lower_bound(self) -> bool:
        """Whether the true effect may be larger than the estimate without limit."""
        return self.highest_open and not self.lowest_open

    @property
    def upper_bound(self) -> bool:
        """Whether the true effect may be smaller than the estimate without limit."""
        return self.lowest_open and not self.highest_open

    @property
    def highest_open(self) -> bool:
        """Whether some pair has no upper bound."""
        return any(value == math.inf for value in self.highest)

    @property
    def lowest_open(self) -> bool:
        """Whether some pair has no lower bound."""
        nothing = 0.0 if self.kind == "ratio" else -math.inf
        return any(value == nothing for value in self.lowest)

    @property
    def has_interval(self) -> bool:
        """Whether the interval has a limit on at least one side."""
        return self.low > (0.0 if self.kind == "ratio" else -math.inf) or self.high < math.inf

    @property
    def spread(self) -> float:
        """Standard deviation over pairs (of the natural logarithm, for ratios); NaN if censored or fewer than two."""
        if self.n < 2 or any(self.censored):
            return math.nan
        return float(np.std(_scaled(self.lowest, self.kind), ddof=1))

    @property
    def text(self) -> str:
        """The estimate and its interval: "6.1 [5.2, 7.1], n = 5", or "≥ 6.8 [≥ 6.5], n = 5" for a bound."""
        number = self.number
        if self.n == 0:
            return "no runs"
        if math.isnan(self.estimate):
            return f"unknown, n = {self.n}"
        sign = "≥ " if self.lower_bound else "≤ " if self.upper_bound else ""
        below, above = self.low > (0.0 if self.kind == "ratio" else -math.inf), self.high < math.inf
        if below and above:
            interval = f" [{number(self.low)}, {number(self.high)}]"
        elif below:
            interval = f" [≥ {number(self.low)}]"
        elif above:
            interval = f" [≤ {number(self.high)}]"
        else:
            interval = ""
        return f"{sign}{number(self.estimate)}{interval}, n = {self.n}"

    def number(self, value: float) -> str:
        """A value of this effect as it is printed."""
        if self.kind == "ratio":
            return f"{value:.3g}"
        return f"{value:.{decimals([self.estimate, self.low, self.high])}f}"

    def smallest_detectable(self, power: float = 0.8) -> float:
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


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A label and the sentence that says why, with its numbers."""

    label: Label
    reason: str


def _scaled(values: ArrayLike, kind: str) -> Floats:
    """The values on the scale on which they are averaged: logarithms of ratios."""
    found = np.asarray(values, dtype=np.float64)
    if kind != "ratio":
        return found
    with np.errstate(divide="ignore"):
        return np.log(found)


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
    unit: str = "times",
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
    return _effect(lowest, highest, top_censored | bottom_censored, "ratio", unit, null, confidence)


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
    return _limit(lowest, confidence, -1.0), _limit(highest, confidence, 1.0)


def _limit(values: Floats, confidence: float, side: float) -> Floats:
    n = values.shape[-1]
    nowhere = np.full(values.shape[:-1], side * np.inf)
    if n < 2:
        return nowhere
    known: Booleans = np.asarray(np.isfinite(values).all(axis=-1))
    finite = np.where(known[..., None], values, 0.0)
    mean, spread, varied = _mean_and_spread(finite)
    reach = stats.t.ppf((1 + confidence) / 2, n - 1) * spread / math.sqrt(n)
    return np.where(known & varied, mean + side * reach, nowhere)


def _mean_and_spread(values: Floats) -> tuple[Floats, Floats, Booleans]:
    """Mean and standard deviation over the last axis, and whether the values differ by more than rounding."""
    spread = values.std(axis=-1, ddof=1)
    return values.mean(axis=-1), spread, spread > 1e-9 * np.abs(values).max(axis=-1)


def sided(
    lowest: Floats,  # [..., n] each pair's value or lower bound, logarithms for ratios
    highest: Floats,  # [..., n] each pair's value or upper bound
    censored: Booleans,  # [..., n]
    null: float,
    claimed_side: int,  # 1 above, -1 below
    confidence: float,
) -> tuple[Floats, Floats]:
    """The limits of the effect counted from the null on the claimed side, [..., n] -> two of [...].

    With any run censored, a limit counts for a side only if every single pair is on that side as well.
    """
    low, high = limits(lowest, highest, confidence)
    sound = ~censored.any(axis=-1)
    low = np.where(sound | (lowest > null).all(axis=-1), low - null, np.minimum(low - null, 0.0))
    high = np.where(sound | (highest < null).all(axis=-1), high - null, np.maximum(high - null, 0.0))
    return (low, high) if claimed_side > 0 else (-high, -low)


def judge(low: ArrayLike, high: ArrayLike, margin: float, capped: ArrayLike = False) -> NDArray[np.int8]:
    """The rule of `claims.toml`: places in `LABELS` for limits [...] counted on the claimed side of the null.

    `capped` [...]: whether something forbids "reproduced": a censored or collapsed run, or what the claim needs too.
    """
    low, high, capped = np.asarray(low), np.asarray(high), np.asarray(capped)
    there, small = low > 0, high < margin
    return np.select(
        [there & (low >= margin) & ~capped, there & small, there, high < 0, small & (low > -margin)],
        [REPRODUCED, WEAKER, DIRECTION_REPRODUCED, CONTRADICTED, NO_EFFECT],
        INCONCLUSIVE,
    ).astype(np.int8)


def _effect(
    lowest: Floats,
    highest: Floats,
    censored: Booleans,
    kind: Literal["difference", "ratio"],
    unit: str,
    null: float,
    confidence: float | None,
) -> Effect:
    confidence = claims().rule.confidence if confidence is None else confidence
    if not 0 < confidence < 1:
        raise SpecError(f"The confidence must lie between 0 and 1; {confidence} does not.")
    if len(lowest) == 0:
        raise SpecError("An effect needs at least one pair of runs.")
    low, high = limits(lowest, highest, confidence)
    # Which bound to show: the values themselves, unless they are unbounded below but not above.
    if np.isfinite(lowest).all():
        estimate = float(lowest.mean())
    else:
        estimate = float(highest.mean()) if np.isfinite(highest).all() else math.nan
    scaled_null = float(_scaled(null, kind))
    back = np.exp if kind == "ratio" else np.asarray
    return Effect(
        estimate=float(back(estimate)),
        low=float(back(low)),
        high=float(back(high)),
        n=len(lowest),
        kind=kind,
        unit=unit,
        null=null,
        confidence=confidence,
        p_value=_p_value(lowest, highest, censored, scaled_null),
        lowest=tuple(float(value) for value in back(lowest)),
        highest=tuple(float(value) for value in back(highest)),
        censored=tuple(bool(flag) for flag in censored),
    )


def _p_value(lowest: Floats, highest: Floats, censored: Booleans, null: float) -> float:
    """Two-sided p-value of the t test, below 1 - confidence exactly where the interval leaves the null out."""
    n = len(lowest)
    if n < 2:
        return math.nan
    for values, side in ((lowest, 1.0), (highest, -1.0)):
        if not np.isfinite(values).all():
            continue
        mean, spread, varied = _mean_and_spread(values)
        away = side * (mean - null)
        if varied and away > 0 and (not censored.any() or (side * (values - null) > 0).all()):
            return float(2 * stats.t.sf(away / spread * math.sqrt(n), n - 1))
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


def labelled(question: Question, effect: Effect, confidence: float, capped: bool = False) -> Label:
    """The label of an effect at a confidence."""
    if effect.n < 2:
        return "not tested"
    null, margin = (float(_scaled(value, effect.kind)) for value in (effect.null, question.margin or 0.0))
    side = 1 if question.direction == "above" else -1
    if effect.parts:
        low, high = effect.limits(confidence)
        low, high = (low - null, high - null) if side > 0 else (null - high, null - low)
    else:
        lowest, highest = (_scaled(values, effect.kind) for values in (effect.lowest, effect.highest))
        low, high = sided(lowest, highest, np.array(effect.censored), null, side, confidence)  # type: ignore[assignment]
    return LABELS[int(judge(low, high, margin, capped or any(effect.censored)))]


@functools.cache
def decisive(question: Question, effect: Effect) -> float:
    """The smallest error rate at which the rule still says more than "inconclusive": the p-value of the label.

    NaN for fewer than two pairs. It is below 1 - confidence exactly where the label says more.
    """
    if effect.n < 2:
        return math.nan
    low, high = 0.0, 1.0
    for _ in range(34):
        rate = (low + high) / 2
        silent = labelled(question, effect, 1 - rate) == "inconclusive"
        low, high = (rate, high) if silent else (low, rate)
    return high


def verdict(
    question: Question, effect: Effect | float | None, capped: str = "", confidence: float | None = None
) -> Verdict:
    """The verdict on a question, from its effect, from a count (exact questions), or from nothing (None).

    `capped` says in words what forbids "reproduced" besides a censored run; `confidence` is the question's by default.
    """
    if question.not_tested:
        return Verdict("not tested", question.not_tested)
    if effect is None:
        command = f"make runs PROFILE={question.profile} CLAIM={question.claim}"
        return Verdict("not tested", f"None of its runs is among the records; {command} makes them.")
    if question.effect == "exact":
        return _exact_verdict(question, effect)
    if not isinstance(effect, Effect) or effect.kind != question.effect or effect.null != question.null:
        raise SpecError(f"{question.id} asks for a {question.effect} against {question.null}, not for what was given.")
    label = labelled(question, effect, confidence or question.confidence, bool(capped))
    return Verdict(label, _reason(question, effect, label, capped))


def _exact_verdict(question: Question, count: Effect | float) -> Verdict:
    figure = question.figure
    if isinstance(count, Effect) or figure is None or figure.value is None or figure.last_digit is None:
        raise SpecError(f"{question.id} asks for a count.")
    digits = count / figure.last_digit
    agrees = figure.value in (round(digits) * figure.last_digit, math.floor(digits) * figure.last_digit)
    printed = f"{count:,.0f} {figure.unit} counted; the paper prints {figure.value:,.0f}"
    if not agrees:
        return Verdict("contradicted", f"{printed}.")
    return Verdict("reproduced", f"{printed}{'' if count == figure.value else ', the same number in fewer digits'}.")


def _reason(question: Question, effect: Effect, label: Label, capped: str) -> str:
    """One sentence or two that say with numbers why the label holds; the interval itself stands beside it."""
    if label == "not tested":
        return "One pair of runs gives no interval."
    censored = _censoring(effect)
    after = "".join(f" {cause[0].upper()}{cause[1:]}." for cause in (censored, capped) if cause)
    if not effect.has_interval:
        return f"There is no interval{':' + after.lower() if after else ': every pair gave the same value.'}"
    margin = size(question, effect)
    if label == "reproduced":
        return f"The effect is at least {margin}, {LEAST}." if question.margin else "The effect is on the claimed side."
    if label == "weaker than claimed":
        return f"There is an effect, and it is below {margin}, {LEAST}.{after}"
    if label == "direction reproduced":
        return f"There is an effect; whether it comes to {margin}, {LEAST}, is open.{after}"
    if label == "contradicted":
        return f"The effect is on the other side.{after}"
    if label == "no effect of that size":
        return f"Anything as large as {margin} is ruled out, on either side.{after}"
    needed = seeds_needed(question, effect)
    more = f"At this spread it takes {needed} pairs to find {margin} in four tries of five." if needed else ""
    return f"{more}{after}".strip() or "The interval holds both sides."


def size(question: Question, effect: Effect) -> str:
    """The margin of a question in words: "0.5 points", "a factor of 1.41"."""
    margin, unit = question.margin or 0.0, _unit(effect)
    if effect.kind == "ratio":
        return f"a factor of {margin:.3g}"
    return f"{margin:g} {unit.removesuffix('s') if margin == 1 else unit}"


def relative(question: Question, effect: Effect, value: float) -> float:
    """A value of an effect in margins of its claim, so that units can be compared: 0 is no effect, 1 the margin, on the
    claimed side; ratios by their logarithms. Where the margin is the null itself, 1 stands for ten points."""
    null, margin, here = (float(_scaled(one, effect.kind)) for one in (effect.null, question.margin or 0.0, value))
    away = (here - null) / (margin if margin > 0 else STEP)
    return away if question.direction == "above" else -away


def seeds_needed(question: Question, effect: Effect) -> int | None:
    """Pairs with which an effect as large as the margin would be found with 80% probability at the observed spread;
    None without a margin or a spread, or above a thousand."""
    margin = abs(float(_scaled(question.margin or 0.0, effect.kind))) if question.margin else 0.0
    if not effect.spread > 0 or not 0 < margin < math.inf:
        return None
    wanted = margin / effect.spread
    return next((n for n in range(2, 1001) if power(n, wanted, effect.confidence) >= POWER), None)


def agreement(question: Question, effect: Effect) -> str:
    """Whether the interval meets what rounds to the paper's figure: "agrees", "larger" or "smaller"; "" where the
    scales differ or there is no figure."""
    if question.comparable is None or question.figure is None or not effect.has_interval:
        return ""
    half = question.figure.rounding or 0.0
    if effect.low > question.comparable + half:
        return "larger"
    return "smaller" if effect.high < question.comparable - half else "agrees"


def _unit(effect: Effect) -> str:
    return {"percentage points": "points"}.get(effect.unit, effect.unit)


def _censoring(effect: Effect) -> str:
    """How many pairs were censored and what that does to the estimate, or nothing."""
    pairs = sum(effect.censored)
    if not pairs:
        return ""
    start = f"in {pairs} of {effect.n} pairs a run did not reach its target or diverged"
    if effect.lower_bound:
        return f"{start}, so the figures are lower bounds"
    if effect.upper_bound:
        return f"{start}, so the figures are upper bounds"
    return f"{start}, so the size is unknown" if effect.lowest_open else start


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of a family of p-values; NaN (no test) stays NaN and is not counted."""
    found = _probabilities(p_values)
    tested = np.flatnonzero(~np.isnan(found))
    order = tested[np.argsort(found[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    found[order] = np.minimum(1.0, np.maximum.accumulate(found[order] * factors))
    return [float(value) for value in found]


def false_discovery_level(p_values: Sequence[float], rate: float) -> float:
    """The level at which intervals keep the rate of false discoveries over a family: rate times the number found by
    Benjamini and Hochberg, over the number of tests (Benjamini and Yekutieli 2005). NaN (no test) is not counted."""
    tested = _probabilities(p_values)
    tested = tested[~np.isnan(tested)]
    found = int((stats.false_discovery_control(tested) <= rate).sum()) if len(tested) else 0
    return rate * max(found, 1) / max(len(tested), 1)


def _probabilities(p_values: Sequence[float]) -> Floats:
    found = np.array(p_values, dtype=np.float64)
    if ((found < 0) | (found > 1)).any():
        raise SpecError("A p-value lies between 0 and 1.")
    return found


def proportion(successes: int, tries: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a probability (Clopper and Pearson 1934)."""
    interval = stats.binomtest(successes, tries).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


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

    `a side` is granted where the arms do not differ: the claimed one in any form, or the other. `reproduced` and `no
    effect` are granted where the effect is just as large as the margin (two standard deviations of a run), where half
    of all estimates lie above it. Each is the larger share of two: noise may lean to the claimed side or the other.
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
                found = {
                    "a side": max(np.mean(none <= DIRECTION_REPRODUCED), np.mean(none == CONTRADICTED)),
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
) -> NDArray[np.int8]:
    """Labels [repeats] of simulated experiments, judged by the code that judges the real ones, from runs drawn
    independently. `noise` is normal; heavy (t with three degrees of freedom); skewed (exponential, a few slow runs); or
    two-point (each run one of two values, near the worst case of the t interval)."""
    random = np.random.default_rng(seed)
    kinds = (noise, noise) if isinstance(noise, str) else noise
    first = spread * _noise(random, kinds[0], (repeats, n))
    second = _noise(random, kinds[1], (repeats, n, baseline_runs)).mean(axis=-1)
    late, late_too = _beyond(first, censored[0]), _beyond(second, censored[1])
    first, second = np.minimum(first, _cap(first, censored[0])), np.minimum(second, _cap(second, censored[1]))
    lowest, highest = censored_bounds(first + claimed_side * effect - second, late, late_too)
    confidence = claims().rule.confidence
    left = (random.random((repeats, n)) >= collapsed).sum(axis=-1)  # pairs that are left; they are exchangeable
    found = np.full(repeats, NOT_TESTED, dtype=np.int8)
    for count in np.unique(left[left >= 2]):
        rows, pairs = np.flatnonzero(left == count), slice(0, count)
        known = (late | late_too)[rows, pairs]
        low, high = sided(lowest[rows, pairs], highest[rows, pairs], known, 0.0, claimed_side, confidence)
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


def _cap(values: Floats, censored: float) -> float:
    return float(np.quantile(values, 1 - censored)) if censored else math.inf


def _beyond(values: Floats, censored: float) -> Booleans:
    return values > _cap(values, censored)


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


@dataclasses.dataclass(frozen=True)
class SamplingNoise:
    """What another test set of the same size could have changed: accuracy of two arms on the same images."""

    difference: float  # error of the first less error of the second, percentage points
    low: float
    high: float
    p_value: float  # exact McNemar test for one pair of runs, normal approximation over several
    images: int
    pairs: int


def sampling_noise(
    first_correct: ArrayLike,  # [images] or [pairs, images] whether the first arm's prediction is right
    second_correct: ArrayLike,  # the same for the second arm
    confidence: float | None = None,
) -> SamplingNoise:
    """Difference in test error and its interval over test images, for fixed trained networks.

    Seed noise is not in this interval, and test-set noise is not in that over seeds: report both. The interval is
    normal over the per-image differences, averaged over pairs of runs. For one pair, the p-value is that of the exact
    McNemar test, a binomial test on the images that only one of the two gets right.
    """
    first, second = np.atleast_2d(np.asarray(first_correct)), np.atleast_2d(np.asarray(second_correct))
    if first.shape != second.shape or first.ndim != 2:
        raise SpecError(f"Both arms need predictions for the same images; shapes are {first.shape} and {second.shape}.")
    if first.dtype != bool or second.dtype != bool:
        raise SpecError("Give for each prediction whether it is right (True) or wrong (False).")
    pairs, images = first.shape
    if images < 2:
        raise SpecError("An interval over test images needs at least two of them.")
    confidence = claims().rule.confidence if confidence is None else confidence
    each = 100.0 * (second.astype(np.int8) - first.astype(np.int8)).mean(axis=0)
    mean, error = float(each.mean()), float(each.std(ddof=1)) / math.sqrt(images)
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * error
    if pairs == 1:
        only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
        discordant = only_first + only_second
        p_value = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    else:
        p_value = float(2 * stats.norm.sf(abs(mean) / error)) if error else 1.0
    return SamplingNoise(mean, mean - reach, mean + reach, p_value, images, pairs)
