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
# # Does the paper's initialisation train?
#
# **The claim** (section 5). The weights of every layer are drawn from a normal distribution of standard deviation
# 0.01, and the biases of some layers start at one, which speeds up the early stages of learning. Several people who
# rebuilt the network report that it does not train from there; the code the authors released draws some layers three
# times as large. Nobody seems to have tried the four combinations: as written or as run, pixels on their own scale
# or on unit variance.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd

from alexnet import board, claims, experiments, figures_ablations, figures_learned, learner, paths, planning, tables
from alexnet import starts as starting
from alexnet.ablations import ABLATIONS
from alexnet.figures_display import show_if_any
from alexnet.records import Store
from alexnet.tables import say

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = experiments.records(PROFILE, store, SEEDS)
specs = starting.specs(runs)
planned = {(p.claim, p.condition) for p, _ in runs if p.stage == "seeds"}
questions = [q for q in claims.claims().questions() if (q.claim, q.condition) in planned]
rows = [board.row(question, runs) for question in questions if question.claim == starting.CLAIM]
question = claims.claims().question(starting.CLAIM)


def one_digit(table):
    """The digit that is the same on every machine."""
    return table.map(lambda value: float(f"{value:.0e}"))


def show_reach(measured):
    """How far first steps go."""
    caption = "The first step, relative to the step that settles at once, and from where on steps grow"
    tables.show(measured.reach, caption, {"step": ".0e", "limit": ".2g"})


def show_silent(groups):
    """What training has left silent, in groups of runs."""
    table = starting.silent(groups)
    if len(table):
        caption = "Share of each nonlinearity's outputs that are zero after training, on one batch"
        tables.show(table, caption, dict.fromkeys(table, ".0%"))


# %% [markdown]
# ## What we run
#
# The faithful network sees 227 pixels, so its runs are short; the narrow one for 32 pixels has time for more steps.
# Within a network only the weights and the scale of the pixels differ; this is one of its four combinations. Those that
# this profile does not train are measured before training all the same.

# %%
one_each = {spec.net.form: spec for spec in specs.values()}
for form, spec in one_each.items():
    say(f"**{starting.NETWORKS[form].capitalize()}.** {planning.describe(spec)}")

# %% [markdown]
# ## What the arithmetic predicts
#
# A layer of fresh weights multiplies the size of its input by a gain that follows from the standard deviation of the
# weights and the number of inputs of a neuron; the faithful network's page derives it. The product of all gains, times
# the size of the pixels, predicts how large the scores are before training. If it is tiny, all classes get the same
# score whatever the image, and the gradients that come back are as small.

# %%
predicted = starting.predicted(specs)
tables.show(
    predicted.rename(columns={"size": "size of the pixels", "predicted": "size of the scores"}),
    "Product of the gains of all layers, and what it leaves of the pixels",
    {"size of the pixels": ".1f", "gain": ".1e", "size of the scores": ".1e"},
)

# %% [markdown]
# ## What is measured before training
#
# The same, measured: some images go through each fresh network, and the loss's gradient comes back. The biases of one
# keep the units awake, but they shift all images alike; so the first table has only what differs between images, the
# standard deviation over them. Norms and biases, which the arithmetic leaves out, are in it.

# %%
before = starting.before_training(specs)
table = one_digit(before.differences)
tables.show(table, "What is left of the differences between images after each layer, before training",
            dict.fromkeys(table, ".0e"))  # fmt: skip
table = one_digit(before.gradients)
tables.show(table, "Gradient of the loss at each nonlinearity, standard deviation, before training",
            dict.fromkeys(table, ".0e"))  # fmt: skip

# %% [markdown]
# A step moves a weight by the learning rate times its gradient. Where the gradient is a millionth, the first steps move
# nothing but the last layer's biases: the loss stands still at that of guessing, until the differences have grown.
#
# There is a second way to fail. Biases of one give thousands of hidden units a response that all images share. The last
# layer sees them all, so a step that is small for each weight moves the scores of every image far, and always the same
# way. If it moves them further than the loss's minimum in that direction, the next step comes back from further away.

# %%
show_reach(before)

# %% [markdown]
# ## What trains

