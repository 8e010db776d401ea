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
# and depth: sections 3.2 to 7 say of each what it is good for. Here most are taken out of one network, one at a time;
# each comparison says how long it trains, on which images, and at which rates.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import pandas as pd

from alexnet import paths
from alexnet.experiments import profiles
from alexnet.experiments.ablations import REMOVABLE, regime
from alexnet.figures import ablations, curves, forest, tables
from alexnet.figures.base import arm_name
from alexnet.figures.display import show_if_any
from alexnet.figures.tables import say
from alexnet.networks import anatomy
from alexnet.paper import claims
from alexnet.records.store import Store
from alexnet.report import answers
from alexnet.runs import planning
from alexnet.statistics import board, effects

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = profiles.records(PROFILE, store, SEEDS)
rows = {claim.id: board.of_claim(claim.id, runs) for claim in claims.claims().claim}
columns = ["condition", "paper", "ours", "unit", "verdict"]
ingredients = (
    "lrn-alexnet", "two-towers", "aug-crop-flip", "aug-colour", "weight-decay-train", "lr-drops", "depth"
)  # fmt: skip


def parameters(spec):
    """How many weights and biases a run's network has."""
    return int(anatomy.layers(spec.net, spec.images.side(32))["parameters"].sum())


def report(claim, label):
    """The paper's statement, the answer, both arms seed by seed, their errors, and the verdicts of a claim."""
    say(f"*Section {claims.claims()[claim].section}.* {claims.claims()[claim].statement}")
    say(board.answer(rows[claim]))
    drawn = [row for row in rows[claim] if isinstance(row.told, board.Effect) and not row.question.smallest_of]
    if drawn:
        show_if_any(ablations.paired_dots, drawn, runs, label, f"{claims.claims()[claim].title}?")
    question = board.shown(rows[claim]).question
    say(ablations.errors_of_arms(question, runs))
    if question.smallest_of and (errors := answers.test_errors(question, runs)):
        say(f"**Mean test errors.** {errors[0].upper()}{errors[1:]}.")
    tables.show(board.verdict_board(rows[claim])[columns], "Verdicts")
    say(ablations.waiting(rows[claim]))
    if logged := claims.logs().sentences(claim):
        say(f"**The original code's own logs.** {' '.join(logged)}")


shown = [board.shown(rows[claim]) for claim in (*ingredients, "lrn-cifar", "ten-crop")]
drawn = [row for row in shown if isinstance(row.told, board.Effect) and row.question.unit == "percentage points"]
first = [rows[row.question.claim][0] for row in shown]  # of each claim the row that decides
labels = tables.by_label((row.question.title, row.label) for row in first)
look = " Of what waits, the picture shows a first look where there is one." * any(row.waits for row in first)
say(f"{labels}{look}")
less = {"crops and flips": "aug-crop-flip", "colour noise": "aug-colour"}
say(
    ablations.doubt({what: board.shown(rows[claim]).question for what, claim in less.items()}, runs)
    or "**The doubt.** One narrow network on small images: an ingredient may be worth something else in a large one."
)
show_if_any(forest.forest_plot, drawn, "What does each ingredient buy?")

# %% [markdown]
# In 2012 a network of this size was out of reach for most: it took the authors five to six days on two graphics cards,
# and it could learn its training images by heart. Most ingredients answer one of these two facts: they make the network
# fit, or they keep it from overfitting.
#
# ## The network that they are taken out of

# %%
regimes = {
    "12 epochs, seen before the rule": regime(PROFILE, "ten-crop", "cifar"),
    "30 epochs": regime(PROFILE, "ten-crop", "long"),
    "90 epochs on 10,000 images": regime(PROFILE, "aug-crop-flip", "overfit"),
}  # fmt: skip
baseline = regimes["30 epochs"]
say(planning.describe(baseline))

# %% [markdown]
# How well the network does with all its ingredients, in each regime, is what an effect has to be read against.

# %%
table = []
for name, spec in regimes.items():
    own = {
        r.hash: r
        for p, r in runs
        if r is not None
        and p.stage == "seeds"
        and p.claim in rows
        and p.spec.test
        and planning.changes(p.spec.with_(recipe={"learning_rate": spec.recipe.learning_rate}), spec) == "nothing"
    }
    errors = {
        r.spec.seed: (r.final.clean_train_error, r.final.test_error, r.learned and r.learned.ten_crop_error)
        for r in own.values()
    }
    if errors:
        means = pd.DataFrame(errors.values(), dtype=float).mean()
        table.append((name, len(errors), *(None if value != value else value for value in means)))
names = ["regime", "runs", "training error", "test error, one crop", "test error, ten crops"]
tables.show(pd.DataFrame(table, columns=names), "The network with all ingredients, means over seeds",
            dict.fromkeys(names[2:], ".1%"))  # fmt: skip

# %% [markdown]
# ## What we run
#
# Each comparison has one arm with the ingredient and one without; both train from the same seeds, so that runs can be
# compared in pairs. Where the arm with all ingredients has twice as many runs, each pair takes the mean of two, of
# which one has the other arm's seed. The learning rate aside, this is all that an arm sets otherwise than the network
# with all ingredients in the same regime:

