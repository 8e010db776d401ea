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
# # What the network has learned
#
# **Three claims** (section 6.1, figures 3 and 4). The first-layer kernels of one tower come out agnostic of colour,
# those of the other specific to it, in every run. The nearest training images in the last hidden layer show the same
# kind of thing as the test image, though their pixels are far from it. And the labels that the network ranks behind
# its first are mostly reasonable.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
import numpy as np
import pandas as pd

from alexnet import paths
from alexnet.experiments import profiles
from alexnet.figures import ablations, forest, tables
from alexnet.figures import learned as figures_learned
from alexnet.figures.display import show_if_any
from alexnet.figures.tables import say
from alexnet.records.store import Store
from alexnet.statistics import board
from alexnet.training.evaluation import NEIGHBOURS, colour_separation, first_kernels, nearer_in_pixels, tower_means
from alexnet.training.prepared import dataset_of, prepare

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = profiles.records(PROFILE, store, SEEDS)
dataset = dataset_of("cifar10")
found = {claim: board.of_claim(claim, runs) for claim in ("kernel-towers", "neighbours", "top5-sensible")}
titles = {row.question.condition: row.question.condition_title for row in found["kernel-towers"]}


def rows(claim):
    """The board's rows of a claim, as far as this profile plans them."""
    return found[claim]


def shown(claim):
    """The runs of the condition of a claim that is shown, with their records, by seed."""
    condition = board.shown(found[claim]).question.condition
    chosen = [(p, r) for p, r in ablations.selected(runs, claim) if p.condition == condition and r is not None]
    return sorted(chosen, key=lambda run: run[1].spec.seed)


def arrays(claim):
    """The stored arrays of each of them, by seed."""
    return {f"seed {p.spec.seed}": store.predictions(r) for p, r in shown(claim) if r.final.outcome != "diverged"}


for claim, of in found.items():
    say(board.answer(of))
    if claim == "kernel-towers" and any(row.question.seen and row.effect is not None for row in of):
        say(
            "First looks measure the towers against random halves of the same kernels. What decides is how far "
            "training took them apart, measured against the untrained network: its towers differ too, by chance, and "
            "the table below has both."
        )


say(
    "**The doubt.** A network whose last layer tells the classes apart has them apart in its last hidden layer, so "
    "much of what its neighbours share follows from its accuracy, and says little more."
)
drawn = [row for row in map(board.shown, found.values()) if isinstance(row.told, board.Effect)]
show_if_any(forest.forest_plot, drawn, "What has been learned, by measure?")

# %% [markdown]
# A network is often called a black box, but the paper opens it in three places: at its first layer, whose weights can
# be looked at as small images; at its last hidden layer, where each image has become a list of numbers; and at its
# answers, of which the first is not the only one that tells something.
#
# ## Colour in two towers
#
# The two towers start from the same kind of random weights and see the same images. In the paper, one ends with kernels
# for edges in black and white, the other with blobs of colour, each time anew and without anybody asking for it.
#
# A kernel weighs three colour channels. The part of it that weighs all three alike sees grey; what is left sees colour.
# The share of a kernel's energy that is in the colour part is its colour selectivity. Random weights start at two
# thirds, since colour has two of the three dimensions. "Largely agnostic" and "largely specific" is a difference that
# one sees: the margin is a fifth of the whole scale, and what counts is how far training took the towers apart.

# %%
kernels = {
    f"{titles[p.condition]}, seed {p.spec.seed}": store.predictions(r)["first_kernels"]
    for p, r in ablations.selected(runs, "kernel-towers")
    if r is not None and r.final.outcome != "diverged" and "first_kernels" in store.predictions(r)
}
largest = max(kernels, key=lambda name: kernels[name].size, default=None)
show_if_any(figures_learned.kernels, kernels[largest] if largest else [], f"The first layer's kernels ({largest})")

# %%
show_if_any(figures_learned.selectivities, kernels, "Does one tower care more for colour than the other?")

