# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The faithful model
#
# The paper describes its network in two pages and one famous figure. The code that won the competition was released
# years later, and it is not quite the network of the paper. This notebook builds both, counts everything that can be
# counted, and compares the counts with the numbers in print. Nothing is trained here: all that follows is arithmetic
# and the first steps of fresh networks.
#
# You need to know Python. You do not need to know what a network looked like in 2012.

# %% tags=["parameters"]
PROFILE = "cpu"  # whose runs are shown: smoke, cpu or gpu (this notebook shows none)
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: leave the committed records aside

# %%
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from torch import nn

from alexnet.experiments.profiles import check_profile
from alexnet.figures import diagrams, tables
from alexnet.figures.display import show
from alexnet.networks import anatomy, models
from alexnet.networks.layers import LocalResponseNorm, reference_response_norm
from alexnet.networks.models import build
from alexnet.records.specs import ImageSpec
from alexnet.statistics.board import rows as board_rows
from alexnet.training.preparation import Preparation
from alexnet.training.prepared import split_of

torch.set_grad_enabled(False)  # nothing is trained here
PROFILE = check_profile(PROFILE)
counts = anatomy.exact_counts()
exact = [row for row in board_rows([], counts) if row.question.effect == "exact"]
display(
    Markdown(
        " ".join(
            f"**{row.question.title}: {row.verdict.label}.** {row.verdict.reason}"
            for row in exact
            if row.question.primary
        )
    )
)
display(
    Markdown(
        "**The doubt.** "
        + " ".join(
            f"{row.question.condition_title[0].upper()}{row.question.condition_title[1:]}: {row.effect:,} counted, "
            f"{row.question.figure.value:,.0f} printed, {row.verdict.label}."
            for row in exact
            if not row.question.primary
        )
        + " A total may come out right where a part of it does not."
    )
)
show(*diagrams.shares(anatomy.learned_layers()))

# %% [markdown]
# ## What the network is
#
# A network is a function from pixels to scores, one score a class; the highest wins. It is a chain of simple functions,
# called layers, and some of them contain numbers that training adjusts: weights and biases, together the parameters.
#
# AlexNet has eight layers with parameters. Five are **convolutions**: a small window slides over the image, and at
# each place every kernel (a small block of weights) gives one number, the sum of products of its weights with what the
# window shows. A kernel thus makes a new image, called a map, that is bright wherever its pattern is found. Three are
# **fully connected**: each output is a weighted sum of all inputs.
#
# Between them stand layers without parameters:
#
# - **ReLU** replaces negative numbers by zero. Without such a bend, a chain of weighted sums would be no more than one
#   weighted sum.
# - **Pooling** keeps the largest number of each neighbourhood, so that maps shrink and small shifts don't matter.
# - **Response normalisation** weakens a response that has strong neighbours in other maps.
# - **Dropout** sets half of the numbers to zero at random, during training only, so that no unit can rely on another.
#
# In the library, `NetSpec` says which network, and `build` makes it. The layers carry the paper's numbers:

# %%
tables.show(
    anatomy.listing(anatomy.AS_WRITTEN),
    "AlexNet as written (section 3.5), with 1000 classes; outputs are maps x rows x columns",
    {"parameters": ",d"},
)

# %% [markdown]
# The definition of the network is this function; what it is told (`net`) names the deviations that the report tests.

# %%
tables.source(models._alexnet, models._after_convolution)

# %% [markdown]
# ## The image size that does not fit
#
# The paper says that its images have 224 pixels a side, and that the first convolution, whose kernels have 11 and move
# by 4 pixels at a time, gives maps of 55. How many places does such a window have?

# %%
cases = [(224, 0), (227, 0), (224, 2)]
tables.show(
    pd.DataFrame(
        [(side, padding, (places := anatomy.positions(side, padding=padding)), int(places)) for side, padding in cases],
        columns=["image side", "padding", "(side + 2 padding - 11) / 4 + 1", "places that fit"],
    ),
    f"Places along a side; figure 2 prints {anatomy.printed()['first_map_side']}",
)

