"""Effect and question -> verdict, by the rule of `claims.toml`, and what is left of verdicts among many.

The rule stands there in words, was fixed before the runs, and is applied by one vectorised function, `judge`: the same
code judges the experiments and is put through the simulation that says how often it errs. What a function is taken from
stands in its docstring.
"""

import dataclasses
import functools
import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ..errors import SpecError
from ..paper.claims import Question
from .effects import POWER, Booleans, Effect, Floats, limits, power
from .measures import counted_in

Label = Literal[
    "reproduced", "weaker than claimed", "direction reproduced", "contradicted", "no effect of that size",
    "inconclusive", "not tested",
]  # fmt: skip
LABELS: tuple[Label, ...] = get_args(Label)  # in the order of the rule
REPRODUCED, WEAKER, DIRECTION_REPRODUCED, CONTRADICTED, NO_EFFECT, INCONCLUSIVE, NOT_TESTED = range(len(LABELS))
LEAST = "the least that the claim's words take"
STEP = 10.0  # points that a margin is drawn as where it is the null itself


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A label and the sentence that says why, with its numbers."""

    label: Label
    reason: str


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
    "No effect of that size" is the pair of one-sided tests of Schuirmann (1987), J. Pharmacokinetics and
    Biopharmaceutics 15, 657.
    """
    low, high, capped = np.asarray(low), np.asarray(high), np.asarray(capped)
    there, small = low > 0, high < margin
    return np.select(
        [there & (low >= margin) & ~capped, there & small, there, high < 0, small & (low > -margin)],
        [REPRODUCED, WEAKER, DIRECTION_REPRODUCED, CONTRADICTED, NO_EFFECT],
        INCONCLUSIVE,
    ).astype(np.int8)


def labelled(question: Question, effect: Effect, confidence: float, capped: bool = False) -> Label:
    """The label of an effect at a confidence."""
    if effect.n < 2:
        return "not tested"
    null, margin = map(float, effect.scaled((effect.null, question.margin or 0.0)))
    side = 1 if question.direction == "above" else -1
    if effect.parts:
        low, high = effect.limits(confidence)
        low, high = (low - null, high - null) if side > 0 else (null - high, null - low)
    else:
        lowest, highest = effect.scaled(effect.lowest), effect.scaled(effect.highest)
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


def verdict(question: Question, effect: Effect | float | None, capped: str = "") -> Verdict:
    """The verdict on a question, from its effect, from a count (exact questions), or from nothing (None).

    `capped` says in words what forbids "reproduced" besides a censored run.
    """
    if question.not_tested:
        return Verdict("not tested", question.not_tested)
    if effect is None:
        return Verdict("not tested", f"None of its runs is among the records; {to_make(question)} makes them.")
    if question.effect == "exact":
        return _exact_verdict(question, effect)
    if not isinstance(effect, Effect) or effect.kind != question.effect or effect.null != question.null:
        raise SpecError(f"{question.id} asks for a {question.effect} against {question.null}, not for what was given.")
    label = labelled(question, effect, question.confidence, bool(capped))
    return Verdict(label, _reason(question, effect, label, capped))


def to_make(question: Question) -> str:
    """The command that makes the runs which a question lacks."""
    return f"make runs PROFILE={question.profile} CLAIM={question.claim}"


def _exact_verdict(question: Question, count: Effect | float) -> Verdict:
    figure = question.figure
    if isinstance(count, Effect) or figure is None or figure.value is None or figure.last_digit is None:
        raise SpecError(f"{question.id} asks for a count.")
    digits = count / figure.last_digit
    agrees = figure.value in (round(digits) * figure.last_digit, math.floor(digits) * figure.last_digit)
    printed = f"{count:,.0f} {figure.unit} counted; the paper prints {figure.value:,.0f}"
    rounded = round(digits) * figure.last_digit
    if agrees and count != figure.value:
        cut = f"ours cut off at its last digit; rounded it would be {rounded:,.0f}"
        printed += f", which is {'ours rounded' if rounded == figure.value else cut}"
    return Verdict("reproduced" if agrees else "contradicted", f"{printed}.")


