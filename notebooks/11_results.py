# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Results
#
# Every claim of the paper that can be checked, with what came out. The verdicts on this page are computed from run
# records by one rule. The runs that decide are made after it; rows marked as seen before show runs that were known when
# it was written, and decide nothing.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd
from IPython.display import Markdown, display

from alexnet import paths
from alexnet.experiments import profiles, reimplementations
from alexnet.figures import forest, tables
from alexnet.figures.display import show, show_if_any
from alexnet.figures.tables import say
from alexnet.networks import anatomy
from alexnet.paper.claims import claims, logs
from alexnet.records.store import Store
from alexnet.report import answers
from alexnet.statistics import board, effects, image_noise, simulation, verdicts

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = profiles.records(PROFILE, store, SEEDS)
rows = board.rows(runs, anatomy.exact_counts())
tested = [row for row in rows if row.verdict.label != "not tested"]
say(" ".join(answers.sentences(rows, runs)))


def repeats(row, others):
    """Whether another condition of the claim has the same runs: its effect is the same in every digit."""
    same = any((row.question.claim, row.effect) == (other.question.claim, other.effect) for other in others)
    return same and isinstance(row.effect, effects.Effect)


twins = [row for place, row in enumerate(tested) if repeats(row, tested[:place])]
tested = [row for row in tested if row not in twins]
say(
    "**The doubt.** Small images, one data set, narrow networks, few epochs: a verdict is on what was run, and what "
    "that was stands in its row."
)
show_if_any(forest.forest_plot, [row for row in tested if row.question.primary], "What do the claims' effects come to?")

# %% [markdown]
# ## The verdict board
#
# Where a claim was tested under more than one condition, each has its row; the primary one decides. Intervals are t
# intervals over pairs of runs; n is the number of pairs, or where one run gives both figures of runs, or of means of
# two (six means of twelve runs). A factor with a sign before it is a bound: some runs never arrived. Rows marked as
# seen are shown for what they are worth: their runs were known when the rule was fixed. Conditions of a claim that have
# the same runs count once, here and below. A figure of the paper on another scale has no word on its size.

# %%
table = board.verdict_board(tested)
table["decides"] = ["yes" if row.question.primary else "seen before" if row.question.seen else "" for row in tested]
table["margin"] = [verdicts.size(row.question, row.effect) if isinstance(row.effect, effects.Effect) else None
                   for row in tested]  # fmt: skip
table["size"] = [verdicts.agreement(row.question, row.effect) if isinstance(row.effect, effects.Effect) else ""
                 for row in tested]  # fmt: skip
table["ours"] = [board.with_unit(row) for row in tested]
table["collapsed"] = [", ".join(f"{lost} of {n} {arm}".strip() for arm, (lost, n) in row.collapses.items())
                      for row in tested]  # fmt: skip
columns = ["claim", "condition", "verdict", "decides", "ours", "collapsed", "margin", "paper", "size"]
tables.show(table[columns], "Claims tested so far")
if twins:
    names = tables.listed(f"“{row.question.title}”, {row.question.condition_title}" for row in twins)
    say(f"Left out, since another condition of the same claim has the same runs: {names}.")

# %% [markdown]
# How well the networks do at all is what an effect has to be read against.

# %%
table["test errors"] = [answers.test_errors(row.question, runs) for row in tested]
known = table.loc[table["test errors"] != "", ["claim", "condition", "test errors"]]
tables.show(known, "Mean test errors of all arms")

# %% [markdown]
# ## All effects in one picture

# %%
show(*forest.forest_plot(tested))

# %% [markdown]
# ## What really happened
#
# The original code was released with the notes that its authors kept beside their runs. Four figures of the paper stand
# there: each is the difference of two runs, or of one run tested in two ways, rounded. Nobody knows how much two runs
# of one kind would have differed. The other two comparisons are not in the paper.

# %%
caption = f"By how many points top-1 and top-5 error rise: the paper, the logs of {logs().repository}, and here"
tables.show(board.beside_logs(rows), caption)
for claim in dict.fromkeys(pair.claim for pair in logs().pair):
    display(Markdown(f"**{claims()[claim].title}.** {' '.join(logs().sentences(claim))}"))

# %% [markdown]
# ## The rule
#
# Each claim has a margin, the smallest effect that is worth its words; the rule sets the interval against it. Whether
# the size agrees with the printed figure, where both were measured on the same scale, is a column of its own.

# %%
rule = claims().rule
labels = {label: getattr(rule, label.replace(" ", "_")) for label in verdicts.LABELS}
tables.show(pd.DataFrame({"verdict": labels.keys(), "given when": labels.values()}), "The verdicts")
for title, text in {
    "Runs that don't arrive": rule.censoring, "Runs that collapse": rule.collapse, "Learning rates": rule.arms,
    "Seeds": rule.seeds, "Claims on any of several": rule.smallest, "Counts": rule.exact,
}.items():  # fmt: skip
    display(Markdown(f"**{title}.** {text}"))

# %% [markdown]
# ## How often the rule errs
#
# A rule that grants a claim too easily is worth nothing. So it judges simulated experiments whose truth is known, with
# noise of several shapes, runs that collapse and runs that miss their cap, and we count how often it is wrong: the
# claimed side granted where the arms do not differ, or the other, whichever comes more often, and either of the two;
# "reproduced" where the effect is just as large as the margin; "no effect of that size" there. A given side, and either
# of the latter, is to be granted wrongly at most one time in twenty, whichever way the noise leans; that any side is,
# comes up to twice as often as that of a given one. The last scenario, an arm three times as noisy as the other and
# skewed, is where the t interval is known to fail, and it does.

