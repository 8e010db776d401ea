"""What is measured of a trained network: test predictions, and what the claims of sections 4 to 6 ask for.

Arrays go into the .npz beside the record; every figure of the record can be derived from them again, which is what
`derived` does and the audit repeats.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ..records.record import Learned
from ..records.specs import SPLITS, RunSpec
from . import batches, kernels, pretrained
from .batches import Batches
from .learners import CoupledLearner, log_probabilities, loss_and_error

QUERIES = 1000  # test images whose neighbours are looked for: the first ones
NEIGHBOURS = 6  # training images an image, as in figure 4
BLOCK = 5000  # training images that are compared at a time
SHOWN = 100  # first test images whose probabilities are kept for the figures
MAPS = 16  # maps of each convolution that are kept for the figures, where nothing else is learned from them
RANKS = 5  # most probable classes kept an image
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")  # CIFAR-10's other classes are vehicles


@dataclass
class Evaluation:
    """Figures and arrays of a trained network; figures are None where the run does not ask for them."""

    test_error: float
    test_loss: float
    arrays: dict[str, np.ndarray] = field(repr=False)
    clean_train_error: float | None = None
    clean_train_loss: float | None = None
    learned: Learned | None = None


def evaluate(spec: RunSpec, learn: CoupledLearner) -> Evaluation:
    """Everything that `spec.measured` asks for, in float32. A diverged net predicts class 0 with no confidence."""
    device = learn.dls.device
    test = pretrained.test_batches(spec, device, learn.precision.precision)
    found, labels = log_probabilities(learn.model, test)
    test_loss, test_error = loss_and_error(found, labels)
    classes = np.uint8 if spec.net.classes <= 256 else np.uint16
    arrays = {"predicted": found.argmax(1).numpy().astype(classes), "true_log_probability": _true(found, labels)}
    evaluation = Evaluation(test_error, test_loss, arrays)
    if spec.measured not in ("errors", "kernels"):
        clean = log_probabilities(learn.model, batches.unaugmented_training_batches(spec, device))
        evaluation.clean_train_loss, evaluation.clean_train_error = loss_and_error(*clean)
    if spec.measured in SPLITS:
        valid, _ = log_probabilities(learn.model, learn.dls.valid)
        for name, split in (("train", clean[0]), ("valid", valid)):
            arrays[f"{name}_predicted"] = split.argmax(1).numpy().astype(np.uint8)
        arrays |= _maps(learn, test, MAPS)
    if spec.measured != "errors":
        arrays["first_kernels"] = first_kernels(learn.model)
        arrays["untrained_kernels"] = first_kernels(pretrained.build(spec, learn.dls.train.preparation.side))
    if spec.measured == "features":
        ten, _ = log_probabilities(learn.model, test, ten_crop=True)
        arrays |= {"ten_crop_predicted": ten.argmax(1).numpy().astype(np.uint8)}
        arrays |= {"ten_crop_true_log_probability": _true(ten, labels)}
        ranked = found.argsort(1, descending=True)[:, :RANKS]
        arrays["ranked"] = ranked.numpy().astype(np.uint8)
        arrays["ranked_probability"] = found.gather(1, ranked)[:SHOWN].exp().numpy().astype(np.float16)
        arrays |= neighbours(spec, learn)
        arrays |= _maps(learn, test)
    if "first_kernels" in arrays:
        evaluation.learned = derived(spec, arrays)
    return evaluation


def first_kernels(model: nn.Module) -> np.ndarray:
    """The weights of a network's first convolution, float16 [filters, 3, height, width]."""
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    return first.weight.detach().float().cpu().contiguous().numpy().astype(np.float16)


def _maps(learn: CoupledLearner, test: Batches, most: int | None = None) -> dict[str, np.ndarray]:
    """The feature maps of the first test image, at most so many a layer, float16 [maps, H, W]."""
    images = test.preparation(test.dataset.pixels[:1], test.preparation.centre(1))
    maps = feature_maps(learn.model, images[0])
    return {f"maps_{name}": values[:most].cpu().numpy().astype(np.float16) for name, values in maps.items()}


def _true(found: Tensor, labels: Tensor) -> np.ndarray:
    return found.gather(1, labels[:, None])[:, 0].numpy().astype(np.float16)


