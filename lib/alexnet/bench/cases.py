"""What `make bench` compares: `CASES`, the table at the end; before it the specs, and what makes the arms of a case."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .. import paths
from ..data import datasets, weights
from ..data.compat import import_torchvision
from ..experiments import reimplementations
from ..experiments.ablations import ALEXNET_32
from ..networks import models
from ..networks.layers import LocalResponseNorm, reference_response_norm
from ..records.bench import LayerTime
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec
from ..training import features, learners, machine
from ..training import recipe as recipes
from ..training.batches import WEIGHTS_STREAM, seed_of
from ..training.preparation import IMAGENET_MEAN, IMAGENET_STD
from ..training.prepared import prepare
from . import layers
from .harness import Arms, Case, Make, elsewhere, side_by_side

NORM_SHAPES = {"conv1": (64, 96, 55, 55), "conv2": (64, 256, 27, 27)}  # where AlexNet normalises, 64 images
FEW = 256  # images of a measurement at 227 pixels: two batches
MANY = 5120  # images of a measurement at 32 pixels: forty batches
MOST_PROCESSES = 8  # side by side, of those that the cores would allow
EXACT = {"float32": 1e-6, "bfloat16": 1e-2}  # the largest error of the norm that issue and page allow


# What is trained


def _spec_227() -> RunSpec:
    images = ImageSpec(train_size=FEW, resize=227, flip=True, colour=0.1)
    return RunSpec(images=images, recipe=RecipeSpec(learning_rate=0.001))


def _spec_alexnet_32() -> RunSpec:
    return ALEXNET_32.with_(images={"train_size": MANY}, measured="errors")


def _spec_four_layer(**images: object) -> RunSpec:
    net = NetSpec(name="four-layer", norm="none", dropout=0.0, init="kaiming")
    return RunSpec(net=net, recipe=RecipeSpec(weight_decay=0.0)).with_(images={"train_size": MANY, **images})


def _spec_of_protocol(name: str) -> RunSpec:
    """On few whole batches; what it looks at after each epoch is left out."""
    protocol = reimplementations.PROTOCOLS[name]
    batch = protocol.recipe.batch_size
    few = {"train_size": -(-FEW // batch) * batch, "valid_size": None}
    return protocol.with_(images=few, measured="errors")


def flop_an_image(spec: RunSpec) -> float:
    """Multiplications and additions of a training step an image: forward, gradients of weights, and of inputs except
    the first layer's. torch counts the forward pass; its count of the backward pass is too high with groups."""
    side = spec.images.side(32)
    model, images = models.build(spec.net, side), torch.zeros(2, 3, side, side)
    return 3 * layers.forward_flop(model, images) - layers.forward_flop(model[0], images)


# The arms, each the work of one call; those that run in processes of their own must be found by their names


def our_training(spec: RunSpec, precision: str) -> Callable[[], object]:
    """One epoch of our training, validated on one image only."""
    learn = learners.learner(spec, precision=precision, progress=False)
    learn.dls.loaders[1] = learn.dls.valid.new(indices=learn.dls.valid.indices[:1])
    return partial(learn.fit, 1)


def preparation(spec: RunSpec, precision: str) -> Callable[[], object]:
    """The batches of one epoch, and nothing done with them."""
    loader = prepare(spec).loaders().train
    return lambda: [None for _ in loader]


def bare_loop(spec: RunSpec, precision: str) -> Callable[[], object]:
    """The same batches, network and step without fastai and callbacks."""
    return _epoch(spec, precision, _network(spec))


def plain_training(spec: RunSpec, precision: str) -> Callable[[], object]:
    """One epoch of the bare loop with torch's own response normalisation."""
    machine.keep_freed_memory()
    return _epoch(spec, precision, _with_torchs_norm(_network(spec)))


def _network(spec: RunSpec) -> nn.Sequential:
    return models.build(spec.net, spec.images.side(32), seed_of(WEIGHTS_STREAM, spec.seed))


def _epoch(spec: RunSpec, precision: str, model: nn.Sequential) -> Callable[[], object]:
    device, recipe = machine.default_device(), spec.recipe
    loader = prepare(spec, device).loaders().train
    model.to(device)
    optimiser = recipes.optimiser(recipe)(list(model.parameters()), lr=recipe.learning_rate).opt

    def epoch() -> None:
        for pixels, labels in loader:
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                scores = model(pixels)
            nn.functional.cross_entropy(scores.float(), labels).backward()
            optimiser.step()
            optimiser.zero_grad()

    return epoch


def _torchs_norm() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # torch divides alpha by the size


def _with_torchs_norm(model: nn.Sequential) -> nn.Sequential:
    for name, layer in model.named_children():
        if isinstance(layer, LocalResponseNorm):
            setattr(model, name, _torchs_norm())
    return model