# %%
simulated = simulation.simulated_errors(seeds=(3, 6, 12), repeats=20_000)
shares = [column for column in simulated if column not in ("scenario", "pairs")]
tables.show(simulated, "Shares of simulated experiments that the rule gets wrong", dict.fromkeys(shares, ".1%"))

# %% [markdown]
# ## What the number of seeds can show
#
# The smallest effect that this many pairs, with the spread they had, would find in four experiments out of five. An
# effect smaller than that may well be there when the verdict is *inconclusive*. The table has the conditions that
# decide.

# %%
show(*forest.power_curve("How large must an effect be to be found?"))

# %% [markdown]
# Try it: how large an effect, with how much noise, and how many pairs?
#
# <div class="dial">On the report's page, three sliders stand here.</div>

# %%
findable = board.detectable([row for row in tested if row.question.primary])
if len(findable):
    tables.show(findable, "Smallest detectable effects")
else:
    say("No condition that decides has its runs yet.")

# %% [markdown]
# ## Two kinds of noise
#
# The intervals above are over seeds: what other initial weights, orders and crops would change. The test set is a
# sample too. The second interval holds these very networks fixed and asks what another test set of this size would
# change (a paired test on the stored predictions; for a single pair it is McNemar's). An effect should survive both.

# %%
noises = image_noise.table(tested, runs, store)
caption = f"Difference in test error (percentage points), {rule.confidence:.0%} intervals"
tables.show(noises, caption, {"difference": ".2f"})

# %% [markdown]
# ## Many claims at once
#
# The more claims are tested, the more likely one of them looks true by chance. Over the conditions that decide, the
# correction of Benjamini and Hochberg is to keep the expected share of false labels to one in twenty at most, and gives
# each row the label of its interval at the level that takes. Bonferroni's is stricter: its intervals hold all at once,
# so that it keeps the chance of a single false label there.

# %%
deciding = [row for row in tested if row.question.primary and isinstance(row.effect, effects.Effect)]
names = ["claim", "verdict", "after Benjamini and Hochberg", "after Bonferroni"]
corrected = [
    {"claim": row.question.title, "verdict": row.verdict.label, names[2]: kept, names[3]: strict}
    for row, kept, strict in zip(deciding, *board.corrected(deciding), strict=True)
]
if corrected:
    tables.show(pd.DataFrame(corrected, columns=names), "Verdicts before and after two corrections")
else:
    display(Markdown("No condition that decides has its runs yet, so there is nothing to correct."))

# %% [markdown]
# The first is proven for tests that are independent or depend on each other positively. Many of our claims are
# compared with the same twelve runs of a baseline, so that their effects rise and fall together. Bonferroni's holds
# for any dependence. (Holm's, which asks less, is for one test a claim; a label rests on two, for a side and against
# an effect as large as the margin, and one found by the second would leave the count of the first.) So the code that
# judges the real ones judges simulated families of ten claims, each with six runs of its own and all with the same
# twelve of a baseline. Either none of the ten has an effect, or five have one of twice the margin. A label is false if
# it grants a side where there is no effect, or the other side, or less than the margin, where there is one.

# %%
families = simulation.simulated_families(repeats=5_000)
caption = "How often a family has a false label, and the mean share of false ones among labels that say something"
shares = [column for column in families if "false" in column]
tables.show(families, f"{caption} (margins in standard deviations of a run)", dict.fromkeys(shares, ".1%"))

# %% [markdown]
# ## Not tested yet, and why

# %%
waiting = [row for row in rows if row.verdict.label == "not tested" and row.question.primary]
tables.show(
    pd.DataFrame(
        [
            {
                "claim": row.question.title,
                "section": row.question.section,
                "paper": board.paper(row.question),
                "why": row.why,
            }
            for row in waiting
        ]
    ),
    "Claims without a verdict",
)

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Predict: twenty claims are tested, and none is true. How many would be called
# true, or its opposite, by tests at the usual level?</summary>
#
# About one, if the tests are independent and each errs in one case of twenty: as often on the claimed side as on the
# other. That is why the list has two corrections, and why a label that does not survive them says so in its row.
#
# </details>
#
# <details class="question"><summary>Why is a margin better than the question whether an effect is zero?</summary>
#
# With enough runs any difference becomes significant, however small. A claim is worth its words only if the effect is
# large enough to matter. The margin says how large that is, and it was written down before the runs that decide.
#
# </details>
#
# <details class="question"><summary>More runs were made, but only for the rows that were nearly significant. What is
# wrong with that?</summary>
#
# Each further look is a further chance to cross the line by luck, and it was given only to rows that were close to
# it. The share of false verdicts then grows well beyond what the level promises. Here all rows of a regime get the
# same number of runs, fixed beforehand.
#
# </details>

# %% [markdown]
# ## Published reimplementations
#
# Five public reimplementations whose figures this report sets out to reproduce; a page of their own tells how. What a
# figure was measured on is part of the figure.

# %%
tables.show(reimplementations.overview(reimplementations.results(PROFILE, store, SEEDS)), "Published, and ours")
