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
# **Two claims** (section 5). The weights of every layer are drawn from a normal distribution of standard deviation
# 0.01. And the biases of some layers start at one, which speeds up the early stages of learning. Several people who
# rebuilt the network report that it does not train from there; the code the authors released draws some layers three
# times as large. Nobody seems to have taken the start apart: weights, biases, pixels, outputs, rate.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
from alexnet import paths
from alexnet.experiments import profiles
from alexnet.experiments import starts as starting
from alexnet.figures import ablations, curves, learned, steps, tables
from alexnet.figures.display import show_if_any
from alexnet.figures.tables import say
from alexnet.paper import claims
from alexnet.records.store import Store
from alexnet.runs import planning
from alexnet.statistics import board

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = profiles.records(PROFILE, store, SEEDS)
specs = starting.specs(runs)
found = {claim: board.of_claim(claim, runs) for claim in (starting.CLAIM, "bias-ones")}
question = claims.claims().question(starting.CLAIM)
outcomes = starting.outcomes(runs, question)
by_start = {}
for p, record in runs:
    if record is not None and p.stage == "seeds" and p.claim in found:
        by_start.setdefault(p.spec.net.form, {}).setdefault(starting.title(record.spec), {})[record.hash] = record

for of in found.values():
    say(board.answer(of))
say(
    "**The doubt.** A network counts as trained or not within a budget of a few hundred steps. One that stands still "
    "for as long may still start later: the authors trained for days, on a thousand classes."
)

# %%
for form, starts in by_start.items():
    if form == "227" or len(by_start) == 1:
        losses = {name: list(records.values()) for name, records in starts.items()}
        show_if_any(
            curves.epoch_curves, losses, lambda epoch: epoch.train_loss, "training loss (nats)",
            f"How soon does {starting.NETWORKS[form]} start to learn?",
        )  # fmt: skip

# %%
say(starting.advice(outcomes))

# %% [markdown]
# ## What we run
#
# From the start as written one factor is changed at a time: the weights of layers 3 to 5 as the released code draws
# them, the biases, the scale of the pixels, the number of outputs. The faithful network sees 227 pixels, so its runs
# are short; the narrow one for 32 pixels has time for more steps. Where each start has a learning rate of its own, it
# is the first of a descending row, from the paper's 0.01 down, at which a seed that does not count trains.

# %%
one_each = {spec.net.form: spec for spec in specs.values()}
for form, spec in one_each.items():
    say(f"**{starting.NETWORKS[form].capitalize()}.** {planning.describe(spec)}")

# %%
say(ablations.one_line("bias-ones", runs))

# %% [markdown]
# ## What the first step does
#
# A layer of fresh weights multiplies the size of its input by a gain that follows from the standard deviation of the
# weights and the number of inputs of a neuron; the faithful network's page derives it. The product of all gains, times
# the size of the pixels, predicts how far the scores of two images differ before training. Biases are not in it.

# %%
predicted = starting.predicted({name: spec for name, spec in specs.items() if spec.net.bias_ones})
tables.show(
    predicted.rename(columns={"size": "size of the pixels", "predicted": "size of the scores"}),
    "Product of the gains of all layers, and what it leaves of the pixels",
    {"size of the pixels": ".1f", "gain": ".1e", "size of the scores": ".1e"},
)

# %% [markdown]
# A start can fail in two ways. Hardly anything that differs between images arrives, and hardly any gradient comes back:
# the loss stands still. Or the first steps go too far. Biases of one give thousands of hidden units a response that all
# images share. The last layer sees them all, so a step that is small for each weight moves the scores of every image
# far, and always the same way; if it moves them more than 2(1 + 0.9) = 3.8 times as far as the loss's minimum lies in
# that direction, the next step starts from further away, and steps grow. How far the minimum is depends on the number
# of classes: with a thousand of them that are about equally probable, the loss is a hundred times less curved than with
# ten.

# %%
drawn = starting.one_at_a_time(specs)
rates = starting.rates(outcomes, drawn)
before = starting.before_training(specs, rates)
table = before.reach.assign(step=before.reach["step"].map(lambda value: float(f"{value:.0e}")))
tables.show(
    table.rename(columns={"rate": "steps grow from a rate of"}),
    "The first step at a rate of 0.01, relative to the step that settles at once; above 2(1 + momentum), the limit, "
    "steps grow",
    {"step": ".0e", "limit": ".2g", "steps grow from a rate of": ".1g"},
)

# %% [markdown]
# The same measured, one factor at a time: some images go through each fresh network, and the loss's gradient comes
# back. Of the images only what differs between them counts, the standard deviation over them.

# %%
panels = [
    steps.Panel("differences between images (standard deviation)", before.differences),
    steps.Panel("gradient of the loss at the output (standard deviation)", before.gradients),
]
show_if_any(steps.by_layer, panels, "How much passes through a fresh network, and how much comes back?")

# %% [markdown]
# Then each takes its step, SGD's on these images at the rate of its runs. The gradient of a layer's weights is the
# product of what the layer is given and of what comes back to it. Biases of one make the first large for the last
# layers, so these move far. Weights of 0.01 in layers 3 to 5 make the second small for the two layers below, which move
# less than under weights of 0.03. A ReLU counts as silent if it is at zero for every image; faint lines are before the
# step.

