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
# # The data
#
# AlexNet was made for ImageNet: over a million photographs of a thousand kinds of things. That data set is large, and
# only handed out on request, so most readers cannot run the paper's experiments on it. This report asks its questions
# of **CIFAR-10**, on which the paper itself tests its activation (section 3.1) and its normalisation (section 3.3),
# and, for one published reimplementation, of **MNIST**.
#
# Here you see what these images are, how we know that they are the right ones, how they are split, and what happens to
# an image between the file and the network. Nothing is trained on this page.

# %% tags=["parameters"]
PROFILE = "cpu"  # whose runs are shown: smoke, cpu or gpu (this notebook shows none)
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: leave the committed records aside

# %%
import dataclasses
import hashlib

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from PIL import Image

from alexnet.data import datasets, sources
from alexnet.experiments import starts
from alexnet.experiments.profiles import check_profile
from alexnet.figures import diagrams, tables
from alexnet.figures.display import show
from alexnet.networks import anatomy
from alexnet.records.specs import NAMES, ImageSpec, RunSpec
from alexnet.runs.planning import SCALINGS
from alexnet.training import prepared
from alexnet.training.batches import Batches, Images
from alexnet.training.preparation import Preparation

check_profile(PROFILE)
cifar10, mnist = datasets.load("cifar10"), datasets.load("mnist")
hashes = {(of.name, name): sources.array_hash(getattr(of, name)) for of in (cifar10, mnist) for name in of.hashes}
right = [hashes[of.name, name] == expected for of in (cifar10, mnist) for name, expected in of.hashes.items()]


def first_of_each_class(dataset, count):
    """Images [classes * count, H, W, C]: the first `count` training images of each class."""
    places = [np.flatnonzero(dataset.train_labels == label)[:count] for label in range(len(dataset.classes))]
    return dataset.train_images[np.concatenate(places)]


display(
    Markdown(
        f"**{sum(right)} of {len(right)} arrays are, to the last bit, the ones the library expects**: "
        f"{len(cifar10.train_images):,} images of CIFAR-10 to train on and {len(cifar10.test_images):,} to test on, "
        f"{len(mnist.train_images):,} and {len(mnist.test_images):,} of MNIST, with their labels."
    )
)
display(
    Markdown(
        "**The doubt.** At this size a horse is a few brown patches on green. Whatever a network learns here, it does "
        "not learn from the fine detail that ImageNet offers, and no figure of the paper on ImageNet can be expected "
        "to come out as it is printed."
    )
)
show(
    diagrams.gallery(first_of_each_class(cifar10, 10), rows=cifar10.classes, heading="What does CIFAR-10 look like?"),
    f"Ten rows of ten small colour photographs, a row a class: {', '.join(cifar10.classes)}. Objects fill most of the "
    "frame, in the middle, before all kinds of backgrounds.",
)

# %% [markdown]
# The first ten images of each class, as they stand in the file.
#
# ## What the paper had, and what we have
#
# A data set is four arrays: images and labels to train on, images and labels to test on. An image is a block of
# numbers from 0 (dark) to 255 (bright), height by width by channel; a label is the number of a class.

# %%
COLOURS = {1: "grey", 3: "colour"}  # by number of channels
theirs = anatomy.printed()["imagenet"]
had = {
    "data set": "ImageNet (ILSVRC), the paper's",
    "classes": theirs["classes"],
    "training images": theirs["training_images"],
    "test images": theirs["test_images"],
    "pixels": f"{theirs['side']}x{theirs['side']}, colour",
}
have = [
    {
        "data set": datasets.DESCRIPTIONS[ours.name].title,
        "classes": len(ours.classes),
        "training images": len(ours.train_images),
        "test images": len(ours.test_images),
        "pixels": "{}x{}, {}".format(*ours.train_images.shape[1:3], COLOURS[ours.train_images.shape[3]]),
    }
    for ours in (cifar10, mnist)
]
tables.show(
    pd.DataFrame([had, *have]),
    "The data sets in numbers; the first row as section 2 of the paper states them",
    {"classes": ",d", "training images": ",d", "test images": ",d"},
)

# %% [markdown]
# ## The digits
#
# MNIST is easier: single handwritten digits, white on black, centred. Where a network wants colour, the grey channel is
# repeated three times.

# %%
show(
    diagrams.gallery(first_of_each_class(mnist, 5), columns=10, heading="What does MNIST look like?"),
    f"{5 * len(mnist.classes)} handwritten digits, five of each class from {mnist.classes[0]} to {mnist.classes[-1]}, "
    "white on black.",
)