class OneByOne(Dataset):
    """CIFAR-10 as most public code reads it: image by image through PIL, enlarged bilinearly, channels normalised."""

    def __init__(self, images: int | None, side: int, mean: tuple[float, ...], deviation: tuple[float, ...]):
        transforms = import_torchvision().transforms
        dataset = datasets.load("cifar10")
        self.pixels, self.labels = dataset.train_images[:images], dataset.train_labels[:images]
        self.transform = transforms.Compose(
            [transforms.Resize(side), transforms.ToTensor(), transforms.Normalize(mean, deviation)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def reference_loop(spec: RunSpec, precision: str) -> Callable[[], object]:
    """One pass over the images with the plain loop of public code: DataLoader with two workers, float32, torch's
    response normalisation, no memory format, the C library's own way with memory."""
    model = _with_torchs_norm(models.build(NetSpec(), 227))
    model = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005)
    data = OneByOne(spec.images.train_size, 227, (0.5,) * 3, (0.25,) * 3)
    loader = DataLoader(data, batch_size=128, shuffle=True, num_workers=2)

    def epoch() -> float:
        total = 0.0
        for pixels, labels in loader:
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(pixels), labels)
            loss.backward()
            optimiser.step()
            total += loss.item()
        return total

    return epoch


def _frozen_layers() -> nn.Sequential:
    """The convolutional part with weights drawn at random: the time is that of ImageNet's."""
    whole = models.build(features.NET, features.SIDE)
    arrays = {name: p.detach().numpy() for name, p in whole.named_parameters() if name.startswith("conv")}
    return features.convolutional_part(weights.Weights(arrays, "drawn at random", {}))


def reference_features(spec: RunSpec, precision: str) -> Callable[[], object]:
    """Features of the images with the plain loop of public code: DataLoader with two workers, float32."""
    model = _frozen_layers()
    data = OneByOne(spec.images.train_size, features.SIDE, IMAGENET_MEAN, IMAGENET_STD)
    loader = DataLoader(data, batch_size=128, num_workers=2)

    def compute() -> None:
        with torch.no_grad():
            for pixels, _ in loader:
                model(pixels)

    return compute


def our_features(spec: RunSpec, precision: str) -> Callable[[], object]:
    """Features of the images as `alexnet features` computes them, without the disk."""
    machine.keep_freed_memory()
    device = machine.default_device()
    model = _frozen_layers().to(device, getattr(torch, precision))
    pixels = datasets.load("cifar10").train_images[: spec.images.train_size]
    return lambda: list(features.compute(pixels, False, model, precision, device))


# What is compared


@contextmanager
def norms(layer: str, precision: str) -> Iterator[Arms]:
    """Response normalisation of what a layer gives, forward and backward."""
    device, dtype = machine.default_device(), getattr(torch, precision)
    maps = torch.randn(NORM_SHAPES[layer], device=device).mul_(20).relu_().to(dtype, memory_format=torch.channels_last)
    gradient = torch.randn_like(maps)
    maps.requires_grad_()
    torchs = _torchs_norm()

    def through(norm: Callable[[Tensor], Tensor]) -> None:
        torch.autograd.grad(norm(maps), maps, gradient)

    def widened(values: Tensor) -> Tensor:
        return torchs(values.float()).to(dtype)

    # torch's norm has no bfloat16 form on the processor, so there its baseline converts to float32 and back.
    baseline = torchs if precision == "float32" or device.type == "cuda" else widened
    errors = norm_errors(maps[:2].detach(), gradient[:2])
    ours = partial(through, LocalResponseNorm())
    yield Arms(partial(through, baseline), ours, len(maps), errors=errors, error_goal=EXACT[precision])


def norm_errors(maps: Tensor, gradient: Tensor) -> dict[str, float]:
    """Our norm's output and gradient against section 3.3 word for word in float64, on the very numbers it sees: the
    largest absolute error over the largest absolute value."""
    fast, slow = maps.clone().requires_grad_(), maps.double().requires_grad_()
    output, expected = LocalResponseNorm()(fast), reference_response_norm(slow)
    (found,) = torch.autograd.grad(output, fast, gradient)
    (right,) = torch.autograd.grad(expected, slow, gradient.double())
    pairs = {"values": (output.detach(), expected.detach()), "gradients": (found, right)}
    return {name: float((a.double() - b).abs().max() / b.abs().max()) for name, (a, b) in pairs.items()}


@contextmanager
def training(
    spec_of: Callable[[], RunSpec],
    baseline: Make,
    ours: Make,
    apart: bool = False,  # each in a process of its own
    precision: str | None = None,  # of ours; None: the machine's
    threads: int | None = None,  # of each process
    counted: bool = True,  # both do the arithmetic of training steps
) -> Iterator[Arms]:
    """Two ways to go through the images of a spec once."""
    spec, precision = spec_of(), precision or machine.default_precision()
    images = spec.images.train_size or 0
    flop = images * flop_an_image(spec) if counted else None
    start = partial(elsewhere, threads=threads) if apart else lambda make, *given: nullcontext(make(*given))
    with start(baseline, spec, precision) as first, start(ours, spec, precision) as second:
        yield Arms(first, second, images, flop, precision, processes=([first], [second]))


