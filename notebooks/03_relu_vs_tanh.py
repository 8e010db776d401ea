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
# # ReLU against tanh
#
# **The claim** (section 3.1, figure 1). A four-layer convolutional network on CIFAR-10 reaches a given training error
# several times faster when its units compute max(0, x) than when they compute tanh(x). The authors trained both
# networks without any regularisation, chose the learning rate for each on its own, and counted epochs until a quarter
# of the training images were still wrong.
#
# This page repeats that experiment in the setting of the original code, and in a setting one would choose today. Then
# it asks the same of AlexNet.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd
import torch

from alexnet import paths
from alexnet.experiments import profiles, relu_speed
from alexnet.figures import ablations, curves, diagrams, forest, tables
from alexnet.figures.base import arm_name
from alexnet.figures.display import show, show_if_any
from alexnet.figures.tables import say
from alexnet.paper import claims
from alexnet.records.store import Store
from alexnet.runs.planning import INITS, SCALINGS, describe
from alexnet.statistics import board
from alexnet.training import signals
from alexnet.training.prepared import split_of

store = Store(paths.runs_folder(PROFILE, FRESH))
settings = relu_speed.RELU_SPEED[PROFILE]
runs = profiles.records(PROFILE, store, SEEDS)
questions = {q.condition: q for q in claims.claims().questions() if q.claim == "relu-speed"}
columns = ["condition", "paper", "ours", "unit", "verdict"]
NAMES = {
    "arrived": "as released, long grid",
    "original": "as released, short grid",
    "modern": "modern",
    "alexnet": "AlexNet",
}


def runs_of(condition, stage):
    """The runs of a stage, by activation."""
    of = [(p, r) for p, r in runs if (p.claim, p.condition, p.stage) == ("relu-speed", condition.name, stage)]
    return {arm: [r for p, r in of if p.arm == arm and r is not None] for arm in relu_speed.ARMS}


def show_rates(condition):
    """The grid of learning rates, as far as it is recorded, and which of them each activation chose."""
    grid = {arm: records for arm, records in runs_of(condition, "grid").items() if records}
    chosen = {arm: relu_speed.chosen_rate(records) for arm, records in grid.items()}
    planned = [r for p, r in runs if (p.claim, p.condition, p.stage) == ("relu-speed", condition.name, "grid")]
    so_far = ", so far" * (None in planned)
    title = f"Which learning rate is best for each activation? ({NAMES[condition.name]}{so_far})"
    show_if_any(curves.learning_rates, grid, chosen, title)


def rates_of(condition):
    """The learning rates that were tried by each activation, as far as they are recorded."""
    tried = {
        arm: ", ".join(f"{rate:g}" for rate in sorted(r.spec.recipe.learning_rate for r in records))
        for arm, records in runs_of(condition, "grid").items()
    }
    return tried["relu"] if len(set(tried.values())) == 1 else f"ReLU: {tried['relu']}; tanh: {tried['tanh']}"


def show_curves(condition, counted):
    """Training error against epochs."""
    target = condition.base.recipe.stop_at_train_error
    title = f"How soon does each network come to {target:.0%} training error? ({NAMES[condition.name]})"
    show(*curves.learning_curves(counted, target, title))


def show_pairs(names):
    """Epochs of each activation, their ratio and the test errors, a row a condition and seed."""
    found = {NAMES[name]: ablations.pairs_table(questions[name], runs, test_errors=True) for name in names}
    tables.show(pd.concat(found, names=["condition"]).reset_index("condition"), "Pairs of runs: epochs and test errors")


def show_signals(counted, title):
    """The signals of the first run of each condition and activation, before and after training."""
    measured = {}
    for name, arms in counted.items():
        for arm, records in arms.items():
            measured[NAMES[name], arm, "before"] = signals.at_initialisation(records[0].spec)
            measured[NAMES[name], arm, "after"] = records[0].signals or []
    table = diagrams.signal_table(measured)
    show_if_any(diagrams.signal_panels, table, title)
    return table


counted = {condition.name: runs_of(condition, "seeds") for condition in settings}
counted = {name: arms for name, arms in counted.items() if all(arms.values())}
if "arrived" in counted:
    counted.pop("original", None)  # the same but for its grid, which had not arrived; its row is in the table
conditions = [condition for condition in settings if condition.name in counted]
say(board.answer(board.of_claim("relu-speed", runs)))
say(
    "**The doubt.** The factor belongs to one setting: the network, pixels and initial weights of the original code. "
    "Other settings, further down, give other factors."
)
if conditions:
    show_curves(conditions[0], counted[conditions[0].name])
early = [
    f"{arm_name(arm)} in the setting *{NAMES[condition.name]}* ({relu_speed.chosen_rate(tried):g}, after "
    f"{condition.grid_epochs} epochs)"
    for condition in (*conditions, *relu_speed.RELU_ALEXNET[PROFILE])
    for arm, tried in runs_of(condition, "grid").items()
    if tried and not any(r.final.epochs_to_target for r in tried)
]
if early:
    say(
        f"Chosen when no run of the grid had arrived: the learning rate of {tables.listed(early)}. A longer grid could "
        "choose otherwise, and change the factor there."
    )

