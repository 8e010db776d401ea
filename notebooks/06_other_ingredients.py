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
# # The other ingredients
#
# Response normalisation, two towers, crops and reflections, colour noise, ten crops, weight decay, learning-rate drops,
# and depth: sections 3.2 to 7 say of each that it lowers the error. Here each is taken out of the same network on its
# own, with everything else as it was.
#
# In 2012 a network of this size was out of reach for most: it took the authors five to six days on two graphics cards,
# and it could learn its training images by heart. Most ingredients answer one of these two facts: they make the network
# fit, or they keep it from overfitting.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd
from IPython.display import Markdown, display

from alexnet import board, claims, experiments, figures, figures_ablations, learner, paths, planning, tables
from alexnet.ablations import ABLATIONS
from alexnet.figures_display import show_if_any
from alexnet.records import Store

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = experiments.records(PROFILE, store, SEEDS)
planned = {(p.claim, p.condition) for p, _ in runs if p.stage == "seeds"}
rows = {
    claim.id: [
        board.row(question, runs)
        for question in claims.claims().questions()
        if question.claim == claim.id and (question.claim, question.condition) in planned
    ]
    for claim in claims.claims().claim
}
baseline = ABLATIONS[PROFILE][0].baseline
columns = ["condition", "paper", "ours", "unit", "verdict", "why"]
ingredients = (
    "lrn-alexnet", "two-towers", "aug-crop-flip", "aug-colour", "weight-decay-train", "lr-drops", "depth"
)  # fmt: skip


def report(claim, label):
    """The paper's statement, both arms seed by seed, and the verdicts of a claim."""
    display(Markdown(f"*Section {claims.claims()[claim].section}.* {claims.claims()[claim].statement}"))
    drawn = [row for row in rows[claim] if row.effect is not None]
    if drawn:
        show_if_any(figures_ablations.paired_dots, drawn, runs, label, f"{claims.claims()[claim].title}?")
    tables.show(board.verdict_board(rows[claim])[columns], "Verdicts")
    if missing := figures_ablations.waiting(rows[claim]):
        print(missing)


# %% [markdown]
# ## The network that they are taken out of

# %%
display(Markdown(planning.describe(baseline)))

# %%
counted = [record for p, record in runs if p.spec == baseline.with_(seed=p.seed, recipe={
    "learning_rate": p.spec.recipe.learning_rate}) and record is not None]  # fmt: skip
by_seed = {record.spec.seed: record for record in counted if record.spec.test}
table = [
    {
        "seed": seed,
        "learning rate": record.spec.recipe.learning_rate,
        "training error": record.final.clean_train_error,
        "test error, one crop": record.final.test_error,
        "test error, ten crops": record.learned.ten_crop_error,
    }
    for seed, record in sorted(by_seed.items())
]
formats = dict.fromkeys(["training error", "test error, one crop", "test error, ten crops"], ".1%")
tables.show(pd.DataFrame(table), "The network with all ingredients", formats)

# %% [markdown]
# ## What we run
#
# Each comparison has one arm with the ingredient and one without; both train from the same seeds, so that runs can be
# compared in pairs. This is all that the arms set otherwise than the network above:

# %%
differences = {
    (p.claim, p.condition, f"{p.arm} {p.variant}".strip()): planning.changes(p.spec, baseline.with_(recipe={
        "learning_rate": p.spec.recipe.learning_rate}))
    for p, _ in runs if p.stage == "seeds" and p.claim in ingredients
}  # fmt: skip
tables.show(
    pd.DataFrame([(*key, change) for key, change in differences.items() if change != "nothing"],
                 columns=["claim", "condition", "arm", "sets otherwise"])
    .drop_duplicates(["claim", "arm", "sets otherwise"]),
    "Arms that differ from the network above",
)  # fmt: skip

# %% [markdown]
# ## Along the way

# %%
curves = {}
for claim in ingredients:
    for row in (row for row in rows[claim] if row.question.primary):
        name = f"{row.question.title} ({row.question.condition_title})"
        curves[name] = figures_ablations.arms_of(row.question, runs)
show_if_any(
    figures_ablations.curve_panels, curves, lambda epoch: 100 * epoch.valid_error, "validation error (%)",
    "When do the arms part? (number of runs in brackets)",
)  # fmt: skip

# %% [markdown]
# ## Response normalisation
#
# Each response is divided by something that grows with the responses of its neighbouring maps at the same place. The
# second comparison is with the convention of the original code, where alpha is divided by the size of the window.

# %%
report("lrn-alexnet", "test error (%)")

