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
# # Transfer learning
#
# What most people do with AlexNet today is not to train it. They take layers that were trained on ImageNet and use them
# for a task of their own, with far fewer labelled images. Here the task is CIFAR-10, and the question is what the
# layers are worth: in accuracy, and in labelled images that one need not have.

# %% tags=["parameters"]
PROFILE = "cpu"  # smoke, cpu or gpu: which records are read
SEEDS = None  # seeds an arm; None: the profile's own number
FRESH = False  # True: read the records of a fresh run instead of the committed ones

# %%
from alexnet import paths
from alexnet.experiments import profiles
from alexnet.records.store import Store
from alexnet.report import transfer_report

store = Store(paths.runs_folder(PROFILE, FRESH))
runs = [(p, record) for p, record in profiles.records(PROFILE, store, SEEDS) if p.claim == "transfer"]
transfer_report.answer(runs)
transfer_report.state(PROFILE, runs)

# %% [markdown]
# ## Four ways
#
# All with torchvision's AlexNet on images enlarged to 224 pixels:
#
# - **a new classifier** on frozen convolutional layers;
# - **a linear probe**: nothing but one linear layer on them;
# - **fine-tuning** of everything, the lower layers at lower learning rates and released one group after the other
#   (fastai's discriminative rates and gradual unfreezing);
# - **a random start**: the same network without ImageNet, for comparison.
#
# Frozen layers and the random start are trained **with fewer and fewer labelled images**, where one expects transfer to
# matter most; fine-tuning, whose runs are long, with two numbers of them in the cpu profile.

# %% [markdown]
# ## What has been called transfer
#
# One of the published reimplementations has "pre-training" and "fine-tuning" in its table. No ImageNet weights are
# involved in its figures: both stages train on CIFAR-10. It is the figure to beat, because it shows what the same
# network reaches without transfer, and it is no measure of transfer.

# %%
transfer_report.published_row()

# %% [markdown]
# ## Where the weights come from
#
# Every array is compared with a hash that is written in the code, so it does not matter which source answers. Weight
# files of others can be dangerous: a pickle may run code when it is opened. So a torch file is read with
# `weights_only=True`; the registry's file is opened only if it is, to the last bit, the one that was read before, and
# only by a reader that admits numpy arrays and nothing else. What has been tampered with is refused.

# %%
transfer_report.sources(runs)

# %% [markdown]
# Only the convolutional layers are used. The registry's package lacks the others, and a new task needs a classifier of
# its own anyway.

# %%
transfer_report.network()

# %% [markdown]
# ## What is compared
#
# Each approach trains on the same images with the same reflections for a given number of images; batches and epochs
# stand in the table. In the cpu profile fine-tuning, whose every epoch runs through the convolutional layers, gets
# smaller batches and fewer epochs. A random start had fewer epochs at first, too, which showed what few steps cost and
# not what ImageNet's layers are worth. It is compared only where it made as many steps as the frozen approaches, with
# rates chosen anew; its first runs stay in the tables under their own name. With frozen layers the features of each
# image and of its reflection are computed once, and an epoch then takes seconds to a minute. The images of a smaller
# set are drawn anew for each seed, every class in proportion, and are the same for all approaches.
#
# Learning rates are chosen by the error on validation images. Where a run is short they are chosen for several numbers
# of images; a number of images between takes the rate of the next smaller one.

# %%
transfer_report.approaches(PROFILE)

# %%
transfer_report.rates(runs)

# %% [markdown]
# ## All labelled images

# %%
transfer_report.overview(runs)

# %%
transfer_report.epochs(PROFILE, runs)

# %% [markdown]
# ## Fewer labelled images
#
# The picture at the top of this page, in numbers.

# %%
transfer_report.against_images(runs)

# %% [markdown]
# The same the other way round: with how many labelled images does a random start get as far?

# %%
transfer_report.worth(runs)

# %% [markdown]
# ## Your number of images
#
# Put in how many labelled images you have. Between the sizes that were measured, accuracy is taken to be linear in the
# logarithm of their number.

# %%
IMAGES = 500
transfer_report.play(runs, IMAGES)

# %% [markdown]
# ## What was changed on the way
#
# The first plan chose every learning rate with one number of images, from fewer rates, and had fewer epochs for all
# labelled images. Its results were known, on the test set too, when rates were chosen anew, for few images as well (on
# validation images, as before), and when an epoch was added to fine-tuning and, to be fair, to its rival. Nobody can
# be blind to a result once it is known, so the runs of the first plan stay here, beside those in their place.

# %%
transfer_report.replaced(runs)

# %% [markdown]
# ## Questions
#
# <details class="question"><summary>Predict: where does a pretrained network help most, with many labelled images or
# with few?</summary>
#
# With few, one expects: what it brings is what it has learned of images elsewhere, and that replaces images of your
# own. With many of your own, a network from a random start can learn much of the same by itself, if it is given the
# time. How much is left between the two, with all of CIFAR-10's images, stands in the table of what others published;
# with few, in the tables of this page, as soon as a random start can be compared there.
#
# </details>
#
# <details class="question"><summary>Why does the classifier get a higher learning rate than the first
# layers?</summary>
#
# It starts from nothing and has far to go. The first layers start from something useful, and a large step, made while
# the classifier is still wrong about everything, would destroy it.
#
# </details>
#
# <details class="question"><summary>What would make the comparison with a random start unfair?</summary>
#
# Fewer steps. A network from a random start needs many, and the same number of epochs over a hundred images is very
# few. A comparison at equal epochs tests patience as much as pretraining.
#
# </details>

# %% [markdown]
# ## Threats to validity
#
# - ImageNet and CIFAR-10 show the same kinds of things. What transfer to X-rays or drawings would buy is not tried.
# - Some of CIFAR-10's test images may well be in ImageNet in a larger size, since both were collected from the web.
#   Nobody trained on their CIFAR-10 labels, but the layers may have seen them.
# - An image of 32 pixels that is enlarged is blurred: the layers were trained on sharp ones.
# - A random start is compared where it made as many steps as the frozen approaches. It would gain from more than
#   these; its accuracy in a full training is in the table of what others published.
# - Learning rates are chosen with one seed and with some numbers of images only; in the cpu profile fine-tuning, whose
#   runs are long, has its rate from one number of images.
# - The validation images, by which rates are chosen, are labelled too, and are more than the smallest sets have. The
#   counts above leave them out, as is the custom in such comparisons.
# - An interval over few seeds is wide; where there is one run, it speaks of the test images alone.
