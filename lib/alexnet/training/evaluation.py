"""What is measured of a network: its predictions, and what the claims of sections 4 to 6 ask for.

Arrays go into the .npz beside the record; every figure of the record can be derived from them again, which is what
`derived` does and the audit repeats.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ..records.record import Learned
from ..records.specs import SPLITS, RunSpec
from .batches import Batches
from .preparation import Preparation
from .prepared import Prepared, Split

QUERIES = 1000  # test images whose neighbours are looked for: the first ones
NEIGHBOURS = 6  # training images an image, as in figure 4
BLOCK = 5000  # training images that are compared at a time
SHOWN = 100  # first test images whose probabilities are kept for the figures
MAPS = 16  # maps of each convolution that are kept for the figures, where nothing else is learned from them
RANKS = 5  # most probable classes kept an image
HALVES = 2000  # random halves of the kernels that the towers are compared with
HALVES_SEED = 2012  # of the draw of halves, so that the figure can be derived again
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")  # CIFAR-10's other classes are vehicles


def loss_and_error(found: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss in nats and error as a fraction, from log softmax [N, classes] and labels [N]."""
    true = found.gather(1, labels[:, None])[:, 0]
    return -true.double().mean().item(), (found.argmax(1) != labels).double().mean().item()


def mean_log_softmax(model: nn.Module, prepare: Preparation, pixels: Tensor, ten_crop: bool = False) -> Tensor:
    """Log softmax float32 [B, classes] of uint8 images [B, H, W, C]; with `ten_crop`, the log of the mean softmax over
    ten crops (section 4.1)."""
    views = prepare.ten_crops(len(pixels)) if ten_crop else [prepare.centre(len(pixels))]
    scores = torch.stack([model(prepare(pixels, view)).float().log_softmax(1) for view in views])
    return scores.logsumexp(0) - math.log(len(views))


def log_probabilities(
    model: nn.Module, batches: Batches, precision: str = "float32", ten_crop: bool = False, dropout: bool = False
) -> tuple[Tensor, Tensor]:
    """What `mean_log_softmax` gives for all images [N, classes], and labels [N], on the CPU; dropout off unless asked
    for."""
    model.eval()
    if dropout:
        for layer in model.modules():
            layer.train(isinstance(layer, nn.Dropout))
    device = batches.device
    found, labels = [], []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        for chosen in batches.indices.split(batches.bs):
            chosen = chosen.to(device)
            pixels = batches.dataset.pixels[chosen]
            found.append(mean_log_softmax(model, batches.preparation, pixels, ten_crop))
            labels.append(batches.dataset.labels[chosen])
    return torch.cat(found).cpu(), torch.cat(labels).cpu()


@dataclass
class Evaluation:
    """Figures and arrays of a trained network; figures are None where the run does not ask for them."""

    test_error: float
    test_loss: float
    arrays: dict[str, np.ndarray] = field(repr=False)
    clean_train_error: float | None = None
    clean_train_loss: float | None = None
    learned: Learned | None = None

    @property
    def figures(self) -> dict[str, float | None]:
        """What a record's final figures have of it."""
        names = ("test_error", "test_loss", "clean_train_error", "clean_train_loss")
        return {name: getattr(self, name) for name in names}


def evaluate(run: Prepared, model: nn.Sequential, valid: Batches) -> Evaluation:
    """Everything that `spec.measured` asks for, in float32. A diverged net predicts class 0 with no confidence.

    `model` is what was trained, and `valid` the validation batches it was trained with.
    """
    measured, test, training = run.spec.measured, run.test(), run.clean_training()
    fresh = run.network() if measured != "errors" else None
    found, labels = log_probabilities(model, test)
    test_loss, test_error = loss_and_error(found, labels)
    classes = np.uint8 if run.spec.net.classes <= 256 else np.uint16
    arrays = {"predicted": found.argmax(1).numpy().astype(classes), "true_log_probability": _true(found, labels)}
    evaluation = Evaluation(test_error, test_loss, arrays)
    if measured not in ("errors", "kernels"):
        clean = log_probabilities(model, training)
        evaluation.clean_train_loss, evaluation.clean_train_error = loss_and_error(*clean)
    if measured in SPLITS:
        for name, split in (("train", clean[0]), ("valid", log_probabilities(model, valid)[0])):
            arrays[f"{name}_predicted"] = split.argmax(1).numpy().astype(np.uint8)
        arrays |= _maps(model, test, MAPS)
    if fresh is not None:
        arrays |= {"first_kernels": first_kernels(model), "untrained_kernels": first_kernels(fresh)}
    if measured == "features":
        ten, _ = log_probabilities(model, test, ten_crop=True)
        arrays |= {"ten_crop_predicted": ten.argmax(1).numpy().astype(np.uint8)}
        arrays |= {"ten_crop_true_log_probability": _true(ten, labels)}
        ranked = found.argsort(1, descending=True)[:, :RANKS]
        arrays["ranked"] = ranked.numpy().astype(np.uint8)
        arrays["ranked_probability"] = found.gather(1, ranked)[:SHOWN].exp().numpy().astype(np.float16)
        arrays |= neighbours(model, test.new(indices=test.indices[:QUERIES]), training)
        arrays |= _maps(model, test)
    if "first_kernels" in arrays:
        evaluation.learned = derived(run.spec, run.split, arrays)
    return evaluation


