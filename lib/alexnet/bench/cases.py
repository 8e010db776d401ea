"""What `make bench` compares. Each function yields the two arms; its docstring's first line is the question."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from ..data import datasets, weights
from ..data.compat import import_torchvision
from ..experiments import reimplementations
from ..experiments.ablations import ALEXNET_32
from ..networks import models
from ..networks.layers import LocalResponseNorm, reference_response_norm
from ..records.bench import LayerTime
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec
from ..training import batches, features, learners, machine
from ..training.batches import WEIGHTS_STREAM, seed_of
from ..training.learners import CoupledLearner
from . import layers
from .harness import Arms, case
from .processes import elsewhere, side_by_side

NORM_SHAPES = {"conv1": (64, 96, 55, 55), "conv2": (64, 256, 27, 27)}  # where AlexNet normalises, 64 images
FEW = 256  # images of a measurement at 227 pixels: two batches
MANY = 5120  # images of a measurement at 32 pixels: forty batches
MOST_PROCESSES = 8  # side by side, of those that the cores would allow
EXACT = {torch.float32: 1e-6, torch.bfloat16: 1e-2}  # the largest error of the norm that issue and page allow


# Local response normalisation, forward and backward


def _norm_arms(shape: tuple[int, int, int, int], dtype: torch.dtype) -> Iterator[Arms]:
    device = machine.default_device()
    maps = (torch.randn(shape, device=device) * 20).relu_().to(dtype, memory_format=torch.channels_last)
    gradient = torch.randn_like(maps)
    maps.requires_grad_()
    torchs = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    def through(norm: Callable[[Tensor], Tensor]) -> None:
        torch.autograd.grad(norm(maps), maps, gradient)

    def widened(values: Tensor) -> Tensor:
        return torchs(values.float()).to(dtype)

    # torch's norm has no bfloat16 form on the processor, so there its baseline converts to float32 and back.
    baseline = torchs if dtype == torch.float32 or device.type == "cuda" else widened
    errors = norm_errors(maps[:2].detach(), gradient[:2])
    ours = partial(through, LocalResponseNorm())
    yield Arms(partial(through, baseline), ours, shape[0], errors=errors, error_goal=EXACT[dtype])


def norm_errors(maps: Tensor, gradient: Tensor) -> dict[str, float]:
    """Our norm's output and gradient against section 3.3 word for word in float64, on the very numbers it sees: the
    largest absolute error over the largest absolute value."""
    fast, slow = maps.clone().requires_grad_(), maps.double().requires_grad_()
    output, expected = LocalResponseNorm()(fast), reference_response_norm(slow)
    (found,) = torch.autograd.grad(output, fast, gradient)
    (right,) = torch.autograd.grad(expected, slow, gradient.double())
    pairs = {"values": (output.detach(), expected.detach()), "gradients": (found, right)}
    return {name: float((a.double() - b).abs().max() / b.abs().max()) for name, (a, b) in pairs.items()}


@case("lrn-conv1-float32", goal=3.0)
def _norm_conv1_float32() -> Iterator[Arms]:
    """torch's response normalisation against ours, 64 x 96 x 55 x 55, float32, forward and backward"""
    yield from _norm_arms(NORM_SHAPES["conv1"], torch.float32)


@case("lrn-conv1-bfloat16", goal=3.0)
def _norm_conv1_bfloat16() -> Iterator[Arms]:
    """torch's response normalisation against ours, 64 x 96 x 55 x 55, bfloat16, forward and backward"""
    yield from _norm_arms(NORM_SHAPES["conv1"], torch.bfloat16)


@case("lrn-conv2-float32", goal=3.0)
def _norm_conv2_float32() -> Iterator[Arms]:
    """torch's response normalisation against ours, 64 x 256 x 27 x 27, float32, forward and backward"""
    yield from _norm_arms(NORM_SHAPES["conv2"], torch.float32)


@case("lrn-conv2-bfloat16", goal=3.0)
def _norm_conv2_bfloat16() -> Iterator[Arms]:
    """torch's response normalisation against ours, 64 x 256 x 27 x 27, bfloat16, forward and backward"""
    yield from _norm_arms(NORM_SHAPES["conv2"], torch.bfloat16)


# Training at 227 pixels