def _reason(question: Question, effect: Effect, label: Label, capped: str) -> str:
    """One sentence or two that say with numbers why the label holds; the interval itself stands beside it."""
    if label == "not tested":
        return f"One {counted_in(question)} gives no interval."
    after = "".join(f" {cause[0].upper()}{cause[1:]}." for cause in (_censoring(effect), capped) if cause)
    if not effect.has_interval:
        return f"There is no interval{':' + after.lower() if after else ': every pair gave the same value.'}"
    margin = size(question, effect)
    if label == "reproduced":
        return f"The effect is at least {margin}, {LEAST}." if question.margin else "The effect is on the claimed side."
    if label == "inconclusive":
        needed = seeds_needed(question, effect)
        many = f"{needed} {counted_in(question, needed or 0)}"
        more = f"At this spread it takes {many} to find {margin} in four tries of five." if needed else ""
        return f"{more}{after}".strip() or "The interval holds both sides."
    nearer = question.margin and min(relative(question, effect, end) for end in (effect.low, effect.high)) > -1
    small = f", and below {margin}" if nearer else ""
    said = {
        "weaker than claimed": f"There is an effect, and it is below {margin}, {LEAST}.",
        "direction reproduced": f"There is an effect; whether it comes to {margin}, {LEAST}, is open.",
        "contradicted": f"The effect is on the other side{small}."
        if question.measure != "chance-margin"
        else "The networks end no better than guessing.",
        "no effect of that size": f"Anything as large as {margin} is ruled out, on either side.",
    }
    return said[label] + after


def size(question: Question, effect: Effect) -> str:
    """The margin of a question in words: "0.5 points", "a factor of 1.41"."""
    margin, unit = question.margin or 0.0, effect.unit.replace("percentage points", "points")
    if effect.kind == "ratio":
        return f"a factor of {margin:.3g}"
    return f"{margin:g} {unit.removesuffix('s') if margin == 1 else unit}"


def relative(question: Question, effect: Effect, value: float) -> float:
    """A value of an effect in margins of its claim, so that units can be compared: 0 is no effect, 1 the margin, on the
    claimed side; ratios by their logarithms. Where the margin is the null itself, 1 stands for ten points."""
    null, margin, here = map(float, effect.scaled((effect.null, question.margin or 0.0, value)))
    away = (here - null) / (margin if margin > 0 else STEP)
    return away if question.direction == "above" else -away


def seeds_needed(question: Question, effect: Effect) -> int | None:
    """Pairs with which an effect as large as the margin would be found with 80% probability at the observed spread;
    None without a margin or a spread, or above a thousand. Of several effects each must be found: the widest decides.
    """
    margin = abs(float(effect.scaled(question.margin))) if question.margin else 0.0
    spreads = [part.spread for part in effect.parts or (effect,)]
    if not all(spread > 0 for spread in spreads) or not 0 < margin < math.inf:
        return None
    wanted = margin / max(spreads)
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


def _censoring(effect: Effect) -> str:
    """How many pairs were censored and what that does to the estimate, or nothing."""
    pairs = sum(effect.censored)
    if not pairs:
        return ""
    start = f"in {pairs} of {effect.n} pairs a run did not reach its target or diverged"
    if effect.lower_bound or effect.upper_bound:
        return f"{start}, so the figures are {'lower' if effect.lower_bound else 'upper'} bounds"
    return f"{start}, so the size is unknown" if math.isnan(effect.estimate) else start


# ---- many claims -----------------------------------------------------------------------------------------------------


def simultaneous_level(p_values: ArrayLike, rate: float) -> float:
    """The level at which all intervals of a family, p-values [tests], hold their effects at once but for that rate,
    however they depend on each other: Dunn (1961), J. Am. Statist. Assoc. 56, 52. NaN (no test) is not counted.

    Holm's step-down would be less strict and is for one test a claim: a label rests on two, for a side and against an
    effect as large as the margin, and one found by the latter would leave the count of the former.
    """
    return rate / max(int((~np.isnan(_probabilities(p_values))).sum()), 1)


def false_discovery_level(p_values: ArrayLike, rate: float) -> Any:
    """The level at which intervals keep the rate of false discoveries over a family, [..., tests] -> [...]: rate times
    the number found, over the number of tests. NaN (no test) is not counted; only a single family may have any.

    Benjamini and Hochberg (1995), J. R. Statist. Soc. B 57, 289: how many are found; Benjamini and Yekutieli (2005),
    J. Am. Statist. Assoc. 100, 71: the intervals.
    """
    tested = _probabilities(p_values)
    if tested.ndim == 1:
        tested = tested[~np.isnan(tested)]
    count = tested.shape[-1]
    found = (stats.false_discovery_control(tested, axis=-1) <= rate).sum(axis=-1) if count else 0
    return rate * np.maximum(found, 1) / max(count, 1)


def _probabilities(p_values: ArrayLike) -> Floats:
    found = np.array(p_values, dtype=np.float64)
    if ((found < 0) | (found > 1)).any():
        raise SpecError("A p-value lies between 0 and 1.")
    return found