def first_kernels(model: nn.Module) -> np.ndarray:
    """The weights of a network's first convolution, float16 [filters, 3, height, width]."""
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    return first.weight.detach().float().cpu().contiguous().numpy().astype(np.float16)


def _maps(model: nn.Sequential, test: Batches, most: int | None = None) -> dict[str, np.ndarray]:
    """The feature maps of the first test image, at most so many a layer, float16 [maps, H, W]."""
    images = test.preparation(test.dataset.pixels[:1], test.preparation.centre(1))
    maps = feature_maps(model, images[0])
    return {f"maps_{name}": values[:most].cpu().numpy().astype(np.float16) for name, values in maps.items()}


def _true(found: Tensor, labels: Tensor) -> np.ndarray:
    return found.gather(1, labels[:, None])[:, 0].numpy().astype(np.float16)


def derived(spec: RunSpec, split: Split, arrays: dict[str, np.ndarray]) -> Learned:
    """The figures that follow from a run's arrays and the verified labels alone."""
    labels, classes = split.test_labels, split.dataset.classes
    figures: dict[str, float] = {}
    if "ten_crop_predicted" in arrays:
        figures["ten_crop_error"] = float(np.mean(arrays["ten_crop_predicted"] != labels))
    if spec.net.name == "alexnet" and spec.net.towers == "two":
        figures["tower_colour"], figures["half_colour"] = colour_separation(arrays["first_kernels"])
        if "untrained_kernels" in arrays:
            figures["untrained_tower_colour"], _ = colour_separation(arrays["untrained_kernels"])
    if "ranked" in arrays and set(ANIMALS) <= set(classes):
        figures["runner_up_kind"], figures["random_kind"] = runner_up_kind(arrays["ranked"], labels, classes)
    if "feature_neighbours" in arrays:
        for kind in ("feature", "pixel"):
            same = split.dataset.train_labels[arrays[f"{kind}_neighbours"]] == labels[:QUERIES, None]
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


def neighbours(model: nn.Sequential, test: Batches, training: Batches) -> dict[str, np.ndarray]:
    """Places [Q, 6] in the training set of the training images nearest to test images, in features and in pixels
    (figure 4). Features are the activations of the last hidden layer, nearness is Euclidean, as in section 6.1.
    """
    found = {
        "feature": (last_hidden(model, test), last_hidden(model, training)),
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
        block = candidates[start : start + BLOCK]
        found = _nearness(queries, block)
        places = torch.arange(start, start + len(block)).expand(len(queries), -1)
        nearness, kept = torch.cat([nearness, found], 1).topk(min(count, len(block) + nearness.shape[1]))
        rows = torch.cat([rows, places], 1).gather(1, kept)
    return rows


def _nearness(queries: Tensor, candidates: Tensor) -> Tensor:
    """[Q, N] of `queries` [Q, D] and `candidates` [N, D]: the larger, the nearer, among candidates of one query."""
    candidates = candidates.float()
    return 2 * queries.float() @ candidates.T - candidates.square().sum(1)


def nearer_in_pixels(queries: np.ndarray, candidates: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """For each of the images `chosen` [Q, K, H, W, C], the share of `candidates` [N, H, W, C] that are nearer in pixels
    to its query [Q, H, W, C]: [Q, K], 0.5 on average for images drawn at random. All are uint8."""
    asked, others, own = (torch.from_numpy(images).flatten(-3) for images in (queries, candidates, chosen))
    limits = torch.stack([_nearness(query[None], images)[0] for query, images in zip(asked, own, strict=True)])
    nearer = torch.zeros_like(limits)
    for block in others.split(BLOCK):
        nearer += (_nearness(asked, block)[:, None] > limits[:, :, None]).sum(2)
    return (nearer / len(others)).numpy()


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


# ---- colour of the first layer's kernels, and whether the two towers share it out (section 6.1) ----------------------


def colour_selectivity(kernels: np.ndarray) -> np.ndarray:
    """The share of each kernel's energy that is colour, [filters], from kernels [filters, 3, height, width].

    A kernel is the sum of a grey part, which weighs the three channels alike, and a colour part, which adds up to
    nothing over the channels; the two are orthogonal. 0: all grey, 1: all colour. A kernel of zeros counts as grey.
    """
    kernels = np.asarray(kernels, dtype=np.float64)
    colour = kernels - kernels.mean(axis=1, keepdims=True)
    energy = np.square(kernels).sum(axis=(1, 2, 3))
    return np.square(colour).sum(axis=(1, 2, 3)) / np.where(energy > 0, energy, 1.0)


def tower_means(kernels: np.ndarray) -> tuple[float, float]:
    """Mean colour selectivity of each tower; the first half of the filters is the first tower."""
    first, second = np.split(colour_selectivity(kernels), 2)
    return float(first.mean()), float(second.mean())


def colour_separation(kernels: np.ndarray) -> tuple[float, float]:
    """Difference in mean colour selectivity between the towers (larger less smaller), and its mean over random halves.

    The first half of the filters is the first tower. Random halves show what difference chance alone gives.
    """
    selectivity = colour_selectivity(kernels)
    half = len(selectivity) // 2
    generator = np.random.default_rng(HALVES_SEED)
    shuffled = np.stack([generator.permutation(selectivity) for _ in range(HALVES)])
    differences = np.abs(shuffled[:, :half].mean(axis=1) - shuffled[:, half:].mean(axis=1))
    first, second = tower_means(kernels)
    return abs(first - second), float(differences.mean())