# %% [markdown]
# ## The idea
#
# A unit of a neural network adds up weighted inputs and bends the sum. In 2012 the usual bend was tanh, an S-shaped
# curve that is flat on both sides. Learning follows slopes: where the curve is flat, the slope is almost zero and a
# unit that is pushed there learns slowly. A rectified linear unit (ReLU) is flat on one side only; on the other its
# slope is one, however large the input. The authors call tanh *saturating* and ReLU *non-saturating*.

# %%
inputs = torch.linspace(-4, 4, 161, dtype=torch.float64, requires_grad=True)
bends = {"relu": torch.relu, "tanh": torch.tanh}
slopes = {name: torch.autograd.grad(bend(inputs).sum(), inputs)[0] for name, bend in bends.items()}
values = {name: bend(inputs).detach() for name, bend in bends.items()}
show(*diagrams.activations(inputs.detach().numpy(), values, slopes))

# %% [markdown]
# ## What we run
#
# The network is the four-layer one of the authors' earlier CIFAR-10 work: three convolutions of 5x5 pixels, each
# followed by pooling over windows that overlap, and one fully connected layer.

# %%
from alexnet.networks.models import build, layer_table

example = settings[0].run("relu", settings[0].rates.first[0])
tables.show(layer_table(build(example.net, side=32), side=32), "The four-layer network",
            dict.fromkeys(["neurons", "parameters", "multiply-adds"], ",d"))  # fmt: skip

# %% [markdown]
# The two settings of the released code differ in their grids alone. The modern one has other pixels, initial weights
# and bias rate, which is what changed in the practice of training such networks since then, and a grid of its own.
# Within a setting the activations differ in their learning rate, and in the modern one in the scale of their weights.

# %%
rows = []
for condition in settings:
    spec = condition.base
    rows.append(
        {
            "setting": NAMES[condition.name],
            "pixels": SCALINGS[spec.images.scaling],
            "initial weights": INITS[spec.net.init],
            "bias rate": f"{spec.recipe.bias_learning_rate_factor:g} x the weights'",
            "learning rates tried": rates_of(condition),
            "cap": f"{spec.recipe.epochs} epochs ({condition.grid_epochs} in the grid)",
        }
    )
tables.show(pd.DataFrame(rows), "The settings")

# %%
recipe = example.recipe
train = split_of(example.dataset, example.images.train_size).train
say(
    f"All: plain SGD, momentum {recipe.momentum:g}, batches of {recipe.batch_size}, constant learning rate, weight "
    f"decay {recipe.weight_decay:g}, no dropout, no augmentation; {len(train):,} training images. A run ends when the "
    f"training error over an epoch is at {recipe.stop_at_train_error:.0%}. The training error is the mean over the "
    "batches of an epoch as they came, while the weights moved, as the original code printed it."
)

# %%
say(ablations.one_line("relu-speed", runs))

# %% [markdown]
# ## Each activation chooses its learning rate
#
# One run for each activation and rate, all from the same seed, which takes no further part. The rate whose run comes
# first to the target wins; if none comes, the one with the lowest training error at the cap. The test set is never
# looked at.

# %%
for condition in settings:
    show_rates(condition)

# %% [markdown]
# ## Figure 1, in each setting
#
# With the rate that its grid chose, each activation is trained from several seeds. A seed fixes initial weights and
# the order of images, and is shared by the two activations, so that runs can be compared in pairs. Thin lines are
# single seeds, thick ones their mean.

# %%
for condition in conditions[1:]:
    show_curves(condition, counted[condition.name])

# %% [markdown]
# ## The effect
#
# For every seed, the ratio of epochs: tanh over ReLU. The effect is the geometric mean over seeds with a t interval of
# the logarithm. Epochs are interpolated between the ends of two. A run that never arrived within its cap enters at the
# cap, and then the factor is a lower bound and is written so.

# %%
if counted:
    show_pairs(counted)

# %%
found = board.of_claim("relu-speed", runs)
show_if_any(forest.forest_plot, found, "How many times longer does tanh take?")

# %%
tables.show(board.verdict_board(found)[columns], "Verdicts")

# %% [markdown]
# ## Why the conditions differ
#
# The paper's reason is saturation: tanh stops learning where it is flat. Whether a unit is in the flat part depends on
# how large its input is, and so on the scale of the pixels and of the weights. We measure it: the first batch is sent
# through the network before training and after it, in one run of each setting and activation, that of the first seed.
# For each nonlinearity, the standard deviation of its input and of the loss's gradient there, and the share of units
# where its slope is (nearly) zero.

# %%
table = show_signals(counted, "What reaches each layer, and how many of its units are flat?")