# %% [markdown]
# Seeds differ before training already, by chance. So each run's first layer is measured before and after.

# %%
columns = ["run", "training", "tower 1", "tower 2", "apart", "random halves apart"]
specs = {f"{titles[p.condition]}, seed {p.spec.seed}": p.spec
         for p, _ in ablations.selected(runs, "kernel-towers")}  # fmt: skip
measured = []
for name, trained in kernels.items():
    untrained = first_kernels(prepare(specs[name]).network())
    for when, weights in (("before", untrained), ("after", trained)):
        measured.append((name, when, *tower_means(weights), *colour_separation(weights)))
if measured:
    tables.show(pd.DataFrame(measured, columns=columns), "Mean colour selectivity of the first layer's kernels",
                dict.fromkeys(columns[2:], ".3f"))  # fmt: skip

# %%
lasting = [r.learned for _, r in shown("neighbours") if r.learned and r.learned.tower_colour is not None]
if lasting:
    apart, halves = ([getattr(of, name) for of in lasting] for name in ("tower_colour", "half_colour"))
    say(
        f"The {tables.counted(len(lasting), 'run')} behind the neighbours below have two towers as well. Nothing was "
        f"planned of their colour, so it decides nothing: after training their towers are {min(apart):.3f} to "
        f"{max(apart):.3f} apart, {np.median(apart):.3f} in the middle; random halves of their kernels are "
        f"{np.mean(halves):.3f} apart on average."
    )

# %%
board_columns = ["condition", "ours", "unit", "verdict"]
tables.show(board.verdict_board(rows("kernel-towers"))[board_columns], "Verdicts")
say(ablations.waiting(rows("kernel-towers")))

# %% [markdown]
# ## Neighbours
#
# Two photographs of a dog can differ in every pixel, and a dog and a couch of the same colour can agree in most. If the
# network has learned what is in an image, dogs lie close together in its last hidden layer, whatever their pixels.
#
# For each of the first test images, the nearest training images: by the activations of the last hidden layer, and by
# the pixels themselves. A frame marks a neighbour of another class. "Most" of them means more than half, so the effect
# is the share of neighbours of the same class less one half. Where twelve runs are listed, n counts six means of two,
# as everywhere where these runs stand for the network that others are compared with.

# %%
learned = arrays("neighbours")
seed = next(iter(learned), None)
if seed:
    some = range(8)
    both = {"features": learned[seed]["feature_neighbours"], "pixels": learned[seed]["pixel_neighbours"]}
    nearest = {name: [[dataset.train_images[i] for i in places[q]] for q in some] for name, places in both.items()}
    same = {
        name: [[bool(dataset.train_labels[i] == dataset.test_labels[q]) for i in places[q]] for q in some]
        for name, places in both.items()
    }
    show_if_any(
        figures_learned.neighbours, [dataset.test_images[q] for q in some], nearest, same,
        "Which training images are nearest?",
    )  # fmt: skip

# %%
shares = [
    {
        "seed": record.spec.seed,
        "nearest in features": record.learned.feature_neighbours_share,
        "nearest in pixels": record.learned.pixel_neighbours_share,
        "test accuracy": 1 - record.final.test_error,
    }
    for _, record in shown("neighbours")
    if record.learned is not None
]
first = f", over the first {len(learned[seed]['feature_neighbours']):,}" if seed else ""
tables.show(
    pd.DataFrame(shares, columns=["seed", "nearest in features", "nearest in pixels", "test accuracy"]),
    f"Share of the {NEIGHBOURS} nearest training images that have the class of a test image{first}",
    dict.fromkeys(("nearest in features", "nearest in pixels", "test accuracy"), ".1%"),
)

# %% [markdown]
# And how far are the neighbours in features from the image in pixels? Order all training images by that distance, and
# see where they stand.

