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
# records by a rule that was written down before the runs.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd
from IPython.display import Markdown, display

from alexnet import anatomy, board, effects, experiments, figures, paths, published_results, sampling, tables
from alexnet.claims import claims
from alexnet.figures_display import show
from alexnet.published_runs import published_runs
from alexnet.records import Store

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = experiments.records(PROFILE, store, SEEDS)
rows = board.rows(runs, anatomy.exact_counts())
tested = [row for row in rows if row.verdict.label != "not tested"]

# %% [markdown]
# ## The verdict board
#
# Where a claim was tested under more than one condition, each has its row. Intervals are t intervals over paired seeds;
# n is the number of seeds. A factor with a sign before it is a bound: some runs never arrived.

# %%
columns = ["claim", "condition", "section", "paper", "ours", "unit", "verdict"]
tables.show(board.verdict_board(tested)[columns], "Claims tested so far")

# %%
for row in tested:
    name = f"**{row.question.title}** ({row.question.condition_title})"
    display(Markdown(f"{name}: {row.verdict.label}. {row.verdict.reason}"))

# %% [markdown]
# ## All effects in one picture

# %%
show(*figures.forest_plot(tested))

# %% [markdown]
# ## The rule
#
# The rule looks at the interval alone: on which side of no effect it lies, and whether the paper's figure is inside it
# where both were measured on the same scale.

# %%
rule = claims().rule
labels = {label: getattr(rule, label.replace(" ", "_")) for label in effects.LABELS}
tables.show(pd.DataFrame({"verdict": labels.keys(), "given when": labels.values()}), "The verdicts")
display(Markdown(f"**Runs that don't arrive.** {rule.censoring}"))

# %% [markdown]
# ## How often the rule errs
#
# A rule that grants a claim too easily is worth nothing. So we let it judge simulated experiments in which the two arms
# do not differ at all, with noise of several shapes and with runs that miss their cap, and count how often it still
# finds the claimed side. One interval in forty may do so by chance.

# %%
simulated = effects.simulated_errors(seeds=(3, 5, 10), repeats=20_000)
shares = [column for column in simulated if column not in ("scenario", "seeds")]
tables.show(simulated, "Shares of simulated experiments without an effect", dict.fromkeys(shares, ".1%"))

# %% [markdown]
# ## What the number of seeds can show
#
# The smallest effect that this many seeds, with the spread they had, would find in four experiments out of five. An
# effect smaller than that may well be there when the verdict is *inconclusive*.

# %%
tables.show(board.detectable(tested), "Smallest detectable effects")

# %% [markdown]
# ## Two kinds of noise
#
# The intervals above are over seeds: what other initial weights, orders and crops would change. The test set is a
# sample too. The second interval holds these very networks fixed and asks what another test set of this size would
# change (a paired test on the stored predictions; for a single pair it is McNemar's). An effect should survive both.

# %%
noises = sampling.table(tested, runs, store)
caption = f"Difference in test error (percentage points), {rule.confidence:.0%} intervals"
tables.show(noises, caption, {"difference": ".2f"})

# %% [markdown]
# ## Many claims at once
#
# The more claims are tested, the more likely one of them looks true by chance. Holm's correction asks more of each
# test; these are the verdicts that would remain.

# %%
adjusted = board.adjusted_labels(rows)
kept = [
    {
        "claim": row.question.claim,
        "condition": row.question.condition_title,
        "verdict": row.verdict.label,
        "after Holm": label,
    }
    for row, label in zip(rows, adjusted, strict=True)
    if isinstance(row.effect, effects.Effect)
]
tables.show(pd.DataFrame(kept), "Verdicts before and after Holm's correction")

# %% [markdown]
# ## Not tested yet, and why

# %%
waiting = [row for row in rows if row.verdict.label == "not tested"]
tables.show(
    pd.DataFrame(
        [
            {
                "claim": row.question.title,
                "section": row.question.section,
                "paper": board.paper(row.question),
                "why": row.verdict.reason,
            }
            for row in waiting
        ]
    ),
    "Claims without a verdict",
)

# %% [markdown]
# ## Published reimplementations
#
# Five public reimplementations whose figures this report sets out to reproduce; a page of their own tells how. What a
# figure was measured on is part of the figure.

# %%
tables.show(
    published_results.overview(published_results.results(published_runs(PROFILE), store, SEEDS)), "Published, and ours"
)