# %%
guessing = 1 - 1 / baseline.net.classes
for row in rows["lrn-alexnet"]:
    for arm, records in figures_ablations.arms_of(row.question, runs).items():
        for record in (r for r in records if r.final.test_error > 0.95 * guessing):
            say = (
                f"The run {arm} normalisation of seed {record.spec.seed} ({row.question.condition_title}) learned "
                f"nothing: its test error is {record.final.test_error:.1%}, that of blind guessing {guessing:.0%}. "
                "That is a result, so it stays among the others and widens the interval."
            )
            display(Markdown(say))

# %% [markdown]
# The paper also names a small network, of four layers, whose files were released. Two of these differ in normalisation,
# but in their widths and weight decays too. So we run that pair as it was released, and a pair that differs in
# normalisation alone.

# %%
report("lrn-cifar", "test error (%)")

# %% [markdown]
# ## Two towers
#
# The network did not fit on one card, so half of each layer's kernels lay on each of two. From the second layer to the
# fifth a kernel sees only the maps of its own card, except in the third, where the cards talk. The paper compares this
# with a net of one card that has half the kernels in its convolutional layers. A net of half the kernels is a smaller
# one, though, and would lose for that alone: the second comparison is with one tower of all the kernels, where every
# kernel sees every map.

# %%
report("two-towers", "test error (%)")

# %% [markdown]
# ## Crops and reflections
#
# Each time an image comes up in training, a square is cut out of it at a random place and mirrored half of the time.
# What is in the image stays the same, its pixels never do: the network cannot learn them by heart.

# %%
report("aug-crop-flip", "generalisation gap (percentage points)")

# %% [markdown]
# ## Colour noise
#
# A thing keeps its name when the light changes. The colours of the training images vary most along a few directions,
# found once by principal components; each time an image comes up, all its pixels move along them by the same random
# amount. The page on the data shows such images.

# %%
report("aug-colour", "test error (%)")

# %% [markdown]
# ## Ten crops in place of one
#
# In the test the network may look ten times: at the four corners and the centre, and at their mirror images. The ten
# predictions are averaged. Nothing is trained for it, so both arms are the same networks.

# %%
report("ten-crop", "test error (%)")

# %% [markdown]
# ## Weight decay and the training error
#
# At each step the weights shrink a little. That is meant to keep a network from overfitting, so one would expect the
# training error to rise. The paper says that here it falls: decay did not just regularise, the network needed it to
# learn. So this claim is about images that were trained on.

# %%
report("weight-decay-train", "training error, dropout off (%)")

# %% [markdown]
# ## Learning-rate drops
#
# Large steps get somewhere quickly and then jump about the goal. The authors divided the learning rate by ten whenever
# the validation error stood still, three times in all. Here the epochs of the drops were fixed beforehand.

# %%
report("lr-drops", "test error (%)")

# %%
arms = figures_ablations.arms_of(claims.claims().question("lr-drops"), runs)
if any(arms.values()):
    show_if_any(
        figures_ablations.epoch_curves,
        arms,
        lambda epoch: 100 * epoch.valid_error,
        "validation error (%)",
        "What happens when the learning rate drops?",
        drops=baseline.recipe.drops,
    )

# %% [markdown]
# ## Depth: every single middle layer
#
# The paper says that removing any of the middle layers costs about the same. Each of layers two to seven is taken out
# on its own; the pooling and normalisation that follow it stay.
#
# Without layer 6 or without layer 7, a single hidden layer of the same width is left: these two are the same network
# from the same seeds, so their figures are equal, and the mean over layers counts it twice.

# %%
report("depth", "test error (%)")

# %% [markdown]
# ## All of them

# %%
everything = [row for claim in rows for row in rows[claim] if row.effect is not None and row.question.unit in
              ("percentage points",) and not row.question.claim.startswith("init")]  # fmt: skip
if everything:
    show_if_any(figures.forest_plot, everything, "What does each ingredient buy?")

# %% [markdown]
# ## Play with it
#
# Take an ingredient out of a small live run, or two at once, and run the cell again. It writes no record.

# %%
LIVE = False  # set True to train here
live = ABLATIONS["smoke"][0].baseline.with_(net={"norm": "none"}, images={"flip": False})
print(f"{live.images.train_size:,} images, {live.recipe.epochs} epochs: about half a minute on two cores.")
if LIVE:
    learn = learner(live)
    learn.fit()

# %% [markdown]
# ## Threats to validity
#
# - All arms use the learning rate and the epochs that suit the full network. An arm that would like others is at a
#   disadvantage, as it was in the paper.
# - The network is narrower, the images are smaller and fewer, and training is shorter than the paper's. Regularisers
#   show their worth late; a short training sees little of it.
# - The intervals are over seeds alone: all runs share one split of one data set.
