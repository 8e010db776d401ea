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
from torch import nn

from alexnet import paths
from alexnet.experiments import profiles
from alexnet.experiments.ablations import regime
from alexnet.figures import ablations, curves, forest, tables
from alexnet.figures.display import show_if_any
from alexnet.figures.tables import say
from alexnet.records.store import Store
from alexnet.runs import planning
from alexnet.statistics import board

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = profiles.records(PROFILE, store, SEEDS)
found = {claim: board.of_claim(claim, runs) for claim in ("dropout-overfit", "dropout-time")}
rows = [board.shown(of) for of in found.values()]  # of each claim the row that decides, if its runs are there
overfit, time = (row.question for row in rows)
baseline = regime(PROFILE, overfit.claim, overfit.condition)
for of in found.values():
    say(board.answer(of))
say(
    ablations.doubt({"dropout": overfit}, runs)
    or "**The doubt.** The network is narrower than the paper's, and its images are smaller: what dropout is worth "
    "there need not be what it was worth to the authors."
)
percent = "generalisation gap (percentage points)"
show_if_any(
    ablations.paired_dots, rows[:1], runs, percent, "How much larger is the test error than the training error?"
)
say(ablations.errors_of_arms(overfit, runs))

# %% [markdown]
# ## The idea
#
# In training, each time an image comes, every unit of the layer is silenced with probability one half. A unit cannot
# count on the company of particular others, so it has to learn something that is useful on its own. At test time all
# units speak; so that the next layer hears the same volume, either their outputs are halved then (as the paper does it)
# or those that survive in training are doubled (as everybody does it since). But for that factor, both are the same.

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
# AlexNet on CIFAR-10 with the paper's augmentation and weight decay at a scale that fits (inputs of unit variance, a
# modern start, two drops of the learning rate), with and without dropout. Runs are paired: those that share a seed
# share initial weights, the order of images and every crop. Where each arm has its own learning rate, both are in the
# table.

# %%
say(planning.describe(baseline))

# %%
say(ablations.one_line("dropout-overfit", runs))

# %% [markdown]
# ## Does it overfit without?
#
# Overfitting is measured as the gap between the error on test images and on training images, both with dropout off and
# without augmentation: the running training error of a net with dropout says little, since it is measured with half of
# the network missing.

# %%
arms = ablations.arms_of(overfit, runs)
table = [
    {
        "dropout": arm,
        "seed": record.spec.seed,
        "learning rate": record.spec.recipe.learning_rate,
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
# Convergence needs a definition that can be measured: the epochs until the loss on training images, dropout off, first
# falls to a level. In the paper's words a network "converges"; where its authors drew the line is not said, so the
# factor is shown for every level that the runs come to, and those that count were fixed before the runs.

# %%
arms = ablations.arms_of(time, runs)
show_if_any(
    curves.epoch_curves,
    arms,
    lambda epoch: epoch.clean_train_loss,
    "training loss, dropout off (nats)",
    "How long does each network take?",
    level=time.levels[-1],
    drops=baseline.recipe.drops,
)

# %%
caption = "How many times longer it takes with dropout, by level of the loss"
tables.show(ablations.factors(time, runs), caption, slide=True)

# %%
levels = ", ".join(f"{level:g}" for level in time.levels)
tables.show(ablations.pairs_table(time, runs), f"Epochs until the training loss is at {levels} nats (mean)")

# %% [markdown]
# ## Verdicts

# %%
show_if_any(forest.forest_plot, rows)

# %%
every = [row for of in found.values() for row in of]
tables.show(board.verdict_board(every)[["claim", "condition", "paper", "ours", "unit", "verdict"]], "Verdicts")

# %%
say(ablations.waiting([row for of in found.values() for row in of]))

# %% [markdown]
# ## Play with it
#
# Change the share of units that is dropped, and train both networks for a few epochs. It takes about a minute and
# writes no record. From a terminal, the same is:
#
#     python -m alexnet play net.dropout=0.8

# %% tags=["live"]
from alexnet import play

play("net.dropout=0.8")

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Predict: does dropout help a network whose error on the training images is still
# large?</summary>
#
# Not in the twelve-epoch runs here: both errors are higher with dropout. It makes it harder to learn training images
# by heart, and a network that has not learned them yet loses half of its units in each step all the same. Compare the
# baseline's training error with its test error before you read a gap.
#
# </details>
#
# <details class="question"><summary>Why is the training error measured again at the end, instead of taking the one
# that was printed during training?</summary>
#
# In training half of the units are silent and the images are cropped and recoloured, so the running error of a
# network with dropout is that of a handicapped network on harder images. Only with dropout off and plain images are
# the errors of two arms comparable.
#
# </details>
#
# <details class="question"><summary>The gap between training and test error shrinks. Is that good news?</summary>
#
# Only if the test error does not rise. A network that guesses has no gap at all. That is why the test errors of both
# arms stand beside every gap here.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - A network that does not come near to its training images has little to gain from dropout, and those of twelve epochs
#   do not. The runs that decide have fewer images and more epochs for that reason.
# - In the twelve-epoch runs both arms use the learning rate that was chosen for the network with dropout.
# - The time to converge depends on the level that stands for convergence; the table of factors shows how much.