# %%
if seed:
    asked = range(100)
    candidates = dataset.train_images[prepare(shown("neighbours")[0][1].spec).split.train]
    places = np.stack([of["feature_neighbours"][asked] for of in learned.values()], 1)  # [image, run, neighbour]
    chosen = dataset.train_images[places.reshape(len(asked), -1)]
    nearer = nearer_in_pixels(dataset.test_images[asked], candidates, chosen).reshape(places.shape)
    halves = [f"{half:.0%}" for half in sorted(np.median(nearer, axis=(0, 2)))]  # of each run
    say(
        f"Half of the neighbours in features of the first {len(asked)} test images are further from their image in "
        f"pixels than {' to '.join(dict.fromkeys((halves[0], halves[-1])))} of all training images; of images drawn at "
        "random, half would be further than 50%."
    )
tables.show(board.verdict_board(rows("neighbours"))[board_columns], "Verdicts")

# %% [markdown]
# ## The labels behind the first
#
# The network gives every class a probability. If it has learned what things look like, the classes behind the first
# should be like it: a cat may be taken for a dog, hardly for a lorry. "Most" is more than half here too: the effect is
# the share of labels of the right kind less one half.

# %%
ranked = {name: a for name, a in arrays("top5-sensible").items() if "ranked_probability" in a}
name = next(iter(ranked), None)
if name:
    some = range(8)
    show_if_any(
        figures_learned.ranked_labels,
        [dataset.test_images[q] for q in some],
        [dataset.classes[dataset.test_labels[q]] for q in some],
        [[dataset.classes[label] for label in ranked[name]["ranked"][q]] for q in some],
        ranked[name]["ranked_probability"][list(some)].astype(float).round(2),
        "Are the five most probable labels reasonable?",
    )

# %%
kinds = [
    {"seed": r.spec.seed, "of the true kind": r.learned.runner_up_kind, "in a random order": r.learned.random_kind}
    for _, r in shown("top5-sensible")
    if r.learned is not None
]
tables.show(
    pd.DataFrame(kinds, columns=["seed", "of the true kind", "in a random order"]),
    "Share of the labels ranked second to fifth that are of the true label's kind (animal or vehicle)",
    {"of the true kind": ".1%", "in a random order": ".1%"},
)
tables.show(board.verdict_board(rows("top5-sensible"))[board_columns], "Verdicts")

# %% [markdown]
# ## What each layer makes of an image
#
# Each square is one map of a convolutional layer after its ReLU: bright where the map's kernel found what it looks for.
# Early maps still look like the image; later ones are coarse, and say rather what than where.

# %%
if seed:
    maps = {key.removeprefix("maps_"): value for key, value in learned[seed].items() if key.startswith("maps_")}
    show_if_any(figures_learned.feature_maps, maps, dataset.test_images[0], "What does each layer respond to?")

# %% [markdown]
# ## Play with it
#
# Train for one epoch in place of four: how much of the error is gone after the first? It takes about a minute and
# writes no record. From a terminal, the same is:
#
#     python -m alexnet play recipe.epochs=1

# %% tags=["live"]
from alexnet import play

play("recipe.epochs=1")

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Why are the towers compared with an untrained network and not only with random
# halves?</summary>
#
# Random halves of one trained network show what chance gives when filters are dealt out at random. But two towers are
# different from the start: they have other weights. The untrained network shows how far apart they were before
# anything was learned.
#
# </details>
#
# <details class="question"><summary>What would you have to see before you call a kernel an edge detector?</summary>
#
# A structure that the noise it started from cannot have: stripes of light and dark that run through the whole kernel,
# at one angle. A picture that looks like that after the fact, chosen from many, is weak evidence. Compare with the
# kernels before training, whose means stand in the table.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - Small images and kernels hold less colour and less form than the paper's, and after a short training kernels may
#   still look like the noise they started from. Where the picture shows noise, no number makes it a filter.
# - The first looks at the towers ask less than the paper says, and decide nothing.
# - How far a test image's neighbours in the last hidden layer are from it in pixels is described; the verdict is on
#   their class alone.
# - "Reasonable" is a matter of judgement in the paper; here it is the plainest rule that needs none.