# %% [markdown]
# ## Where they come from, and how we know they are right
#
# Not everybody can reach every host, so each data set has a chain of sources. They are tried in order until one
# answers, except that a folder which you name yourself is never passed over in silence.

# %%
chain = [("a folder you name (make LOCAL=folder, or ALEXNET_LOCAL)",) * 2]
for (title, _), detail in zip(sources.DOWNLOADS, ("torchvision_class", "package"), strict=True):
    chain.append(tuple(f"{title}: {getattr(datasets.DESCRIPTIONS[name], detail)}" for name in ("cifar10", "mnist")))
tables.show(pd.DataFrame(chain, columns=["CIFAR-10", "MNIST"], index=pd.RangeIndex(1, 4, name="order")), "Sources")

# %% [markdown]
# The files differ from source to source: pickled batches here, PNG pictures there. What must not differ is what they
# decode to. The SHA-256 hash of an array changes beyond recognition when a single bit does, so the hashes that the
# library expects are written into it, and images that do not match are refused. This page computed the hashes anew,
# from the arrays in memory.

# %%
rows = []
for dataset in (cifar10, mnist):
    for name, expected in dataset.hashes.items():
        found = hashes[dataset.name, name]
        shape = " x ".join(map(str, getattr(dataset, name).shape))
        rows.append((NAMES[dataset.name], name.replace("_", " "), shape, found[:16], found == expected))
tables.show(
    pd.DataFrame(rows, columns=["data set", "array", "shape", "SHA-256, first 16 digits", "as expected"]),
    "The arrays, each of unsigned 8-bit integers",
)

# %% [markdown]
# ## Three splits with three jobs
#
# A network must be judged on images it has not seen, and so must every choice we make about it. The learning rate of
# an experiment, say, is chosen by us after looking at results; if we chose it by the test images, the test error would
# flatter us. So there are three parts:
#
# - **training** images change the weights;
# - **validation** images, taken out of the official training set, are for choosing and stopping;
# - **test** images are looked at once a run, at its end. Some runs of published reimplementations note the test error
#   after each epoch, as their authors did; nothing is chosen by it here.
#
# The validation part is drawn once and for all, in proportion to the classes.

# %%
training, validation = datasets.split(cifar10.train_labels)
counts = pd.DataFrame(
    {
        "training": np.bincount(cifar10.train_labels[training]),
        "validation": np.bincount(cifar10.train_labels[validation]),
        "test": np.bincount(cifar10.test_labels),
    },
    index=pd.Index(cifar10.classes, name="class"),
)
counts.loc["all classes"] = counts.sum()
tables.show(counts, "Images of each class of CIFAR-10 in each part", dict.fromkeys(counts, ",d"))

# %%
overlap = np.intersect1d(training, validation)
Markdown(
    f"No image is in both the training and the validation part: they share {len(overlap)} places, and together they "
    f"fill all {len(np.union1d(training, validation)):,} places of the official training set."
)

# %% [markdown]
# Could the same picture stand in the file twice, once to train on and once to test on? Comparing the bytes finds exact
# copies. It does not find a picture that was cropped or brightened, so the answer is a lower bound.


# %%
def fingerprints(images):
    """One hash an image."""
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]


trained, tested = fingerprints(cifar10.train_images), fingerprints(cifar10.test_images)
shared = set(trained) & set(tested)
Markdown(
    f"Of the {len(tested):,} test images of CIFAR-10, **{sum(print_ in shared for print_ in tested)}** are byte for "
    f"byte in the official training set as well. Within the training set, {len(trained) - len(set(trained))} images "
    f"repeat another, and within the test set {len(tested) - len(set(tested))}."
)

# %% [markdown]
# ## The mean image
#
# The paper's preprocessing is one sentence long (section 2): subtract from each pixel its mean over the training set.
# The mean of all training images is a picture itself.

# %%
pixel = prepared.split_of(
    "cifar10"
).statistics  # of the training part only: nothing of it comes from validation or test images
mean = pixel.mean_image.numpy()
horses = training[cifar10.train_labels[training] == cifar10.classes.index("horse")]
example = cifar10.train_images[horses[0]]