# %%
trained = starting.deciding(outcomes).groupby("start")["trained"].agg(["sum", "size"])
notes = {
    name: f"rate {rates[name]:g}, loss {loss.before:.3g} to {loss.after:.3g}; "
    + ("{} of {} runs train".format(*trained.loc[name]) if name in trained.index else "no run")
    for name, loss in before.loss.iterrows()
}
panels = [
    steps.Panel("change of the weights, relative to their size", before.change),
    steps.Panel("silent ReLUs after the step", before.silent_after, before.silent, share=True),
]
show_if_any(steps.by_layer, panels, "What does the first step do to each layer?", notes)
say(starting.told_apart(before, outcomes))

# %% [markdown]
# ## What trains
#
# The last column counts runs, trained or not, that end with a layer whose outputs are zero almost everywhere on a
# batch.

# %%
caption = f"Runs that came to {question.margin:g} points below guessing, and how soon"
tables.show(starting.summary(outcomes), caption, {"learning rate": "g"})

# %%
known = outcomes.merge(starting.predicted(specs)[["start", "predicted"]], on="start")
show_if_any(
    learned.starts, known, 90.0 - question.margin,
    "Does the predicted size of the scores tell which networks train?",
)  # fmt: skip

# %% [markdown]
# Starts of the same weights and pixels stand above each other here, since the gains leave out the biases. Where one of
# them trains and the other does not, the product of gains cannot be why.
#
# What training left silent, on one batch: a ReLU that is at zero for every image passes no gradient back. A last hidden
# layer that is at zero almost everywhere is no proof of failure, though; compare the starts that train.

# %%
for form, starts in by_start.items():
    table = starting.silent({name: list(records.values()) for name, records in starts.items()}).T
    if len(table):
        caption = f"Share of each nonlinearity's outputs that are zero after training: {starting.NETWORKS[form]}"
        tables.show(table.rename_axis("start"), caption, dict.fromkeys(table, ".0%"))

# %%
columns = ["condition", "ours", "unit", "verdict"]
for claim, of in found.items():
    tables.show(board.verdict_board(of)[columns], claims.claims()[claim].title)
say(ablations.waiting([row for of in found.values() for row in of]))

# %% [markdown]
# ## Biases of one
#
# A ReLU whose input is negative passes nothing back. A bias of one makes most inputs positive, so that every unit
# learns from every image: that is the paper's reason. It also makes the units alike for all images, and linear.

# %%
drawn = [row for row in found["bias-ones"] if row.told is not None and row.question.unit == "times"]
show_if_any(
    ablations.paired_dots, drawn or [row for row in found["bias-ones"] if row.told is not None], runs,
    "epochs until trained" if drawn else "training loss over the first epochs (nats)",
    "Do biases of one speed up the start?",
)  # fmt: skip

# %% [markdown]
# ## Play with it
#
# Draw the weights otherwise (`net.init=as-run`), scale the pixels (`images.scaling=mean-image-unit`) or set the
# biases to zero, and see whether the loss moves. It takes about a minute and writes no record. From a terminal, the
# same is:
#
#     python -m alexnet play net.bias_ones=false --network start

# %% tags=["live"]
from alexnet import play

play("net.bias_ones=false", network="start")

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Predict: which is worse for the start, weights that are too small or biases that
# are all the same?</summary>
#
# With weights that are too small, what differs between images fades from layer to layer, and so does the gradient.
# Biases that are all alike do something else: they give every image the same large response, so the first steps push
# all scores the same way. The figure of what passes through shows the first. The second is a bound on the last layer
# alone, which does not tell who trains: compare the starts above it and below it with the table of what trains.
#
# </details>
#
# <details class="question"><summary>Why should the number of classes matter to the first layers?</summary>
#
# It does not matter to what goes forward through them. It matters to the step that comes back. With a thousand
# equally probable classes the loss changes far more gently with what all images have in common than with ten, so a
# rate that oscillates for ten classes may be safe for a thousand.
#
# </details>
#
# <details class="question"><summary>A network stands at guessing for 300 steps. Has the start failed?</summary>
#
# Not for certain. It has not started within 300 steps. A plateau can end, and the authors trained for days. That is
# why the budget stands beside every such row, and why a run that is given up by a written rule is counted as what it
# is.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - The gains leave out biases, normalisation and pooling, and hold for the first step only.
# - The step that is measured has a few images and no dropout; a run's first has a whole batch, and dropout.
# - The bound on the first steps looks at the last layer alone, with dropout off. Above it a network may still train,
#   and below it one can fall silent: each batch has other shares of the classes, and what all images share is pushed to
#   and fro by that.
# - Ten classes are not a thousand. The network with a thousand outputs has images of ten of them only, so it is like
#   the paper's in its first steps and turns into the other as it learns which ten there are.
# - The narrow network of the 32-pixel form has smaller gains than the faithful one, since a neuron adds up fewer
#   inputs: it is the harder test.