def derived(spec: RunSpec, arrays: dict[str, np.ndarray]) -> Learned:
    """The figures that follow from a run's arrays and the verified labels alone."""
    dataset = batches.split_of(spec.dataset)[0]
    labels, classes = batches.test_labels(spec), dataset.classes
    figures: dict[str, float] = {}
    if "ten_crop_predicted" in arrays:
        figures["ten_crop_error"] = float(np.mean(arrays["ten_crop_predicted"] != labels))
    if spec.net.name == "alexnet" and spec.net.towers == "two":
        figures["tower_colour"], figures["half_colour"] = kernels.colour_separation(arrays["first_kernels"])
        if "untrained_kernels" in arrays:
            figures["untrained_tower_colour"], _ = kernels.colour_separation(arrays["untrained_kernels"])
    if "ranked" in arrays and set(ANIMALS) <= set(classes):
        figures["runner_up_kind"], figures["random_kind"] = runner_up_kind(arrays["ranked"], labels, classes)
    if "feature_neighbours" in arrays:
        for kind in ("feature", "pixel"):
            same = dataset.train_labels[arrays[f"{kind}_neighbours"]] == labels[:QUERIES, None]
            figures[f"{kind}_neighbours_share"] = float(np.mean(same))
    return Learned(**figures)


def runner_up_kind(ranked: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> tuple[float, float]:
    """The share of the labels ranked second to fifth that are of the true class's kind (animal or vehicle), and the
    share that a random order of the classes below the first would give. `ranked` is [N, 5], `labels` [N]."""
    animal = np.array([name in ANIMALS for name in classes])
    kind = animal[labels]
    share = float(np.mean(animal[ranked[:, 1:]] == kind[:, None]))
    of_kind = np.where(kind, animal.sum(), (~animal).sum())  # classes of the true class's kind
    left = of_kind - (animal[ranked[:, 0]] == kind)  # less the first, if it is one of them
    return share, float(np.mean(left / (len(classes) - 1)))


def neighbours(spec: RunSpec, learn: CoupledLearner) -> dict[str, np.ndarray]:
    """Places [QUERIES, 6] in the training set of the nearest training images, in features and in pixels (figure 4).

    Features are the activations of the last hidden layer, nearness is Euclidean, as in section 6.1.
    """
    device = learn.dls.device
    test = batches.test_batches(spec, device, QUERIES)
    training = batches.unaugmented_training_batches(spec, device)
    found = {
        "feature": (last_hidden(learn.model, test), last_hidden(learn.model, training)),
        "pixel": (pixels(test), pixels(training)),
    }
    places = training.indices.numpy().astype(np.int32)
    return {f"{kind}_neighbours": places[nearest(*both).numpy()] for kind, both in found.items()}


def nearest(queries: Tensor, candidates: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """Rows [Q, count] of `candidates` [N, D] nearest to each of `queries` [Q, D], nearest first.

    Candidates come in blocks, which become float only here: all pixels at once would take half a gigabyte.
    """
    nearness, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long)
    for start in range(0, len(candidates), BLOCK):
        block = candidates[start : start + BLOCK].float()
        found = 2 * queries.float() @ block.T - block.square().sum(1)  # the larger, the nearer
        places = torch.arange(start, start + len(block)).expand(len(queries), -1)
        nearness, kept = torch.cat([nearness, found], 1).topk(min(count, len(block) + nearness.shape[1]))
        rows = torch.cat([rows, places], 1).gather(1, kept)
    return rows


def last_hidden(model: nn.Sequential, images: Batches) -> Tensor:
    """Activations [N, D] before the last layer of weights, dropout off, in float32, on the CPU."""
    model.eval()
    body, prepare = model[:-1], images.preparation
    found = []
    with torch.no_grad():
        for chosen in images.indices.split(images.bs):
            batch = images.dataset.pixels[chosen.to(images.device)]
            found.append(body(prepare(batch, prepare.centre(len(chosen)))).float().flatten(1).cpu())
    return torch.cat(found)


def pixels(images: Batches) -> Tensor:
    """The images as they are, uint8 [N, H * W * C]."""
    return images.dataset.pixels[images.indices.to(images.device)].flatten(1).cpu()


def feature_maps(model: nn.Sequential, image: Tensor) -> dict[str, Tensor]:
    """What each convolution's nonlinearity makes of one image [3, S, S]: layer name -> [channels, H, W]."""
    found: dict[str, Tensor] = {}
    maps = image[None]
    model.eval()
    with torch.no_grad():
        for name, layer in model.named_children():
            maps = layer(maps)
            if isinstance(layer, nn.ReLU | nn.Tanh) and maps.dim() == 4:
                found[f"conv{name[4:]}"] = maps[0]
    return found
