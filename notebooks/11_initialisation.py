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

from alexnet import anatomy, batches, board, claims, experiments, figures_ablations, figures_learned, paths, tables
from alexnet import signals as at_work
from alexnet.figures_display import show_if_any
from alexnet.records import Store

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = experiments.records(PROFILE, store, SEEDS)
starts = figures_ablations.selected(runs, "init-as-written")
planned = {(p.claim, p.condition) for p, _ in runs if p.stage == "seeds"}
questions = [q for q in claims.claims().questions() if (q.claim, q.condition) in planned]
rows = [board.row(question, runs) for question in questions if question.claim == "init-as-written"]
first = {p.condition: p.spec for p, _ in reversed(starts)}

# %% [markdown]
# ## What the arithmetic predicts
#
# A layer of fresh weights multiplies the size of its input by a gain that follows from the standard deviation of the
# weights and the number of inputs of a neuron; the faithful network's page derives it. The product of all gains, times
# the size of the pixels, predicts how large the scores are before training. If it is tiny, all classes get the same
# score whatever the image, and the gradients that come back are as small.

# %%
spread = batches.statistics("cifar10").spread
predictions = []
for condition, spec in first.items():
    side = spec.images.side(batches.PIXELS[spec.dataset])
    scale = spread if spec.images.scaling == "mean-image" else 1.0
    gain = anatomy.total_gain(spec.net, side)
    predictions.append({"condition": condition, "pixels": scale, "gain": gain, "predicted": gain * scale})
predicted = pd.DataFrame(predictions, columns=["condition", "pixels", "gain", "predicted"])
tables.show(
    predicted.rename(columns={"pixels": "size of the pixels", "predicted": "size of the scores"}),
    "Product of the gains of all layers, and what it leaves of the pixels",
    {"size of the pixels": ".1f", "gain": ".1e", "size of the scores": ".1e"},
)

# %% [markdown]
# ## What is measured before training
#
# One batch through each fresh network, and the loss's gradient back: standard deviation of the input of each
# nonlinearity, and of the gradient there.

# %%
small = {name: spec for name, spec in first.items() if spec.net.form == "32"}
layers = {name: {signal.layer: signal for signal in at_work.at_initialisation(spec)} for name, spec in small.items()}
for quantity, caption in (("input", "Input of each nonlinearity"), ("gradient", "Gradient at each nonlinearity")):
    table = pd.DataFrame({name: {k: getattr(s, quantity) for k, s in found.items()} for name, found in layers.items()})
    table = table.map(lambda value: float(f"{value:.0e}"))  # a digit that is the same on every machine
    table.index.name = "layer"
    tables.show(table, f"{caption}, standard deviation, before training", dict.fromkeys(table, ".0e"))

# %% [markdown]
# The biases of one keep the units awake, and with them the inputs of the later layers have a size that does not come
# from the image at all. What matters for learning is the part that differs between images, and the gradient.
#
# ## What trains

# %%
found = [
    {
        "condition": p.condition,
        "predicted": predicted.set_index("condition").loc[p.condition, "predicted"],
        "error": 100 * record.final.train_error,
    }
    for p, record in starts
    if record is not None
]
table = pd.DataFrame(found, columns=["condition", "predicted", "error"])
limit = next((q for q in questions if q.claim == "init-as-written"), None)
trained_from = 90.0 - (limit.null if limit else 0.0)
show_if_any(
    figures_learned.starts, table, trained_from, "Does the predicted size of the scores tell which networks train?"
)

# %%
tables.show(board.verdict_board(rows)[["condition", "ours", "unit", "verdict", "why"]], "Does it train?")

# %%
losses = {}
for p, record in starts:
    if record is not None and record.spec.net.form == "32":
        losses.setdefault(p.condition.removeprefix("small-"), []).append(record)
show_if_any(
    figures_ablations.epoch_curves, losses, lambda epoch: epoch.train_loss, "training loss (nats)",
    "How soon does each start to learn?",
)  # fmt: skip

# %%
print(figures_ablations.waiting(rows) or "No run is missing.")

# %% [markdown]
# ## Biases of one

# %%
biases = [board.row(question, runs) for question in questions if question.claim == "bias-ones"]
show_if_any(
    figures_ablations.paired_dots, [row for row in biases if row.effect is not None], runs,
    "training loss over the first epochs (nats)", "Do biases of one speed up the start?",
)  # fmt: skip
tables.show(board.verdict_board(biases)[["claim", "condition", "ours", "unit", "verdict", "why"]], "Verdicts")
print(figures_ablations.waiting(biases) or "No run is missing.")

# %% [markdown]
# ## Threats to validity
#
# - A network counts as trained or not within a budget. One that stands still for as long may still start later: the
#   authors trained for days.
# - The gains leave out biases, normalisation and pooling, and hold for the first step only.
# - The narrow network of the 32-pixel form has smaller gains than the faithful one, since a neuron adds up fewer
#   inputs: it is the harder test.