# %%
first = table[table["layer"] == 1].set_index(["condition", "activation", "when"])
for name in (NAMES[name] for name in counted):
    before, after = (first.loc[(name, "tanh", when)] for when in ("before", "after"))
    relu = first.loc[(name, "relu", "before")]
    say(
        f"**{name[0].upper()}{name[1:]}.** Before training, the first layer's tanh units see inputs of standard "
        f"deviation {before['input']:.3g}, and {before['flat units']:.0%} of them are saturated; after training it is "
        f"{after['input']:.3g} and {after['flat units']:.0%}. The gradient at the first layer starts at "
        f"{before['gradient']:.1e} with tanh and {relu['gradient']:.1e} with ReLU."
    )

# %% [markdown]
# So the settings are not views of one effect. In the first layer far fewer tanh units end flat with inputs and weights
# scaled to about one; but those runs also ended after far fewer epochs, and it is one run of each. Nothing here tests
# whether saturation makes the difference, apart from all else that the settings change.

# %%
highest = relu_speed.ORIGINAL.rates.first[-1]
short = runs_of(relu_speed.ORIGINAL, "grid").values()
ends = [r.final.train_error for records in short for r in records if r.spec.recipe.learning_rate == highest]
if len(ends) == 2 and ends[0] > ends[1]:
    say(
        f"ReLU has a bound of its own: at {highest:g}, the highest rate of the short grid, its training error ends at "
        f"{ends[0]:.1%}, where guessing has 90%, and tanh's at {ends[1]:.1%}."
    )

# %% [markdown]
# ## And in AlexNet?
#
# The paper shows the four-layer network and concludes for the large one. So the same is asked of AlexNet in a smaller
# form, with response normalisation as the paper has it and nothing that regularises: each activation chooses its rate,
# and epochs are counted to the same training error.

# %%
in_alexnet = relu_speed.RELU_ALEXNET[PROFILE]
large = {}
if not in_alexnet:
    say("This profile doesn't run it.")
else:
    (condition,) = in_alexnet
    say(describe(condition.base))
    show_rates(condition)
    large = {condition.name: runs_of(condition, "seeds")}

# %%
if large and all(large[condition.name].values()):
    show_curves(condition, large[condition.name])
    show_pairs(large)
    table = show_signals(large, "What reaches each layer of AlexNet, and how many of its units are flat?")
    after = table[(table["activation"] == "tanh") & (table["when"] == "after")]
    mean = {
        arm: [sum(getattr(r.final, error) for r in rs) / len(rs) for error in ("train_error", "test_error")]
        for arm, rs in large[condition.name].items()
    }
    say(
        f"In the run of the first seed, after training, the inputs of the tanh layers have standard deviations of "
        f"{after['input'].min():.2g} to {after['input'].max():.2g}, and at most {after['flat units'].max():.0%} of a "
        f"layer's units are saturated. Over all seeds, when the runs ended, the mean training error was "
        f"{mean['relu'][0]:.1%} with ReLU and {mean['tanh'][0]:.1%} with tanh, and the test error "
        f"{mean['relu'][1]:.1%} and {mean['tanh'][1]:.1%}."
    )

# %%
if in_alexnet:
    say(ablations.waiting(found))

# %% [markdown]
# ## Play with it
#
# Train the four-layer network for a few epochs beside one that differs in what you name: the activation, the rate
# (`recipe.learning_rate=0.02`), the pixels (`images.scaling=mean-image`). It takes about a minute and writes no
# record. From a terminal, the same is:
#
#     python -m alexnet play net.activation=tanh --network four-layer

# %% tags=["live"]
from alexnet import play

play("net.activation=tanh", network="four-layer")

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Before you look at the grids: if both activations had to use one learning rate,
# whom would that favour?</summary>
#
# Whoever it was chosen for. A rate that suits ReLU may be too small for tanh, or so large that it saturates. A
# comparison at one rate tests the rate as much as the activation, so each chooses its own here, as in the paper.
#
# </details>
#
# <details class="question"><summary>The effect is a ratio, and its interval is computed from logarithms. Why not from
# differences of epochs?</summary>
#
# The claim is one of times as fast. Ten epochs more is much beside five and little beside two hundred, but twice as
# long is twice as long. The logarithm turns ratios into differences, for which a t interval is made; back on the
# scale of ratios it is not symmetric, and can never reach below zero.
#
# </details>
#
# <details class="question"><summary>A run of tanh never arrives at the target. Should it be left out?</summary>
#
# No. Left out, the slowest runs would vanish and tanh would look faster than it is. It is censored: counted as if it
# had arrived at the cap, and the factor is called a lower bound, since the true one can only be larger.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - The paper doesn't name its four-layer network; we take the layer file of the same authors that fits the text best.
# - We train on the training split that leaves room for validation, not on all of CIFAR-10's training images.
# - The learning rate is chosen from one seed and a grid of powers of two. A finer search could favour
#   either activation.
# - Seeds vary initial weights and the order of images; they don't vary the data. The interval says nothing of other
#   data sets or networks.
# - Speed is counted in epochs. An epoch takes about as long with tanh as with ReLU here, to within a fifth or so.