class OneByOne(Dataset):
    """CIFAR-10 as most public code reads it: image by image through PIL, enlarged bilinearly to 227 pixels."""

    def __init__(self, images: int):
        transforms = import_torchvision().transforms
        dataset = datasets.load("cifar10")
        self.pixels, self.labels = dataset.train_images[:images], dataset.train_labels[:images]
        self.transform = transforms.Compose(
            [transforms.Resize(227), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def reference_loop(images: int) -> Callable[[], object]:
    """One pass over `images` images with the plain loop of public code: DataLoader with two workers, float32, torch's
    response normalisation, no memory format, the C library's own way with memory."""
    model = _with_torchs_norm(models.build(NetSpec(), 227))
    model = model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005)
    loader = DataLoader(OneByOne(images), batch_size=128, shuffle=True, num_workers=2)

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


def _with_torchs_norm(model: nn.Sequential) -> nn.Sequential:
    for name, layer in model.named_children():
        if isinstance(layer, LocalResponseNorm):
            setattr(model, name, nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
    return model


def training(spec: RunSpec, precision: str | None = None) -> Callable[[], object]:
    """One epoch of our training."""
    return partial(_learner(spec, precision).fit, 1)


def _training_arms(precision: str) -> Iterator[Arms]:
    spec = _spec_227()
    with elsewhere(reference_loop, FEW) as reference, elsewhere(training, spec, precision) as ours:

        def memory() -> tuple[int, int] | None:
            return None if reference.memory is None or ours.memory is None else (reference.memory, ours.memory)

        yield Arms(reference, ours, FEW, FEW * flop_an_image(spec), precision, memory=memory)


@case("training-227", goal=3.5, share_goal=0.6, repeats=2)
def _training() -> Iterator[Arms]:
    """The plain loop of public code against ours: training AlexNet as written at 227 pixels, batches of 128"""
    yield from _training_arms(machine.default_precision())


@case("training-227-float32", goal=1.8, repeats=1)
def _training_float32() -> Iterator[Arms]:
    """The same, ours in float32 as on a machine without bfloat16"""
    yield from _training_arms("float32")


@case("preparation-227", goal=1 / 0.03)
def _preparation_227() -> Iterator[Arms]:
    """A training step at 227 pixels against the preparation of its batch: at most 3% of it"""
    yield from _preparation_arms(_spec_227(), FEW)


def _protocol(name: str) -> None:
    """A case for a published protocol at 224 or 227 pixels; what it looks at after each epoch is left out."""
    protocol = reimplementations.PROTOCOLS[name]

    def arms() -> Iterator[Arms]:
        batch = protocol.recipe.batch_size
        images = -(-FEW // batch) * batch
        yield from _overhead_arms(protocol.with_(images={"train_size": images}, measured="errors"), images)

    arms.__doc__ = f"A bare loop against the Learner: {name} by its published protocol, all threads: at most 5% more"
    case(f"protocol-{name}", goal=1 / 1.05, repeats=3)(arms)


for _name, _spec in reimplementations.PROTOCOLS.items():
    if _spec.images.resize is not None:
        _protocol(_name)


# Transfer


class PlainImages(OneByOne):
    """The same as transfer learning reads it: enlarged to 224 pixels, each channel less ImageNet's mean."""

    def __init__(self, images: int):
        super().__init__(images)
        transforms = import_torchvision().transforms
        normalise = transforms.Normalize(batches.IMAGENET_MEAN, batches.IMAGENET_STD)
        self.transform = transforms.Compose([transforms.Resize(features.SIDE), transforms.ToTensor(), normalise])


def _frozen_layers() -> nn.Sequential:
    """The convolutional part with weights drawn at random: the time is that of ImageNet's."""
    whole = models.build(features.NET, features.SIDE)
    arrays = {name: p.detach().numpy() for name, p in whole.named_parameters() if name.startswith("conv")}
    return features.convolutional_part(weights.Weights(arrays, "drawn at random", {}))


def reference_features(images: int) -> Callable[[], object]:
    """Features of `images` images with the plain loop of public code: DataLoader with two workers, float32."""
    model = _frozen_layers()
    loader = DataLoader(PlainImages(images), batch_size=128, num_workers=2)

    def compute() -> None:
        with torch.no_grad():
            for pixels, _ in loader:
                model(pixels)

    return compute


def our_features(images: int) -> Callable[[], object]:
    """Features of as many images as `alexnet features` computes them, without the disk."""
    machine.keep_freed_memory()
    device, precision = machine.default_device(), machine.default_precision()
    model = _frozen_layers().to(device, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    pixels = datasets.load("cifar10").train_images[:images]
    return lambda: list(features.compute(pixels, False, model, precision, device))


@case("features", goal=1.0, repeats=3)
def _features() -> Iterator[Arms]:
    """The plain loop of public code against ours: what frozen convolutional layers see in images at 224 pixels"""
    with elsewhere(reference_features, FEW) as reference, elsewhere(our_features, FEW) as ours:
        yield Arms(reference, ours, FEW, precision=machine.default_precision())


# The four-layer net


def _overhead_arms(spec: RunSpec, images: int) -> Iterator[Arms]:
    fit = partial(_learner(spec).fit, 1)
    yield Arms(_bare_loop(spec), fit, images, images * flop_an_image(spec), machine.default_precision())


@case("learner-overhead", goal=1 / 1.05, repeats=21)  # machines are noisier than the difference that is looked for
def _learner_overhead() -> Iterator[Arms]:
    """A bare loop against the Learner with all its callbacks, the same steps of the four-layer net: at most 5% more"""
    yield from _overhead_arms(_spec_32(ImageSpec(train_size=MANY)), MANY)


@case("preparation-32", goal=1 / 0.1)
def _preparation_32() -> Iterator[Arms]:
    """A training step of the four-layer net against the preparation of its batch, all augmentation on: at most 10%"""
    yield from _preparation_arms(_spec_32(ImageSpec(train_size=MANY, padding=4, crop=32, flip=True, colour=0.1)), MANY)


# The network of the ablations


def plain_training(spec: RunSpec) -> Callable[[], object]:
    """One epoch of the bare loop with torch's own response normalisation."""
    machine.keep_freed_memory()
    return _bare_loop(spec, torchs_norm=True)


@case("training-32", goal=1.8, repeats=3)
def _training_32() -> Iterator[Arms]:
    """torch's response normalisation against ours: training the ablations' network on one thread"""
    spec = _spec_alexnet_32()
    with elsewhere(plain_training, spec, threads=1) as plain, elsewhere(training, spec, threads=1) as ours:
        yield Arms(plain, ours, MANY)


# Runs side by side


def _sharing_arms(spec: RunSpec) -> Iterator[Arms]:
    processes = min(machine.cores(), MOST_PROCESSES)
    with ExitStack() as stack:
        together = stack.enter_context(elsewhere(training, spec, threads=processes))
        apart = [stack.enter_context(elsewhere(training, spec, threads=1)) for _ in range(processes)]

        def one_after_the_other() -> None:
            for _ in range(processes):
                together()

        def memory() -> tuple[int, int] | None:
            held = [one.memory for one in apart]
            return None if together.memory is None or None in held else (together.memory, sum(filter(None, held)))

        work = processes * MANY
        flop, precision = work * flop_an_image(spec), machine.default_precision()
        yield Arms(one_after_the_other, partial(side_by_side, apart), work, flop, precision, memory=memory)


@case("threads-four-layer", goal=1.0, repeats=3)
def _threads_four_layer() -> Iterator[Arms]:
    """Runs one after the other on all threads against as many side by side on one thread each: the four-layer net"""
    yield from _sharing_arms(_spec_32(ImageSpec(train_size=MANY)))


@case("threads-alexnet-32", goal=1.0, repeats=2)
def _threads_alexnet_32() -> Iterator[Arms]:
    """Runs one after the other on all threads against as many side by side on one thread each: AlexNet at 32 pixels"""
    yield from _sharing_arms(_spec_alexnet_32())


# Where the time goes


def layer_times() -> list[LayerTime]:
    """Each layer of the networks that most runs use."""
    nets = {
        "AlexNet, 227 pixels": (_spec_227(), 64),
        "AlexNet, 32 pixels, quarter width": (_spec_alexnet_32(), 128),
        "four-layer": (_spec_32(ImageSpec()), 128),
    }
    times = (layers.layer_times(name, spec.net, spec.images.side(32), images) for name, (spec, images) in nets.items())
    return [one for found in times for one in found]


def _bare_loop(spec: RunSpec, torchs_norm: bool = False) -> Callable[[], object]:
    """The same batches, network and step without fastai and callbacks."""
    device, recipe = machine.default_device(), spec.recipe
    loader = batches.loaders(spec, device).train
    model = models.build(spec.net, loader.preparation.side, seed_of(WEIGHTS_STREAM, spec.seed))
    model = (_with_torchs_norm(model) if torchs_norm else model).to(device)
    optimiser = learners.optimiser(recipe)(list(model.parameters()), lr=recipe.learning_rate).opt
    fast = machine.default_precision() == "bfloat16"

    def epoch() -> None:
        for pixels, labels in loader:
            with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                scores = model(pixels)
            nn.functional.cross_entropy(scores.float(), labels).backward()
            optimiser.step()
            optimiser.zero_grad()

    return epoch


# Shared by the cases


def _spec_227() -> RunSpec:
    images = ImageSpec(train_size=FEW, resize=227, flip=True, colour=0.1)
    return RunSpec(images=images, recipe=RecipeSpec(learning_rate=0.001))


def _spec_32(images: ImageSpec) -> RunSpec:
    net = NetSpec(name="four-layer", norm="none", dropout=0.0, init="kaiming")
    return RunSpec(images=images, net=net, recipe=RecipeSpec(weight_decay=0.0))


def _spec_alexnet_32() -> RunSpec:
    return ALEXNET_32.with_(images={"train_size": MANY}, measured="errors")


def _learner(spec: RunSpec, precision: str | None = None) -> CoupledLearner:
    """A learner that validates on one image only: what is timed is training."""
    learn = learners.learner(spec, precision=precision, progress=False)
    learn.dls.loaders[1] = learn.dls.valid.new(indices=learn.dls.valid.indices[:1])
    return learn


def _preparation_arms(spec: RunSpec, images: int) -> Iterator[Arms]:
    learn = _learner(spec)

    def prepare() -> None:
        for _ in learn.dls.train:
            pass

    yield Arms(partial(learn.fit, 1), prepare, images)


def flop_an_image(spec: RunSpec, images: int = 2) -> float:
    """Multiplications and additions of a training step an image: forward, gradients of weights, and of inputs except
    the first layer's. torch counts the forward pass; its count of the backward pass is too high with groups."""
    side = spec.images.side(32)
    model = models.build(spec.net, side)

    def forward(part: nn.Module) -> float:
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            part(torch.zeros(images, 3, side, side))
        return counter.get_total_flops() / images

    return 3 * forward(model) - forward(model[0])
