"""What `make bench` compares. Each function yields the two arms; its docstring's first line is the question."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from . import batches, data, learners, machine, models
from .batches import WEIGHTS_STREAM, seed_of
from .bench import Arms, case
from .compat import import_torchvision
from .errors import AlexnetError
from .layers import LocalResponseNorm
from .learners import CoupledLearner
from .specs import ImageSpec, NetSpec, RecipeSpec, RunSpec

NORM_SHAPES = {"conv1": (64, 96, 55, 55), "conv2": (64, 256, 27, 27)}  # where AlexNet normalises, 64 images
FEW = 256  # images of a measurement at 227 pixels: two batches
MANY = 5120  # images of a measurement at 32 pixels: forty batches


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
    yield Arms(partial(through, baseline), partial(through, LocalResponseNorm()), images=shape[0])


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
        dataset = data.load("cifar10")
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
    model = models.build(NetSpec(), 227)
    for name, layer in model.named_children():
        if isinstance(layer, LocalResponseNorm):
            setattr(model, name, nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
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


@case("training-227", goal=3.5)
def _training() -> Iterator[Arms]:
    """The plain loop of public code against ours: training AlexNet as written at 227 pixels, batches of 128"""
    spec = _spec_227()
    with elsewhere(reference_loop, FEW) as reference:
        learn = _learner(spec)
        yield Arms(reference, partial(learn.fit, 1), FEW, FEW * flop_an_image(spec), machine.default_precision())


@case("precision-227")
def _precision() -> Iterator[Arms]:
    """float32 against this machine's own precision: training AlexNet as written at 227 pixels, ours both"""
    spec = _spec_227()
    plain, learn = _learner(spec, "float32"), _learner(spec)
    work = FEW * flop_an_image(spec)
    yield Arms(partial(plain.fit, 1), partial(learn.fit, 1), FEW, work, machine.default_precision())


@case("preparation-227", goal=1 / 0.03)
def _preparation_227() -> Iterator[Arms]:
    """A training step at 227 pixels against the preparation of its batch: at most 3% of it"""
    yield from _preparation_arms(_spec_227(), FEW)


# The four-layer net


@case("learner-overhead", goal=1 / 1.05)
def _learner_overhead() -> Iterator[Arms]:
    """A bare loop against the Learner with all its callbacks, the same steps of the four-layer net: at most 5% more"""
    spec = _spec_32(ImageSpec(train_size=MANY))
    learn = _learner(spec)
    yield Arms(_bare_loop(spec), partial(learn.fit, 1), MANY, MANY * flop_an_image(spec), machine.default_precision())


@case("preparation-32", goal=1 / 0.1)
def _preparation_32() -> Iterator[Arms]:
    """A training step of the four-layer net against the preparation of its batch, all augmentation on: at most 10%"""
    yield from _preparation_arms(_spec_32(ImageSpec(train_size=MANY, padding=4, crop=32, flip=True, colour=0.1)), MANY)


def _bare_loop(spec: RunSpec) -> Callable[[], object]:
    """The same batches, network and step without fastai and callbacks."""
    device, recipe = machine.default_device(), spec.recipe
    training = batches.loaders(spec, device).train
    model = models.build(spec.net, training.preparation.side, seed_of(WEIGHTS_STREAM, spec.seed)).to(device)
    rate, momentum, decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
    optimiser = torch.optim.SGD(model.parameters(), rate, momentum, weight_decay=decay, fused=True)
    fast = machine.default_precision() == "bfloat16"

    def epoch() -> None:
        for pixels, labels in training:
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


@contextmanager
def elsewhere(make: Callable[..., Callable[[], object]], *arguments: object) -> Iterator[Callable[[], None]]:
    """`make(*arguments)` in a process of its own, as a function that runs it there and waits.

    For arms that must not share this process's settings, such as how freed memory is kept. Raises `AlexnetError` when
    that process fails.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, make, arguments))
    process.start()
    there.close()

    def ask() -> None:
        try:
            here.send(True)
            failure = here.recv()
        except (EOFError, OSError) as error:
            raise AlexnetError("The process that runs a bench arm died; is there memory enough?") from error
        if failure:
            raise AlexnetError(f"A bench arm failed in its own process: {failure}.")

    try:
        yield ask
    finally:
        here.close()
        process.join()


def _serve(connection: Connection, make: Callable[..., Callable[[], object]], arguments: tuple) -> None:
    """Run an arm each time the other side asks, until it hangs up."""
    call: Callable[[], object] | None = None
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        try:
            call = call or make(*arguments)
            call()
            connection.send("")
        except Exception as error:  # handed to the other side, whatever it is
            connection.send(f"{type(error).__name__}: {error}")
