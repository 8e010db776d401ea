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

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd
from IPython.display import Markdown, display

from alexnet import board, claims, experiments, figures, figures_ablations, paths, planning, tables
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
columns = ["claim", "condition", "paper", "ours", "unit", "verdict"]


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
# ## Response normalisation
#
# Each response is divided by something that grows with the responses of its neighbouring maps at the same place. The
# second comparison is with the convention of the original code, where alpha is divided by the size of the window.

# %%
report("lrn-alexnet", "test error (%)")

# %% [markdown]
# A network whose every layer starts to pass on nothing stays at the error of blind guessing. Where that happened to one
# seed, its run stands in the table as it came out: it is a result, and it widens the interval.

# %%
report("lrn-cifar", "test error (%)")

# %% [markdown]
# ## Two towers

# %%
report("two-towers", "test error (%)")

# %% [markdown]
# ## Crops and reflections

# %%
report("aug-crop-flip", "generalisation gap (percentage points)")

# %% [markdown]
# ## Colour noise

# %%
report("aug-colour", "test error (%)")

# %% [markdown]
# ## Ten crops in place of one

# %%
report("ten-crop", "test error (%)")

# %% [markdown]
# ## Weight decay and the training error

# %%
report("weight-decay-train", "training error, dropout off (%)")

# %% [markdown]
# ## Learning-rate drops

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
# ## Threats to validity
#
# - All arms use the learning rate and the epochs that suit the full network. An arm that would like others is at a
#   disadvantage, as it was in the paper.
# - The network is narrower, the images are smaller and fewer, and training is shorter than the paper's. Regularisers
#   show their worth late; a short training sees little of it.
# - The intervals are over seeds alone: all runs share one split of one data set.