# %%
found = starting.outcomes(runs, question)
trained_from = 90.0 - question.margin
show_if_any(
    figures_learned.starts, found.join(predicted.set_index("condition")["predicted"], on="condition"), trained_from,
    "Does the predicted size of the scores tell which networks train?",
)  # fmt: skip

# %%
if len(found):
    caption = f"Runs that trained, {question.margin:g} points better than guessing, and how soon"
    tables.show(starting.summary(found), caption)
for paragraph in starting.answers(runs, question):
    say(paragraph)

# %% [markdown]
# A start can fail in two ways. The loss may stand still because hardly anything arrives and hardly any gradient comes
# back. Or the first steps overshoot, until units end below zero for every image, where a ReLU passes nothing on.

# %%
by_condition = {}
for p, record in figures_ablations.selected(runs, starting.CLAIM):
    if record is not None:
        by_condition.setdefault(p.condition, []).append(record)
show_silent(by_condition)

# %%
tables.show(board.verdict_board(rows)[["condition", "ours", "unit", "verdict", "why"]], "Does it train?")

# %%
for form, network in starting.NETWORKS.items():
    losses = {
        condition.removeprefix("small-"): records
        for condition, records in by_condition.items() if records[0].spec.net.form == form
    }  # fmt: skip
    if losses:
        show_if_any(
            figures_ablations.epoch_curves, losses, lambda epoch: epoch.train_loss, "training loss (nats)",
            f"How soon does {network} start to learn?",
        )  # fmt: skip

# %%
print(figures_ablations.waiting(rows) or "No run is missing.")

# %% [markdown]
# ## Biases of one
#
# A ReLU whose input is negative passes nothing back. A bias of one makes most inputs positive, so that every unit
# learns from every image: that is the paper's reason. It also makes the units alike for all images, and linear. Below,
# both starts as they are before training, and what came out.

# %%
starts_of_biases = {f"biases of {p.arm}": p.spec for p, _ in runs if p.claim == "bias-ones" and p.seed == 0
                    and p.spec.net.init == "as-run"}  # fmt: skip
before = starting.before_training(starts_of_biases)
both = {"differences between images, after": before.differences, "gradient, at": before.gradients}
table = one_digit(pd.concat(both, names=["what", "layer"]))
tables.show(table, "With biases of zeros and of ones, before training", dict.fromkeys(table, ".0e"))

# %%
show_reach(before)

# %%
by_arm = {
    f"{arm}, {question.condition}": records
    for question in questions if question.claim == "bias-ones"
    for arm, records in figures_ablations.arms_of(question, runs).items() if records
}  # fmt: skip
show_silent(by_arm)

# %%
biases = [board.row(question, runs) for question in questions if question.claim == "bias-ones"]
show_if_any(
    figures_ablations.paired_dots, [row for row in biases if row.effect is not None], runs,
    "training loss over the first epochs (nats)", "Do biases of one speed up the start?",
)  # fmt: skip
tables.show(board.verdict_board(biases)[["claim", "condition", "ours", "unit", "verdict", "why"]], "Verdicts")
print(figures_ablations.waiting(biases) or "No run is missing.")

# %% [markdown]
# ## Play with it
#
# Draw the weights otherwise, or scale the pixels, and see whether the loss moves. It writes no record.

# %%
LIVE = False  # set True to train here
live = next(one.baseline for one in ABLATIONS["smoke"] if one.name == "start-32").with_(
    net={"init": "as-run"}, images={"scaling": "mean-image"}
)
print(f"{live.images.train_size:,} images, {live.recipe.epochs} epoch: some seconds on two cores.")
if LIVE:
    learn = learner(live)
    learn.fit()

# %% [markdown]
# ## Threats to validity
#
# - A network counts as trained or not within a budget. One that stands still for as long may still start later: the
#   authors trained for days.
# - The gains leave out biases, normalisation and pooling, and hold for the first step only.
# - The bound on the first steps looks at the last layer alone, with dropout off. Below it a network can fall silent
#   too: each batch has other shares of the classes, and what all images share is pushed to and fro by that.
# - Ten classes and some hundred steps are not ImageNet: a thousand classes change the bound, and how soon it counts.
# - The narrow network of the 32-pixel form has smaller gains than the faithful one, since a neuron adds up fewer
#   inputs: it is the harder test.