# %%
words = {
    "net.norm none": "no normalisation",
    "net.norm mean": "alpha times the mean, not the sum",
    "images.crops centre, images.flip off": "the centre crop alone, never mirrored",
    "images.colour 0": "no colour noise",
    "recipe.weight_decay 0": "no weight decay",
    "recipe.schedule constant, recipe.drops none": "one rate to the end",
    "net.towers half": "one tower of half the kernels",
    "net.towers full": "one tower of all the kernels",
    **{f"net.without {layer}": f"no layer {layer[-1]}" for layer in REMOVABLE},
}
differences = []
for p, _ in runs:
    if p.stage == "seeds" and p.claim in ingredients:
        spec = regime(PROFILE, p.claim, p.condition).with_(recipe={"learning_rate": p.spec.recipe.learning_rate})
        if (setting := planning.changes(p.spec, spec)) != "nothing":
            differences.append((claims.claims()[p.claim].title, arm_name(p.arm), words[setting]))
tables.show(pd.DataFrame([*dict.fromkeys(differences)], columns=["claim", "arm", "sets otherwise"]),
            "Arms that differ from the network with all ingredients")  # fmt: skip

# %% [markdown]
# ## Along the way

# %%
comparisons = {}
for claim in ingredients:
    question = board.shown(rows[claim]).question if rows[claim] else None
    if question is not None and not question.smallest_of:
        comparisons[f"{question.title} ({question.condition_title})"] = ablations.arms_of(question, runs)
show_if_any(
    curves.curve_panels, comparisons, lambda epoch: 100 * epoch.valid_error, "validation error (%)",
    "When do the arms part? (number of runs in brackets)",
)  # fmt: skip

# %% [markdown]
# ## Response normalisation
#
# Each response is divided by something that grows with the responses of its neighbouring maps at the same place. In the
# convention of the original code alpha is divided by the size of the window; the rows say which they have.

# %%
report("lrn-alexnet", "test error (%)")

# %%
collapses = {}  # by their runs, which several comparisons may share
for row in rows["lrn-alexnet"]:
    for arm, counts in row.collapses.items():
        made = tuple(record.hash for record in ablations.arms_of(row.question, runs)[arm])
        collapses.setdefault((arm, counts, made), []).append(row.question.condition_title)
for (arm, (lost, of), _), conditions in collapses.items():
    low, high = effects.proportion(lost, of)
    say(
        f"*{'; '.join(conditions)}*: {lost} of {of} runs {arm} normalisation collapsed. The chance of that lies "
        f"between {low:.0%} and {high:.0%} (exact interval). The effect is that among runs that train."
    )

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
# with a net of one card that has half the kernels in its convolutional layers. That net has nearly as many parameters,
# since its last convolution and its wide layers stay, but half the kernels, so the comparison does not tell the split
# from their number. The second one is with one tower of all the kernels, where every kernel sees every map; it has
# somewhat more parameters than two towers.

# %%
report("two-towers", "test error (%)")

# %% [markdown]
# ## Crops and reflections
#
# Each time an image comes up in training, a square is cut out of it at a random place and mirrored half of the time.
# What is in the image stays the same, its pixels seldom do. That is meant to keep the network from learning them by
# heart.

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
question = board.shown(rows["lr-drops"]).question
arms = ablations.arms_of(question, runs)
if any(arms.values()):
    show_if_any(
        curves.epoch_curves,
        arms,
        lambda epoch: 100 * epoch.valid_error,
        "validation error (%)",
        "What happens when the learning rate drops?",
        drops=regime(PROFILE, question.claim, question.condition).recipe.drops,
    )

# %% [markdown]
# ## Depth: every single middle layer
#
# The paper says that removing any of the middle layers costs about two points, and speaks of the convolutional ones.
# Each is taken out on its own; the pooling and normalisation that follow it stay. "Any" is a claim on every layer, so
# the smallest of the effects decides. Taking a layer out can add parameters, where the next one then reads more maps:
# the table has the parameters of each network. Without layer 6 or without layer 7 a single hidden layer of the same
# width is left: one network, whose runs stand in both rows where these are shown.

# %%
sizes = [("all layers", parameters(baseline))]
sizes += [(f"no layer {layer[-1]}", parameters(baseline.with_(net={"without": layer}))) for layer in REMOVABLE[:-1]]
tables.show(pd.DataFrame(sizes, columns=["network", "parameters"]), "What is left", {"parameters": ",d"})
report("depth", "test error (%)")

# %% [markdown]
# ## Play with it
#
# Take an ingredient out, or two at once, and train both networks for a few epochs. It takes about a minute and writes
# no record. From a terminal, the same is:
#
#     python -m alexnet play net.norm=none images.flip=false

# %% tags=["live"]
from alexnet import play

play("net.norm=none", "images.flip=false")

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Several ingredients are tested against one baseline. What is the risk, and what
# is done about it?</summary>
#
# If the baseline is lucky, every ingredient looks bad, and the other way round: the rows are not independent. So the
# rule gives a baseline that several arms share twice as many runs as an arm, and many rows are corrected for being
# many. In the first looks the baseline has no more runs than an arm.
#
# </details>
#
# <details class="question"><summary>Predict: take out a convolutional layer. Will the network have fewer
# weights?</summary>
#
# Not always. If the maps that reach the next layer become more numerous, its kernels become deeper, and the first
# fully connected layer may see more values. The table of parameters shows it. Depth is then not the only thing that
# was changed.
#
# </details>
#
# <details class="question"><summary>An interval holds zero. Does that show that an ingredient does nothing?</summary>
#
# No. It shows that this many pairs cannot tell. To say that there is no effect of a given size, the interval has to
# lie wholly inside that size on both sides. The rule has a label of its own for that.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - In the twelve-epoch runs all arms use the learning rate that suits the full network, and an arm that would like
#   another is at a disadvantage. In the others each arm has its own.
# - The network is narrower, the images are smaller and fewer, and training is shorter than the paper's. A longer one
#   might show more of what regularisers are worth.
# - The intervals are over seeds alone: all runs share one split of one data set.