# %% [markdown]
# With 224 pixels the last window would hang over the edge by a fraction of a step. To get 55 one needs images of 227,
# or two more pixels of padding at each side, as torchvision has it. We use 227 without padding.

# %% [markdown]
# ## The paper's numbers, recounted
#
# A **neuron**, in the paper's sense, is one output of a layer with parameters: a number in one map, at one place.
# Figure 2's caption lists how many each layer has, and the abstract gives the totals. Here they are beside ours.

# %%
recount = anatomy.against_the_paper()
recount["output"] = [" x ".join(map(str, shape)) if shape else None for shape in recount["output"]]
tables.show(
    recount.rename(columns={"neurons": "neurons, counted", "printed": "neurons, printed"}),
    "Neurons, parameters and multiply-adds of AlexNet as written, for one image",
    dict.fromkeys(["neurons, counted", "neurons, printed", "difference", "parameters", "multiply-adds"], ",d"),
)

# %%
printed = anatomy.printed()
rows = anatomy.against_the_paper().set_index("layer")["difference"].drop(["input", "all eight layers"])
first, listed = printed["neurons"]["conv1"], [n for name, n in printed["neurons"].items() if name != "input"]
stated = anatomy.stated("arch-neurons")
Markdown(
    f"""
{(rows == 0).sum()} of {len(rows)} layers agree to the last neuron. What does not agree:

- **The input.** The printed {printed["neurons"]["input"]:,} is 3 times {printed["image_side"]} times
  {printed["image_side"]}: the image size that does not fit.
- **The first layer.** It has 55 x 55 places and 96 kernels, so {counts["first-layer-neurons"]:,} neurons. The printed
  {first:,} is 55 x 48 x 96 (is it? **{first == 55 * 48 * 96}**): the number of kernels of one tower where the height of
  the map should be.
- **The sum.** The printed list adds up to {sum(listed):,}, which is not what the abstract says. The corrected list adds
  up to **{counts["neurons"]:,}**, and that, cut off, is the abstract's {stated:,}. So the abstract may rest on a right
  count, and only the caption may have gone wrong: a guess, which no count can prove.
- **The parameters.** {counts["parameters"]:,}, where the abstract has {anatomy.stated("arch-params") // 10**6} million.
"""
)

# %% [markdown]
# These counts need no runs, and the report judges them by the same fixed rule as everything else: a count is reproduced
# if rounding it, or cutting it off, at the last digit in print gives the printed figure.

# %%
tables.show(
    pd.DataFrame(
        [
            (row.question.title, row.question.condition_title, row.question.figure.value, row.effect, row.verdict.label)
            for row in exact
        ],
        columns=["claim", "what is counted", "printed", "counted", "verdict"],
    ),
    "The claims that are arithmetic",
    {"printed": ",.0f", "counted": ",d"},
)

# %% [markdown]
# Where are all these parameters? And where does the time go? A kernel of a convolution is used at every place of its
# map, a weight of a fully connected layer once an image. The picture at the top of this page shows both: its two sets
# of bars are nearly opposite. Convolutions are cheap to store and dear to compute, fully connected layers
# the other way round. Most room for overfitting, which is to learn training images by heart, is in the fully connected
# layers, and there the paper puts dropout (section 4.2).

# %% [markdown]
# ## Two towers
#
# The memory of a graphics card of 2012 was too small for this network and its batches. The authors split it over two
# cards (section 3.2): each holds half of the kernels of every layer, and the two exchange their maps before some layers
# only. Today one calls this a grouped convolution.

# %%
show(*diagrams.towers(anatomy.tower_links(), anatomy.learned_layers()))

# %% [markdown]
# Is it really so in the network that we build? Change what the second tower computes, and see whether the first one
# notices:

# %%
small = build(anatomy.AS_WRITTEN.model_copy(update={"form": "32", "width": 0.25}), side=32).eval()
rows = []
for name in ("conv2", "conv3", "conv4", "conv5"):
    layer = dict(small.named_children())[name]
    maps = torch.randn(1, layer.in_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    changed = maps.clone()
    changed[:, layer.in_channels // 2 :] = 0
    before, after = (layer(given)[:, : layer.out_channels // 2] for given in (maps, changed))
    rows.append((name, not torch.equal(before, after)))
tables.show(pd.DataFrame(rows, columns=["layer", "first tower notices the second"]), "Is the split real?")

# %% [markdown]
# ## Local response normalisation
#
# With $a^i$ the response of map $i$ at some place, after the ReLU, and $N$ maps, section 3.3 defines
#
# $$b^i = a^i \Big/ \Big(k + \alpha \sum_{j=\max(0,\,i-n/2)}^{\min(N-1,\,i+n/2)} (a^j)^2\Big)^{\beta}
# \qquad k = 2,\; n = 5,\; \alpha = 10^{-4},\; \beta = 0.75.$$
#
# In words: at each place, divide a response by something that grows with the squares of its neighbours, two maps to
# either side. The order of the maps has no meaning at first; neighbourhoods are given, and training fills them. The
# definition, map by map in double precision, as the library has it to test its fast forms against:

# %%
tables.source(reference_response_norm)

# %%
responses = np.full(16, 20.0)
responses[8] = 300.0
normalised = reference_response_norm(torch.tensor(responses).view(1, 16)).numpy()[0]
show(*diagrams.norm_at_work(responses, normalised))

# %% [markdown]
# The strong response is damped, and so are its neighbours, though they are no stronger than the rest: they compete.
#
# The library computes the same in single precision, much faster. Does it compute the same?

# %%
random = 100 * np.abs(np.random.default_rng(2012).standard_normal((1000, 96)))
slow = reference_response_norm(torch.tensor(random)).numpy()
fast = LocalResponseNorm()(torch.tensor(random, dtype=torch.float32).view(1000, 96, 1, 1)).view(1000, 96).double()
error = np.abs(fast.numpy() / slow - 1).max()
Markdown(f"Largest relative difference over {slow.size:,} responses below one in a million: **{error < 1e-6}**.")

# %% [markdown]
# One symbol is ambiguous in practice. As printed, $\alpha$ multiplies the *sum* of squares. The original code, and
# after it Caffe and torch, multiply the *mean* of the window, which is five times less. Does that matter? It depends on
# how strong responses are. If a unit and its neighbours all respond alike:

# %%
activity = np.logspace(0, 3.5, 200)
conventions = {"alpha times the sum": 5, "alpha times the mean": 1}  # by what alpha times a^2 is multiplied
curves = {name: (activity, (2 + 1e-4 * times * activity**2) ** -0.75) for name, times in conventions.items()}
ceiling = 2**-0.75
half = {name: (2 * (2 ** (1 / 0.75) - 1) / (1e-4 * times)) ** 0.5 for name, times in conventions.items()}
show(*diagrams.norm_curves(curves, ceiling, half))

# %% [markdown]
# For weak responses the normalisation is nothing but a constant factor. Whether it does anything depends on the scale
# of the inputs and of the weights, and that brings us to the difference between the paper and its code.

# %% [markdown]
# ## Overlapping pooling
#
# Pooling windows usually tile the map: two pixels wide, two apart. The paper's are three wide and still two apart, so
# that neighbours overlap (section 3.4). On a line of thirteen pixels:

# %%
line = torch.arange(13.0).view(1, 1, 1, 13)
rows = []
for name, width in (("plain", 2), ("overlapping", 3)):
    last = nn.MaxPool1d(width, 2)(line[0]).flatten().long().tolist()  # the largest of a window is its last pixel
    rows.append((name, len(last), "  ".join(f"{end - width + 1}-{end}" for end in last)))
tables.show(pd.DataFrame(rows, columns=["pooling", "windows", "pixels of each window"]), "Two ways to halve a map")

# %% [markdown]
# ## As written, and as run
#
# Both networks, layer by layer. The table comes from building both and listing what is in them; rows that differ are
# marked.

# %%
compared = anatomy.side_by_side(anatomy.AS_WRITTEN, anatomy.AS_RUN, ("as written", "as run"))
compared["differs"] = ["" if same else "differs" for same in compared.pop("same")]
tables.show(compared, "AlexNet as written and as run")

# %% [markdown]
# In the first layer, normalisation and pooling come before the ReLU in the code. Pooling may change places with it,
# because the larger of two numbers stays the larger when negatives become zero; normalisation may not, since it then
# also sees the negative responses. In the second layer the code has one more normalisation, over the pixels of a map.
#
# The recipe differs as well; which of the two a run follows is part of its specification.

# %%
recipe = pd.DataFrame(anatomy.printed()["difference"])
recipe.columns = ["item", "as written", "as run", "set by, in a RunSpec"]
tables.show(recipe, "The recipe as written and as run")

# %% [markdown]
# ## The initial weights, and what becomes of a signal
#
# Before training, weights are random: normally distributed with a standard deviation of 0.01, says section 5. The code
# has 0.03 in three layers. It looks like a detail.
#
# A neuron with $m$ inputs adds up $m$ products with weights of standard deviation $\sigma$. The root mean square of
# what comes out is that of what goes in times
#
# $$\text{gain} = \sigma \sqrt{m / 2},$$
#
# where the ReLU accounts for the 2, because it discards half of the squares (the last layer has none, so no 2 there).

# %%
written, run = anatomy.initial_values(anatomy.AS_WRITTEN), anatomy.initial_values(anatomy.AS_RUN)
both = written.rename(columns={"std": "std, written", "gain": "gain, written"})
both["std, run"], both["gain, run"] = run["std"], run["gain"]
tables.show(
    both[["layer", "inputs", "bias", "std, written", "gain, written", "std, run", "gain, run"]],
    "How each layer starts, and by what it multiplies a signal",
    {"inputs": ",d", "bias": ".0f", **dict.fromkeys(both.filter(like=", "), ".2f")},
)

# %%
product, product_run = anatomy.total_gain(anatomy.AS_WRITTEN), anatomy.total_gain(anatomy.AS_RUN)
split = split_of("cifar10")
spread = split.statistics.spread
Markdown(
    f"The product of all gains is **{product:.2g}** as written and **{product_run:.2g}** as run, "
    f"**{product_run / product:.0f} times** as much. As written, the largest gain is {written['gain'].max():.2f}, "
    "below one: of a signal that enters, almost nothing arrives. Inputs scaled to unit variance, as is the custom "
    f"today, lose another factor of {spread:.0f} against pixels on 0 to 255."
)

# %% [markdown]
# That is the arithmetic of weights alone. Real layers also have biases of one (which lift all images alike),
# normalisation (which weakens even the weakest response) and pooling (which favours large values). So let us measure.
# Some photographs of CIFAR-10, enlarged to 227 pixels, go through fresh networks of both kinds, on both scales of
# inputs. Of interest is what *differs* from image to image, since a network can only tell apart what differs: the
# standard deviation over images, averaged over the neurons of a layer.

# %%
count = 8
photographs = torch.from_numpy(split.dataset.train_images[split.train[:count]])
networks = {
    "as written": anatomy.AS_WRITTEN.model_copy(update={"classes": 10}),
    "as run": anatomy.AS_RUN.model_copy(update={"classes": 10}),
}
fresh = {name: build(net, anatomy.SIDE) for name, net in networks.items()}
scalings = {"0..255": "mean-image", "unit variance": "mean-image-unit"}
measured = {}
for scale, scaling in scalings.items():
    prepare = Preparation(ImageSpec(scaling=scaling, resize=anatomy.SIDE), split.statistics, torch.device("cpu"))
    inputs = prepare(photographs, prepare.centre(count))
    for name, model in fresh.items():
        measured[f"{name}, {scale}"] = anatomy.signal(model, inputs)
signals = pd.DataFrame(measured).map(lambda value: float(f"{value:.1e}"))  # two digits are the same on every machine
show(*diagrams.signals(signals))

# %%
signals.index.name = "layer"
tables.show(signals, f"Standard deviation over {count} images, in fresh networks", dict.fromkeys(signals, ".2g"))

# %%
last = signals.iloc[-1]
strongest, weakest = last["as run, 0..255"], last["as written, unit variance"]
Markdown(
    f"From the best case to the worst it is a factor of about {float(f'{strongest / weakest:.1g}'):,.0f}. Scores that "
    f"differ by {weakest:.1g} from image to image are, to the loss function, all the same, and the gradients that come "
    "back pass the same weak layers. Several public reimplementations report that the paper's initialisation does not "
    "train. The four lines show what that may hang on: an input scale that the paper takes for granted, and the "
    "weights of three layers, of which the paper says something else than its code. Whether the network trains all "
    "the same is a question for runs, not for arithmetic."
)

# %% [markdown]
# ## The AlexNet that most people use
#
# `torchvision.models.alexnet` is a later variant, from a paper about spreading training over many machines: one tower,
# fewer kernels in three layers, no normalisation, padding in place of the larger image, dropout before instead of after
# the fully connected layers. Measured against it, a result is not a result about the network of 2012.

# %%
compared = anatomy.side_by_side(anatomy.AS_WRITTEN, anatomy.TORCHVISION, ("as written", "torchvision"))
compared["differs"] = ["" if same else "differs" for same in compared.pop("same")]
tables.show(compared, "AlexNet as written and torchvision's")

# %%
networks = {
    "as written, 1000 classes": (anatomy.AS_WRITTEN, 227),
    "as written, one tower, 10 classes": (anatomy.AS_WRITTEN.model_copy(update={"towers": "full", "classes": 10}), 227),
    "as written, one tower of half the kernels": (anatomy.AS_WRITTEN.model_copy(update={"towers": "half"}), 227),
    "torchvision's, 1000 classes": (anatomy.TORCHVISION, 224),
}
rows = []
for name, (net, side) in networks.items():
    layers = anatomy.learned_layers(net, side)
    rows.append((name, *(int(layers[column].sum()) for column in ("parameters", "neurons", "multiply-adds"))))
columns = ["network", "parameters", "neurons", "multiply-adds"]
tables.show(pd.DataFrame(rows, columns=columns), "Four networks of one name", dict.fromkeys(columns[1:], ",d"))

# %% [markdown]
# ## Play with it
#
# Change the network, and count again: another width, one tower in place of two (`towers="full"`), plain pooling, a
# layer less (`without="conv4"`). Nothing is trained, so it takes a moment.

# %%
CHANGE = {"without": "conv4"}

changed = anatomy.AS_WRITTEN.model_copy(update=CHANGE)
columns, networks = ["parameters", "multiply-adds"], {"as written": anatomy.AS_WRITTEN, "changed": changed}
lines = [(name, *anatomy.layers(net)[columns].sum()) for name, net in networks.items()]
caption = f"What the change {CHANGE} does to the counts"
tables.show(pd.DataFrame(lines, columns=["network", *columns]), caption, dict.fromkeys(columns, ",d"))

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Most of the network's weights are in one layer. Which, and why?</summary>
#
# In the first fully connected layer: each of its 4,096 units is connected to every one of the 9,216 values that the
# last pooling leaves. A convolution has few weights, because it uses the same ones at every place of a map. With the
# arithmetic it is the other way round: a convolution's few weights are used at thousands of places.
#
# </details>
#
# <details class="question"><summary>Predict: if the two towers were joined into one network of full width, what would
# change, the number of weights or the number of neurons?</summary>
#
# The weights, and the multiply-adds with them. A neuron of conv2, conv4 and conv5 would see the maps of both towers,
# twice as many, so these layers would have twice the weights. The number of maps, and of neurons in them, stays.
#
# </details>
#
# <details class="question"><summary>Why does it matter whether alpha is divided by the size of the window?</summary>
#
# The sum over the window is multiplied by alpha, and alpha is what says how strongly loud neighbours dampen a
# response. Divided by five, the same responses count a fifth: they must be √5 times as strong to be dampened as
# much. Both conventions print the same number, so two people who copy it may train two networks.
#
# </details>

# %% [markdown]
# ## In short
#
# - The printed counts are right but for two slips, of the image size and of the first layer, and the totals stand.
# - The paper's text and its code are two networks. Where this report tests one of them, it says which.
# - Initial weights and input scale both decide how much of a signal arrives, and how strong it is decides what
#   normalisation does to it.