@contextmanager
def sharing(spec_of: Callable[[], RunSpec]) -> Iterator[Arms]:
    """As many runs as cores: one after the other on all threads, against side by side on one thread each."""
    spec, precision, runs = spec_of(), machine.default_precision(), min(machine.cores(), MOST_PROCESSES)

    def start(threads: int) -> AbstractContextManager:
        return elsewhere(our_training, spec, precision, threads=threads)

    with start(runs) as together, ExitStack() as stack:
        beside = [stack.enter_context(start(1)) for _ in range(runs)]

        def one_after_the_other() -> None:
            for _ in range(runs):
                together()

        work, call = runs * MANY, partial(side_by_side, beside)
        flop = work * flop_an_image(spec)
        yield Arms(one_after_the_other, call, work, flop, precision, processes=([together], beside))


def _norm(layer: str, precision: str) -> Case:
    shape = " x ".join(map(str, NORM_SHAPES[layer]))
    question = f"torch's response normalisation against ours, {shape}, {precision}, forward and backward"
    return Case(f"lrn-{layer}-{precision}", question, partial(norms, layer, precision), goal=3.0)


def _protocol(name: str) -> Case:
    question = f"A bare loop against the Learner: {name} by its published protocol, all threads: at most 5% more"
    arms = partial(training, partial(_spec_of_protocol, name), bare_loop, our_training)
    return Case(f"protocol-{name}", question, arms, goal=1 / 1.05, repeats=3)


def _threads(name: str, words: str, spec_of: Callable[[], RunSpec], repeats: int) -> Case:
    question = "Runs one after the other on all threads against as many side by side on one thread each: " + words
    return Case(f"threads-{name}", question, partial(sharing, spec_of), goal=1.0, repeats=repeats)


_augmented = partial(_spec_four_layer, padding=4, crop=32, flip=True, colour=0.1)
CASES = {
    case.name: case
    for case in (
        *(_norm(layer, precision) for layer in NORM_SHAPES for precision in paths.PRECISIONS),
        Case(
            "training-227",
            "The plain loop of public code against ours: training AlexNet as written at 227 pixels, batches of 128",
            partial(training, _spec_227, reference_loop, our_training, apart=True),
            goal=3.5,
            share_goal=0.6,
            repeats=2,
        ),
        Case(
            "training-227-float32",
            "The same, ours in float32 as on a machine without bfloat16",
            partial(training, _spec_227, reference_loop, our_training, apart=True, precision="float32"),
            goal=1.8,
            repeats=1,
        ),
        Case(
            "preparation-227",
            "A training step at 227 pixels against the preparation of its batch: at most 3% of it",
            partial(training, _spec_227, our_training, preparation, counted=False),
            goal=1 / 0.03,
        ),
        *(_protocol(name) for name, spec in reimplementations.PROTOCOLS.items() if spec.images.resize is not None),
        Case(
            "features",
            "The plain loop of public code against ours: what frozen convolutional layers see in images at 224 pixels",
            partial(training, _spec_227, reference_features, our_features, apart=True, counted=False),
            goal=1.0,
            repeats=3,
        ),
        Case(
            "learner-overhead",
            "A bare loop against the Learner with all its callbacks, the same steps of the four-layer net: at most 5% "
            "more",
            partial(training, _spec_four_layer, bare_loop, our_training),
            goal=1 / 1.05,
            repeats=21,  # machines are noisier than the difference that is looked for
        ),
        Case(
            "preparation-32",
            "A training step of the four-layer net against the preparation of its batch, all augmentation on: at most "
            "10%",
            partial(training, _augmented, our_training, preparation, counted=False),
            goal=1 / 0.1,
        ),
        Case(
            "training-32",
            "torch's response normalisation against ours: training the ablations' network on one thread",
            partial(training, _spec_alexnet_32, plain_training, our_training, apart=True, threads=1),
            goal=1.8,
            repeats=3,
        ),
        _threads("four-layer", "the four-layer net", _spec_four_layer, repeats=3),
        _threads("alexnet-32", "AlexNet at 32 pixels", _spec_alexnet_32, repeats=2),
    )
}


def layer_times() -> list[LayerTime]:
    """Where the time goes: each layer of the networks that most runs use."""
    nets = (
        ("AlexNet, 227 pixels", _spec_227(), 64),
        ("AlexNet, 32 pixels, quarter width", _spec_alexnet_32(), 128),
        ("four-layer", _spec_four_layer(), 128),
    )
    measured = (layers.layer_times(name, spec.net, spec.images.side(32), images) for name, spec, images in nets)
    return [layer for found in measured for layer in found]