def visible(values):
    """Floats -> uint8, rounded and cut off at black and white."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


contrast = visible(mean.mean() + 4 * (mean - mean.mean()))
centred = visible((example - mean) / 2 + 127.5)  # half the contrast, grey where the difference is zero
centre, edge = mean[12:20, 12:20].mean(), np.concatenate([mean[0], mean[-1], mean[:, 0], mean[:, -1]]).mean()
show(
    diagrams.gallery(
        [example, visible(mean), contrast, centred],
        ["an image", "the mean image", "with 4 times the contrast", "image less mean"],
        columns=4,
        size=1.6,
        heading="What does the network see?",
    ),
    "A brown horse on green; the mean of all training images, a smooth blur, bright at the top and brownish in "
    f"the middle ({centre:.0f} of 255 there, {edge:.0f} at the edge); and the horse less the mean, with half the "
    "contrast, hardly changed.",
)

# %% [markdown]
# ## Scale matters more than it seems
#
# The original code subtracted the mean and left it at that, so pixels reached the network on a scale of hundreds. Most
# code written since divides by the standard deviation as well. The library has both, and a third that is common today,
# the standardisation channel by channel.

# %%
cpu = torch.device("cpu")
sample = torch.from_numpy(cifar10.train_images[training[:2000]])
rows = []
for scaling in ("mean-image", "mean-image-unit", "standardised"):
    prepare = Preparation(ImageSpec(scaling=scaling), pixel, cpu)
    values = prepare(sample, prepare.centre(len(sample))).double()
    rows.append(
        (SCALINGS[scaling], values.min().item(), values.max().item(), values.mean().item(), values.std().item())
    )
tables.show(
    pd.DataFrame(rows, columns=["scaling", "smallest", "largest", "mean", "standard deviation"]),
    f"What {len(sample):,} training images look like to the network",
    dict.fromkeys(["smallest", "largest", "mean", "standard deviation"], ".2f"),
)

# %%
Markdown(
    f"Between the first two rows lies a factor of {pixel.spread:.0f}. It looks like a matter of taste, but initial "
    "weights are drawn on an absolute scale (section 5), and so every layer of a fresh network receives weaker "
    "signals, the first by that factor. [The next notebook](02_faithful_model.ipynb) follows it through the layers."
)

# %% [markdown]
# Much public code has the channel statistics of CIFAR-10 typed in. They belong to the whole official training set, our
# own to the training part of it. Both can be computed exactly, because a byte has only so many values: count how often
# each occurs, and take the moments of the counts.

# %%
# red, green and blue on a scale of 0 to 1
IN_PUBLIC_CODE = {"mean": (0.4914, 0.4822, 0.4465), "standard deviation": (0.2470, 0.2435, 0.2616)}


def moments(images):
    """Mean and standard deviation of each channel on a scale of 0 to 1, two arrays of [C]."""
    levels = np.arange(256) / 255
    counts = np.reshape(Image.fromarray(images.reshape(-1, *images.shape[2:])).histogram(), (-1, len(levels)))
    shares = counts / counts.sum(axis=1, keepdims=True)
    means = shares @ levels
    return means, np.sqrt(shares @ levels**2 - means**2)


whole, part = moments(cifar10.train_images), moments(cifar10.train_images[training])
rows = []
for place, statistic in enumerate(IN_PUBLIC_CODE):
    for channel, colour in enumerate(("red", "green", "blue")):
        typed = IN_PUBLIC_CODE[statistic][channel]
        rows.append((statistic, colour, typed, whole[place][channel], part[place][channel]))
columns = ["statistic", "channel", "in public code", "all training images", "our training part"]
tables.show(pd.DataFrame(rows, columns=columns), "Channel statistics of CIFAR-10", dict.fromkeys(columns[2:], ".4f"))

# %%
off = max(abs(computed - typed) for *_, typed, computed, _ in rows)
Markdown(f"Do the typed-in values agree with the computed ones to the digits they have? **{off < 0.00005 + 1e-9}.**")

# %% [markdown]
# ## More images than there are
#
# The paper fights overfitting with images that are made up on the fly (section 4.1). A horse moved by a few pixels, or
# seen in a mirror, is still a horse. So each time an image comes up, the network gets another version of it.
#
# **Crops.** The paper cuts squares of 224 pixels at random out of images of 256. In about the same proportion, and so
# that the maps behind both kinds of pooling are equally large, our networks for images of this size see these squares:

# %%
paper = anatomy.printed()
side = cifar10.train_images.shape[1]
crop = starts.START_32.images.crop
room = side - crop
frames = {"upper left": (0, 0), "centre": (room // 2, room // 2), "lower right": (room, room)}
show(
    diagrams.framed(example, frames, crop, f"Where can a crop of {crop} of {side} pixels lie?"),
    f"A horse of {side} pixels a side with the outlines of three crops of {crop} pixels: they overlap almost wholly.",
)

# %%
places, theirs = (room + 1) ** 2, paper["image_side_before_crop"] - paper["image_side"]
Markdown(
    f"A crop can start in {room + 1} rows and {room + 1} columns; with its reflection, an image has {2 * places} "
    f"versions. The paper says that its training set grew by a factor of {paper['crop_factor']:,}. That is {theirs} "
    f"times {theirs} times 2, one place too few each way: squares of {paper['image_side']} pixels fit into "
    f"{paper['image_side_before_crop']} at {theirs + 1} places a side, which makes {2 * (theirs + 1) ** 2:,}. The "
    "versions are so alike that neither number says how much new they hold."
)

# %% [markdown]
# **What the network gets.** The same image in eight epochs, each time with a crop and a reflection of its own. We give
# the library's preparation a mean image of zeros here, so that what comes out can be shown as a picture.

# %%
plain = dataclasses.replace(pixel, mean_image=torch.zeros_like(pixel.mean_image))
eight = torch.from_numpy(np.repeat(example[None], 8, axis=0))


def versions(spec, seed):
    """uint8 images [8, S, S, C]: the example as eight draws of the augmentation that `spec` describes."""
    prepare = Preparation(spec, plain, cpu)
    return diagrams.to_pixels(prepare(eight, prepare.draw(8, torch.Generator().manual_seed(seed))))


moved = versions(ImageSpec(scaling="mean-image", crop=crop, flip=True), seed=1)
different = len({version.tobytes() for version in moved})
show(
    diagrams.gallery(moved, columns=8, heading="What do random crops and reflections give?"),
    f"Eight versions of a horse, {different} of them different: moved by a few pixels, and some facing the other way.",
)

# %% [markdown]
# **Colours.** Light differs from photograph to photograph: dimmer, bluer. The paper finds out in which directions
# colours vary most over the training set, the principal components of red, green and blue, and shifts each image by a
# random amount along them.

# %%
axes = pixel.colour_axes.numpy()[:, ::-1]  # strongest first
lengths = np.linalg.norm(axes, axis=0)
tables.show(
    pd.DataFrame(
        {
            "standard deviation": lengths,
            "share of variance": lengths**2 / (lengths**2).sum(),
            **{colour: axes[channel] / lengths for channel, colour in enumerate(("red", "green", "blue"))},
        },
        index=pd.Index(["first", "second", "third"], name="component"),
    ),
    "Principal components of the colours of CIFAR-10, on a scale of 0 to 255",
    {"standard deviation": ".1f", "share of variance": ".1%", "red": ".2f", "green": ".2f", "blue": ".2f"},
)

# %%
steps = (-1, -0.5, 0, 0.5, 1)
show(
    diagrams.gallery(
        diagrams.colour_shifts(example, axes, steps),
        [f"{step:+g} sd" if step else "as it is" for step in steps] * 3,
        columns=len(steps),
        rows=["first", "second", "third"],
        size=0.9,
        heading="Along which directions do colours vary?",
    ),
    f"A horse shifted along each component by up to a standard deviation. The first, with "
    f"{lengths[0] ** 2 / (lengths**2).sum():.0%} of the variance, is brightness; the second goes from blue to orange; "
    "the third, from green to purple, is the weakest.",
)

# %% [markdown]
# We draw the amounts with a standard deviation of a tenth of each component's own. The paper writes a tenth of its
# eigenvalue, which is a variance; on pixels of 0 to 255 that would drown the image, so we read it as the deviation.
# Small as that is, the paper credits it with a point of top-1 error. Eight draws of it, and below them the same draws
# five times as strong:

# %%
noise = paper_noise, strong_noise = 0.1, 0.5
both = np.concatenate([versions(ImageSpec(scaling="mean-image", colour=amount), seed=2) for amount in noise])
largest = [np.abs(part.astype(int) - example).max() for part in np.split(both, 2)]
show(
    diagrams.gallery(
        both, columns=8, rows=[f"noise of {amount:g}" for amount in noise], heading="What does colour noise look like?"
    ),
    f"Eight versions of a horse with colour noise of {paper_noise:g}, hardly to be told apart (no pixel moves by more "
    f"than {largest[0]} of 255), and with noise of {strong_noise:g}, some darker, some brighter (up to {largest[1]}).",
)

# %% [markdown]
# **Ten crops.** At test time nothing is random. The paper cuts the four corners and the centre out of an image, takes
# the reflection of each, and averages what the network says about the ten.

# %%
prepare = Preparation(ImageSpec(scaling="mean-image", crop=crop, flip=True), plain, cpu)
ten = np.concatenate([diagrams.to_pixels(prepare(eight[:1], view)) for view in prepare.ten_crops(1)])
corners = ["upper left", "upper right", "lower left", "lower right", "centre"]
show(
    diagrams.gallery(
        np.concatenate([ten[0::2], ten[1::2]]),
        corners * 2,
        columns=5,
        rows=["as it is", "reflected"],
        size=0.9,
        heading="What are the ten crops?",
    ),
    f"A horse ten times: {', '.join(corners)}, each as it is and reflected.",
)

# %% [markdown]
# ## A batch
#
# Networks are trained on batches, here 128 images at a time. All images lie in memory as bytes; a batch becomes
# floating-point numbers only when its turn comes, all at once. The first batch of the first epoch, as a network under
# the original conditions gets it, and a few of its images:

# %%
spec = RunSpec(images=ImageSpec(scaling="mean-image", crop=crop, flip=True, colour=0.1))
batch, labels = prepared.prepare(spec, cpu).loaders().train.one_batch()
rows = [
    ("images", "images x channels x rows x columns", " x ".join(map(str, batch.shape)), str(batch.dtype)[6:]),
    ("labels", "numbers of classes", str(len(labels)), str(labels.dtype)[6:]),
]
tables.show(pd.DataFrame(rows, columns=["part", "axes", "shape", "numbers are"]), "A batch")

# %%
images = Images.of(cifar10.train_images, cifar10.train_labels, cifar10.classes, cpu)
shown = Batches(images, Preparation(spec.images, plain, cpu), indices=training, shuffle=True, seed=spec.seed)
pictured, pictured_labels = shown.one_batch()
names = [cifar10.classes[label] for label in pictured_labels[:16].tolist()]
show(
    diagrams.gallery(diagrams.to_pixels(pictured[:16]), names, columns=8, heading="What is in the first batch?"),
    f"The first 16 images of a batch with their classes, in random order: {', '.join(names)}.",
)

# %% [markdown]
# Chance enters a run in four places: the initial weights, the order of the images, their augmentation, and dropout. All
# four follow from one number, the seed. That is what makes it possible to compare two networks fairly (the same images
# in the same order, the same crops), to resume a run that was stopped, and to check a result years later.


# %%
def first_batch(seed, epoch):
    """A hash of the first batch of an epoch of a run with that seed."""
    train = prepared.prepare(spec.with_(seed=seed), cpu).loaders().train
    train.epoch = epoch
    images, labels = train.one_batch()
    return hashlib.sha256(images.contiguous().numpy().tobytes() + labels.numpy().tobytes()).hexdigest()


tables.show(
    pd.DataFrame(
        [
            ("same seed, same epoch", first_batch(0, 0) == first_batch(0, 0)),
            ("same seed, next epoch", first_batch(0, 0) == first_batch(0, 1)),
            ("another seed", first_batch(0, 0) == first_batch(1, 0)),
        ],
        columns=["two first batches", "equal, bit for bit"],
    ),
    "When are two batches the same?",
)

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Why are the validation images taken from the training set and not from the test
# set?</summary>
#
# Because something is chosen by them: a learning rate, say. What has been chosen on images looks better on these very
# images than on others. The test set is kept for one look at the end, so that its error is an honest guess at the
# error on images that nobody has seen.
#
# </details>
#
# <details class="question"><summary>The first batch of two seeds differs, and of two runs with one seed it is the
# same bit for bit. What is that good for?</summary>
#
# Two arms that share a seed see the same images in the same order and, where both have them, the same crops and
# reflections. What differs between them is then what was changed, and the learning rate where each arm has its own; the
# noise that both share drops out of their difference. That is why effects here are computed from pairs.
#
# </details>
#
# <details class="question"><summary>Would you expect a larger effect of crops and reflections on CIFAR-10 or on
# ImageNet?</summary>
#
# CIFAR-10 has far fewer images, which speaks for CIFAR-10: a network can learn them by heart sooner. But it must be a
# network that comes near to that. One that has not yet learned its training images gains nothing from being kept from
# it, whatever the data.
#
# </details>

# %% [markdown]
# ## What this data cannot tell
#
# - **It is not ImageNet.** Claims about ImageNet that we test on CIFAR-10 are tested on other images, far fewer classes
#   and fewer examples. The size of an effect is not compared with the paper's there: half of the paper's figure, where
#   it has one, is what an effect must come to, and a star marks each such figure.
# - **The images are small.** Where the network wants 227 pixels a side, we enlarge. That fits the layers, but adds no
#   detail: what the paper says about fine structure cannot be confirmed or refuted here.
# - **Top-5 error means little among ten classes**, where guessing alone is right half of the time.
# - **One test set.** It has been used by a whole field for years. We choose nothing by it, but we know what worked on
#   it for others.
#
# The claims about ImageNet's own numbers stay in the report as "not tested", so that nobody has to look for them.
