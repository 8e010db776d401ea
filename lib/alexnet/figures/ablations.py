"""Tables, sentences and a figure of comparisons of two arms, seed by seed."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..paper.claims import Question
from ..records.record import RunRecord
from ..records.specs import RunSpec
from ..runs import planning
from ..runs.planning import Planned, Runs
from ..statistics.board import Row, effect_of, paired_records, pairs_of_effect, readings
from ..statistics.effects import decimals
from ..statistics.measures import WITHIN, counted_in
from .base import GREY, Drawn, arm_name, arm_styles, drawing, label, needed
from .tables import listed

# The sign before a change whose first, second value is at a cap: the true one lies above.
BOUNDS = {(False, False): "", (True, False): "> ", (False, True): "< ", (True, True): "? "}
UNDERFIT = 10.0  # percent of the training images on which a network still errs that does not fit them


def arms_of(question: Question, runs: Runs) -> dict[str, list[RunRecord]]:
    """The records that count for a question, by arm, in the order of its arms and seeds; missing ones left out."""
    pairs = paired_records(question, list(runs)).values()
    return {
        name: [record for pair in pairs for record in pair[place] if record is not None]
        for place, name in enumerate(question.arms or ())
    }


def one_line(claim: str, runs: Runs) -> str:
    """The code that makes one arm of the other, in the first comparison of a claim whose runs are planned; no words
    where none is."""
    arms: dict[tuple[str, int], dict[str, RunSpec]] = {}
    for planned, _ in runs:
        if planned.claim == claim and planned.stage == "seeds":
            arms.setdefault((planned.condition, planned.seed), {}).setdefault(planned.arm, planned.spec)
    for (one, base), (other, spec) in (list(specs.items())[:2] for specs in arms.values() if len(specs) > 1):
        return f"**The line that differs.** *{other}* is *{one}* `.{planning.as_code(spec, base)}`."
    return ""


def pairs_table(question: Question, runs: Runs, test_errors: bool = False) -> pd.DataFrame:
    """A row a seed: the measure of each arm, in the question's unit, and their difference or ratio; if asked for, the
    test error of each arm too.

    A value that is only a bound, because a run was censored or diverged, has a sign before it.
    """
    names, ratio = question.arms or ("", ""), question.effect == "ratio"
    pairs = {seed: (arms, readings(question, arms)) for seed, arms in paired_records(question, list(runs)).items()}
    digits = decimals([reading.value for _, found in pairs.values() for reading in found or ()])
    rows = []
    for seed, (arms, found) in pairs.items():
        if found is None:
            continue
        one, other = found
        change = one.value / other.value if ratio else one.value - other.value
        cells = [f"{BOUNDS[reading.censored, False]}{reading.value:.{digits}f}" for reading in found]
        cells.append(f"{BOUNDS[one.censored, other.censored]}{change:.{digits}f}")
        rows.append([seed, *cells, *(_test_error(arm) for arm in arms if test_errors)])
    columns = ["seed", *names, "ratio" if ratio else "difference"]
    return pd.DataFrame(rows, columns=[*columns, *(f"test error, {name}" for name in names if test_errors)])


def _test_error(found: Sequence[RunRecord | None]) -> str:
    """The mean test error of an arm's runs, those that have one."""
    errors = [r.final.test_error for r in found if r is not None and r.final.test_error is not None]
    return f"{np.mean(errors):.1%}" if errors else ""


def mean_errors(question: Question, runs: Runs) -> dict[str, tuple[float, float]]:
    """Mean training and test error of each arm in percent, dropout off, over the runs of the effect that have both;
    nothing where one run gives both arms."""
    if question.measure in WITHIN:
        return {}
    pairs, found = pairs_of_effect(question, runs), {}
    for place, name in enumerate(question.arms or ()):
        finals = [record.final for arms in pairs for record in arms[place]]
        errors = [(final.clean_train_error, final.test_error) for final in finals]
        both = [(100 * train, 100 * test) for train, test in errors if train is not None and test is not None]
        if both:
            train, test = np.mean(both, axis=0)
            found[name] = (float(train), float(test))
    return found


def errors_of_arms(question: Question, runs: Runs) -> str:
    """The mean errors of both arms, as Markdown, and which errs less on test images, unless that is the question."""
    errors = {arm_name(arm): both for arm, both in mean_errors(question, runs).items()}
    if len(errors) < 2:
        return ""
    fits = "; ".join(f"{name}: {a:.1f}% on training images, {b:.1f}% on test images" for name, (a, b) in errors.items())
    one_view = ", of the centre crop" * (question.measure == "ten-crop-error")  # the effect is that of ten
    said = f"**Mean errors{one_view}.** {fits[0].upper()}{fits[1:]}."
    effect = effect_of(question.model_copy(update={"measure": "test-error", "effect": "difference", "null": 0.0}), runs)
    if question.measure in ("test-error", "ten-crop-error") or effect is None:
        return said
    if effect.low <= 0 <= effect.high:
        return f"{said} On test images, seeds alone could make the difference."
    better = list(errors)[effect.low > 0]
    least, most = sorted((abs(effect.low), abs(effect.high)))
    interval = f"{least:.2f} to {most:.2f} points ({effect.confidence:.0%} interval)"
    return f"{said} On test images the arm *{better}* errs less, by {interval}."


