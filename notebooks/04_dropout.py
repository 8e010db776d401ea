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
# # Dropout
#
# **Two claims** (section 4.2). Without dropout in the first two fully connected layers the network overfits
# substantially. And dropout has a price: it roughly doubles the number of iterations until the network converges.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd
import torch
from IPython.display import Markdown, display
from torch import nn

from alexnet import board, claims, experiments, figures, figures_ablations, learner, paths, planning, tables
from alexnet.ablations import ABLATIONS
from alexnet.figures_display import show_if_any
from alexnet.records import Store

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = experiments.records(PROFILE, store, SEEDS)
overfit, time = (claims.claims().question(claim) for claim in ("dropout-overfit", "dropout-time"))
rows = [board.row(question, runs) for question in (overfit, time)]
baseline = ABLATIONS[PROFILE][0].baseline

# %% [markdown]
# ## The idea
#
# In training, each time an image comes, every unit of the layer is silenced with probability one half. A unit cannot
# count on the company of particular others, so it has to learn something that is useful on its own. At test time all
# units speak; so that the next layer hears the same volume, either their outputs are halved then (as the paper does it)
# or those that survive in training are doubled (as everybody does it since). Both are the same network.

# %%
generator = torch.Generator().manual_seed(4)
responses = torch.rand(8, generator=generator)
torch.manual_seed(2)
silenced = nn.Dropout(0.5)(responses)
tables.show(
    pd.DataFrame(
        {
            "unit": range(1, 9),
            "response": responses.numpy(),
            "in training": silenced.numpy(),
            "in a test": responses.numpy(),
        }
    ),
    "Eight units of a layer with dropout, once",
    {"response": ".2f", "in training": ".2f", "in a test": ".2f"},
)

# %% [markdown]
# ## What we run
#
# AlexNet on CIFAR-10 with the paper's recipe (crops, reflections, colour noise, weight decay, two learning-rate drops),
# with and without dropout; nothing else differs. Runs are paired: those that share a seed share initial weights, the
# order of images and every crop.

# %%
display(Markdown(planning.describe(baseline)))

# %% [markdown]
# ## Does it overfit without?
#
# Overfitting is measured as the gap between the error on test images and on training images, both with dropout off and
# without augmentation: the running training error of a net with dropout says little, since it is measured with half of
# the network missing.

# %%
percent = "generalisation gap (percentage points)"
show_if_any(
    figures_ablations.paired_dots, rows[:1], runs, percent, "How much larger is the test error than the training error?"
)

# %%
arms = figures_ablations.arms_of(overfit, runs)
table = [
    {
        "dropout": arm,
        "seed": record.spec.seed,
        "training error": record.final.clean_train_error,
        "test error": record.final.test_error,
        "gap": 100 * (record.final.test_error - record.final.clean_train_error),
    }
    for arm, records in arms.items()
    for record in records
]
formats = {"training error": ".1%", "test error": ".1%", "gap": ".1f"}
tables.show(pd.DataFrame(table), "Errors with dropout off, no augmentation; the gap in points", formats)

# %% [markdown]
# ## Does it take twice as long?
#
# Convergence needs a definition that can be measured. Ours was fixed before the runs: the epochs until the loss on
# training images, dropout off, first falls to the level of the line. In the paper's words a network "converges"; where
# its authors drew the line is not said.

# %%
curves = figures_ablations.arms_of(time, runs)
show_if_any(
    figures_ablations.epoch_curves,
    curves,
    lambda epoch: epoch.clean_train_loss,
    "training loss, dropout off (nats)",
    "How long does each network take?",
    level=time.level,
    drops=baseline.recipe.drops,
)

# %%
tables.show(figures_ablations.pairs_table(time, runs), f"Epochs until the training loss is at {time.level:g} nats")

# %% [markdown]
# ## Verdicts

# %%
show_if_any(figures.forest_plot, rows)

# %%
tables.show(board.verdict_board(rows)[["claim", "paper", "ours", "unit", "verdict", "why"]], "Verdicts")

# %%
print(figures_ablations.waiting(rows) or "No run is missing.")

# %% [markdown]
# ## Play with it
#
# Train a small live run: change the share of units that is dropped and run the cell again. It writes no record.

# %%
LIVE = False  # set True to train here
live = ABLATIONS["smoke"][0].baseline.with_(net={"dropout": 0.8})
print(f"{live.images.train_size:,} images, {live.recipe.epochs} epochs: about half a minute on two cores.")
if LIVE:
    learn = learner(live)
    learn.fit()

# %% [markdown]
# ## Threats to validity
#
# - The paper's network has sixty million parameters for 1.2 million images; ours at this scale is much smaller, and
#   sees each image only a few times. A network that cannot memorise its training images has little to gain from
#   dropout; a larger one, or longer training, could show more of it.
# - Both arms use the learning rate that was chosen for the network with dropout, as the paper compares them.
# - The time to converge depends on the level that stands for convergence; the curves show how much.
