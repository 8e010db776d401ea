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
# # Fourteen years later
#
# What would the authors change today? The same small network on the same images for the same number of epochs, from
# the paper's recipe to one of today, an ingredient at a time.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
from alexnet import paths
from alexnet.experiments import profiles, since_2012
from alexnet.figures import curves, steps, tables
from alexnet.figures.display import show
from alexnet.figures.tables import say
from alexnet.records.store import Store
from alexnet.runs import planning

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = profiles.records(PROFILE, store, SEEDS)
found = since_2012.bought(runs)
say(since_2012.answer(found))
recorded = [one for one in found if one.records]
if recorded:
    say(
        "**The doubt.** One order of the ingredients was run, for few epochs, with three seeds each: in another order, "
        "or with more training, each would be worth something else."
    )
    show(*steps.climb(recorded, "How far does each ingredient lead?"))

# %% [markdown]
# ## The idea
#
# A paper reports one recipe. Each of its parts was found by trial, and most have been replaced since by something that
# needs less trial: initial weights that fit the width of a layer, a normalisation that makes the start matter less, a
# learning rate that rises and falls by itself. Papers show what such a part buys in the network of their year. Here
# all of them are put on top of one another in AlexNet, in the order below, which was fixed before any of them was run.
# A step stays whatever it brings, so the last row is today's habit and not the best that was found.

# %% [markdown]
# ## What we run

# %%
first, *rest = since_2012.specs()
say(planning.describe(first))

# %%
lines = [
    f"1. {step.name} ({step.source}): `{planning.as_code(spec, before)}`"
    for step, before, spec in zip(since_2012.STEPS[1:], [first, *rest], rest, strict=False)
]
say("What each step changes of the one before it, as a line of code:\n\n" + "\n".join(lines))

# %% [markdown]
# The learning rate is chosen for each step anew, by runs of half the length that never see the test set, and grows or
# shrinks by factors of two until the best rate lies between two others. Of rates that do equally well the smallest is
# taken.

# %%
if none := since_2012.untrained(runs):
    say(f"Where no rate trains, none is best: {none}.")

# %% [markdown]
# ## What each step buys
#
# A gain is the test accuracy after a step less that before it, over runs that share a seed; beside it stands how large
# it had to be, with the spread it has, to be found by as many seeds in four tries of five. Seconds are of one thread
# and as they came, beside other work at times.

# %%
tables.show(
    since_2012.table(found), "Each step on top of those before it", {"parameters": ",d", "seconds an epoch": ".0f"}
)

# %%
if recorded:
    arms = {one.step.name: list(one.records) for one in recorded}
    question = "Which steps make training faster, and which make it end lower?"
    show(*curves.epoch_curves(arms, lambda epoch: 100 * epoch.valid_error, "validation error (%)", question))

# %% [markdown]
# ## Play with it
#
# Take a step of today on its own: batch normalisation in place of response normalisation, or smoothed labels
# (`recipe.label_smoothing=0.1`), in four epochs. It takes about a minute and writes no record. From a terminal, the
# same is:
#
#     python -m alexnet play net.norm=batch

# %% tags=["live"]
from alexnet import play

play("net.norm=batch")

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Predict: which of the steps matters most when training is this short?</summary>
#
# Look at the validation error after the first epochs, before you look at the end. What lets the signal and the
# gradient through all layers from the first step on saves epochs, and twelve epochs are few. What keeps a network
# from learning its images by heart can only pay once it could learn them by heart.
#
# </details>
#
# <details class="question"><summary>A step brings nothing here. Is the ingredient useless?</summary>
#
# No. It comes on top of others that may do the same work already, and in a network and a budget of this size. Smoothed
# labels and holes in images were published for networks that are trained for far longer.
#
# </details>
#
# <details class="question"><summary>Why does the order matter?</summary>
#
# Two ingredients that mend the same fault share their gain, and the one that comes first gets all of it. Batch
# normalisation after a start by He has less to mend than it would have after the paper's.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - The paper's weights are drawn for layers four times as wide. In this narrow network they pass on less than they did
#   there, so what scaled weights add is more than they would add to the network of 2012. Runs that were known when the
#   steps were planned (page on initial weights) ended at guessing from this start. Where the paper's recipe ends there
#   at every rate, the first step that trains gets all that training brings, and its gain says nothing of its own worth.
# - Strengths are those of the papers or of common use (smoothing 0.1, weight decay 0.05, a square of half the side)
#   and are not tuned; only the learning rate is.
# - Twelve epochs of a quarter of the width are short: ingredients against overfitting have little to do.
# - Seven gains stand side by side, uncorrected for their number: one whose interval ends close to zero may be chance.
