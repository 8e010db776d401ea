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
# # Overlapping pooling
#
# **Two claims** (section 3.4). Pooling over windows of three by three pixels at every second pixel, so that
# neighbouring windows overlap, gives a lower error than windows of two by two that do not. And networks with
# overlapping pooling are slightly harder to overfit.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd
import torch
from torch import nn

from alexnet import paths
from alexnet.experiments import profiles
from alexnet.experiments.ablations import regime
from alexnet.figures import ablations, curves, forest, tables
from alexnet.figures.display import show_if_any
from alexnet.figures.tables import say
from alexnet.networks import anatomy
from alexnet.paper.claims import logs
from alexnet.records.store import Store
from alexnet.runs import planning
from alexnet.statistics import board

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = profiles.records(PROFILE, store, SEEDS)
found = {claim: board.of_claim(claim, runs) for claim in ("overlap-pool", "overlap-overfit")}
rows = [board.shown(of) for of in found.values()]  # of each claim the row that decides, if its runs are there
questions = [row.question for row in rows]
baseline = regime(PROFILE, questions[0].claim, questions[0].condition)
for of in found.values():
    say(board.answer(of))
say(
    ablations.doubt({"overlap": questions[1]}, runs)
    or "**The doubt.** The network is narrower than the paper's, and so are its maps: an effect as small as the "
    "paper's may be another there."
)
show_if_any(ablations.paired_dots, rows[:1], runs, "test error (%)", "Which pooling errs less on test images?")
say(ablations.errors_of_arms(questions[0], runs))

# %% [markdown]
# ## The idea
#
# Pooling makes a map smaller: of each window only the largest response is kept. With windows as wide as the step, each
# response has one chance to be kept. With wider windows it has several, and the outcome depends less on where exactly
# the window lies. Seven responses in a row, one of them strong:

# %%
responses = torch.tensor([[1.0, 2.0, 9.0, 1.0, 3.0, 1.0, 1.0]])
kinds = {"plain (2, step 2)": nn.MaxPool1d(2, 2), "overlapping (3, step 2)": nn.MaxPool1d(3, 2)}
kept = [(name, " ".join(f"{value:g}" for value in pool(responses)[0].tolist())) for name, pool in kinds.items()]
given = " ".join(f"{value:g}" for value in responses[0].tolist())
tables.show(pd.DataFrame([("responses", given), *kept], columns=["window", "values"]), "What pooling keeps")

# %% [markdown]
# ## What we run
#
# A fair comparison needs maps of the same size after both kinds of pooling, or the layers behind them would differ too.
# The paper has that, and so do our networks:

# %%
sizes = []
for pooling in ("overlapping", "plain"):
    net = baseline.net.model_copy(update={"pooling": pooling})
    layers = anatomy.layers(net, baseline.images.side(32)).set_index("layer")
    sizes.append(
        {
            "pooling": pooling,
            **{name: " x ".join(map(str, layers.loc[name, "output"])) for name in ("pool1", "pool2", "pool5")},
            "parameters": int(layers["parameters"].sum()),
        }
    )
tables.show(pd.DataFrame(sizes), "Maps after pooling (channels x height x width)", {"parameters": ",d"})

# %%
say(planning.describe(baseline))

# %%
say(ablations.one_line("overlap-pool", runs))

# %% [markdown]
# ## Which errs less, and which overfits less?

# %%
show_if_any(
    ablations.paired_dots,
    rows[1:],
    runs,
    "generalisation gap (percentage points)",
    "Which pooling overfits less?",
)

# %%
for question in questions:
    tables.show(ablations.pairs_table(question, runs), f"{question.title}: pairs of runs ({question.unit})")

# %%
arms = ablations.arms_of(questions[0], runs)
show_if_any(
    curves.epoch_curves,
    arms,
    lambda epoch: 100 * epoch.valid_error,
    "validation error (%)",
    "Do the two kinds of pooling part along the way?",
    drops=baseline.recipe.drops,
)

# %% [markdown]
# ## Verdicts

# %%
show_if_any(forest.forest_plot, rows)

# %%
every = [row for of in found.values() for row in of]
tables.show(board.verdict_board(every)[["claim", "condition", "paper", "ours", "unit", "verdict"]], "Verdicts")

# %%
say(ablations.waiting(every))
say(f"**The original code's own logs.** {' '.join(logs().sentences('overlap-pool'))}")

# %% [markdown]
# ## Play with it
#
# Train the network with plain pooling beside the one whose windows overlap. It takes about a minute and writes no
# record. From a terminal, the same is:
#
#     python -m alexnet play net.pooling=plain

# %% tags=["live"]
from alexnet import play

play("net.pooling=plain")

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Predict: which layer's weights change in number when pooling windows
# overlap?</summary>
#
# None. Pooling has no weights, and the windows are chosen so that the maps keep their sizes. That is what makes the
# comparison fair: the two networks have the same layers behind the same sizes.
#
# </details>
#
# <details class="question"><summary>The paper's effect is less than half a point. How many pairs of runs would you
# need to see it?</summary>
#
# It depends on how much two runs differ that differ by their seed alone. If the differences of pairs spread by half a
# point, about fifteen pairs find an effect as large as the paper's in four tries of five, and some fifty one of half
# that size. The results page has a curve of that, and a dial to try it.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - The paper's effect is a fraction of a point on a test set of many thousand images. Few seeds cannot resolve so small
#   an effect, as the results page shows for each claim; "inconclusive" here does not mean "no effect".
# - In small maps a window that reaches over the border is cut off there. At 227 pixels that never happens.