def doubt(without: Mapping[str, Question], runs: Runs) -> str:
    """Whether networks without what keeps them from overfitting, the first arms, fit their training images at all, as
    Markdown; no words where they do. `without` has the comparison for each thing that they lack."""
    found = {what: list(mean_errors(question, runs).values()) for what, question in without.items()}
    still = {what: both[0][0] for what, both in found.items() if len(both) > 1 and both[0][0] > UNDERFIT}
    if not still:
        return ""
    named = listed(f"on {train:.0f}% without {what}" for what, train in still.items())
    return (
        f"**The doubt.** Of the images they were trained on, networks still err {named}. They have not come near to "
        "fitting them, so comparisons with them say little of networks that could overfit."
    )


def factors(question: Question, runs: Runs, step: float = 0.1) -> pd.DataFrame:
    """Ratio of the epochs that both arms take until the training loss, dropout off, is at a level: a row a level that
    every run comes to, and none had come to after its first epoch; mean over seeds (geometric), and the smallest and
    largest seed."""
    pairs = [arms for arms in paired_records(question, list(runs)).values() if all(map(all, arms))]
    firsts = [r.history[0].clean_train_loss for arms in pairs for arm in arms for r in arm if r is not None]
    highest = min((loss for loss in firsts if loss is not None), default=2.0)
    rows = []
    levels = np.arange(2.0, 0.0, -step).round(6)
    for level in levels[levels < highest]:
        asked = question.model_copy(update={"levels": (float(level),)})
        found = [pair for arms in pairs if (pair := readings(asked, arms)) is not None]
        if found and not any(reading.censored for pair in found for reading in pair):
            ratios = [one.value / other.value for one, other in found]
            rows.append([level, np.exp(np.mean(np.log(ratios))), min(ratios), max(ratios)])
    columns = ["level (nats)", "mean", "smallest", "largest"]
    return pd.DataFrame(rows, columns=columns).map(lambda value: round(float(value), 2))


def paired_dots(rows: Sequence[Row], runs: Runs, name: str, title: str) -> Drawn:
    """Each comparison on a line of its own: a dot an arm and seed, pairs joined, means as larger rings.

    `name` is that of the quantity with its unit. Raises `NothingToDraw` when no comparison has a complete pair.
    """
    runs, found = list(runs), []
    for question in (row.question for row in rows):
        pairs = [readings(question, arms) for arms in paired_records(question, runs).values()]
        values = np.array([[reading.value for reading in pair] for pair in pairs if pair is not None])
        if len(values):
            found.append((question, f"{question.title} ({question.condition_title})", values))
    needed(found, "No comparison has a complete pair of runs to draw; `make runs` makes the missing ones.")
    with drawing(8.6, 1.3 + 0.75 * len(found)) as (figure, axis):
        for place, (question, _, values) in enumerate(found):
            _dots(axis, place, question, values)
        axis.set_yticks(range(len(found)), [textwrap.fill(words, 44) for _, words, _ in found], fontsize=9)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        longest = max(len(arm) for question, *_ in found for arm in question.arms or ())
        axis.margins(x=0.15 + 0.025 * longest)  # the names of the arms stand beside their dots
        axis.set(ylim=(len(found) - 0.5, -0.7), xlabel=name, title=title)
    said = [
        f"{words}: {arm_name(question.arms[0])} {values[:, 0].mean():.2f}, "
        f"{arm_name(question.arms[1])} {values[:, 1].mean():.2f} over "
        f"{len(values)} seeds."
        for question, words, values in found
        if question.arms
    ]
    return figure, f"{name[0].upper()}{name[1:]}, means of both arms. {' '.join(said)}"


def _dots(axis: Axes, place: int, question: Question, values: np.ndarray) -> None:
    heights = place + (np.linspace(-0.11, 0.11, len(values)) if len(values) > 1 else np.zeros(1))
    for pair, height in zip(values, heights, strict=True):
        axis.plot(pair, [height, height], color=GREY, linewidth=0.8, alpha=0.6, zorder=1)
    means = values.mean(axis=0)
    for arm, (name, (colour, line)) in enumerate(arm_styles(question.arms or ()).items()):
        own, marker = values[:, arm], "o" if line == "solid" else "s"
        axis.scatter(own, heights, color=colour, s=22, marker=marker, zorder=2)
        axis.plot([means[arm]], [place], marker, markersize=12, markerfacecolor="none", color=colour, zorder=3)
        right = means[arm] >= means[1 - arm]
        at, offset, side = (values.max(), 12, "left") if right else (values.min(), -12, "right")
        label(axis, f"{arm_name(name)} {means[arm]:.1f}", (at, place), (offset, 9), ha=side, color=colour)


def selected(runs: Runs, claim: str) -> list[tuple[Planned, RunRecord | None]]:
    """The runs that are planned for a claim."""
    return [(planned, record) for planned, record in runs if planned.claim == claim]


def waiting(rows: Sequence[Row]) -> str:
    """How many runs, or pairs, the rows still lack, and the command that makes them, as Markdown; empty if none is."""
    alone = (row for row in rows if not row.collapses and not row.question.smallest_of)  # the parts have its runs
    lacking = {row.question: row.planned - getattr(row.effect, "n", 0) for row in alone}
    missing = {question: count for question, count in lacking.items() if count > 0}
    if not missing:
        return ""
    named = "; ".join(f"{one.condition_title} ({n} {counted_in(one, n)})" for one, n in missing.items())
    claims = ",".join(dict.fromkeys(question.claim for question in missing))
    return f"Not recorded yet: {named}. `make runs CLAIM={claims}` makes the rest."
