"""What determines a result: images, network, recipe and seed. The hash of a `RunSpec` names its record.

Where a run happens (device, precision, threads) is recorded with it and not part of the spec.
"""

import hashlib
import json
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from ..errors import SpecError, at_fault
from .files import Part

KERNELS = ("kernels", "fit", "features")  # what is measured that keeps the first layer's kernels
LEARNING = ("fit", "features")  # what is measured that looks into the network while and after it learns
NAMES = {"cifar10": "CIFAR-10", "mnist": "MNIST"}  # as data sets are written
PIXELS = {"cifar10": 32, "mnist": 28}  # a side, of each data set's images
CLASSES = {"cifar10": 10, "mnist": 10}  # that a data set has images of; a network may have more outputs
TRAINING_IMAGES = {"cifar10": 50_000, "mnist": 60_000}  # before any are held back
HELD_BACK = 5000  # training images that are kept for validation
SPLITS = ("splits", "epochs")  # what is measured that keeps the predictions on all three splits


class Spec(Part, allow_inf_nan=False):
    """Base of all specs; a number that is infinite or none is an error."""


class ImageSpec(Spec):
    """Which images a network sees, and in what form."""

    train_size: int | None = Field(None, gt=0)  # training images, a stratified subset; None: all of the training split
    subset: Literal["same", "own"] = "same"  # the subset is the same in all runs, or each seed draws its own
    valid_size: int | None = Field(None, gt=0)
    # validation images, every class in proportion. Fewer than the 5,000 that are held back from training are a part of
    # these and leave the training split as it is; for more, so many are held back; None: the 5,000
    test_size: int | None = Field(None, gt=0)  # the first so many test images; None: all
    scaling: Literal["mean-image", "mean-image-unit", "standardised", "imagenet", "unit-range"] = "mean-image-unit"
    # mean-image: pixels 0..255 less the training mean image (section 2); -unit: the same over its standard deviation;
    # standardised: each channel less its mean, over its standard deviation; imagenet: the same with ImageNet's figures;
    # unit-range: pixels over 255
    resize: int | None = Field(None, gt=0)  # pixels a side after bilinear resizing; None: the data set's own size
    padding: int = Field(0, ge=0)  # pixels of mean colour added on each side before cropping
    crop: int | None = Field(None, gt=0)  # side of the square a random crop takes in training, the centre crop in tests
    crops: Literal["random", "centre", "resized"] = "random"
    # centre: training sees the centre crop only, as tests do; resized: a rectangle of random area (8% to all of the
    # image) and shape (3:4 to 4:3), brought to the network's size, as torchvision's RandomResizedCrop has it
    flip: bool = False  # horizontal reflection of half the training images (section 4.1)
    colour: float = Field(0.0, ge=0)  # standard deviation of the PCA colour noise, 0.1 in section 4.1
    cutout: int = Field(0, ge=0)  # pixels a side of a square of mean colour in each training image, its centre anywhere

    @model_validator(mode="after")
    def _resized_crops_need_a_size(self) -> "ImageSpec":
        if self.crops == "resized" and (self.resize is None or self.crop is not None or self.padding):
            raise ValueError('crops "resized" need a resize, which is their size, and neither crop nor padding')
        return self

    def side(self, original: int) -> int:
        """Pixels a side at the network's input, for images of `original` pixels a side."""
        resized = self.resize or original
        side = self.crop or resized + 2 * self.padding
        if side > resized + 2 * self.padding:
            raise SpecError(f"A crop of {side} pixels does not fit images of {resized}+2*{self.padding} pixels.")
        return side


class NetSpec(Spec):
    """A network and its options; `alexnet.networks.models` builds it."""

    name: Literal["alexnet", "four-layer", "four-layer-local", "cifar-bn"] = "alexnet"
    variant: Literal["as-written", "as-run", "torchvision"] = "as-written"  # the paper's text, its code, or torchvision
    form: Literal["227", "32"] = "227"  # first layers for 227-pixel images, or the small form for CIFAR's 32 pixels
    classes: int = Field(10, gt=1)
    activation: Literal["relu", "tanh"] = "relu"
    towers: Literal["two", "full", "half"] = "two"  # two towers; one ungrouped of full width; one of half the kernels
    width: float = Field(1.0, gt=0)  # multiplies every hidden width
    pooling: Literal["overlapping", "plain"] = "overlapping"  # window 3 stride 2, or window 2 stride 2 (section 3.4)
    norm: Literal["sum", "mean", "none", "batch"] = "sum"
    # response normalisation with alpha times the sum as printed, or over the window size as run; none; or batch
    # normalisation after each convolution (alexnet as written alone)
    dropout: float = Field(0.5, ge=0, lt=1)
    dropout_at: Literal["outputs", "inputs"] = "outputs"  # of fc6 and fc7, as written; the torchvision variant: inputs
    without: Literal["conv2", "conv3", "conv4", "conv5", "fc6", "fc7"] | None = None  # the one removed (section 7)
    hidden: tuple[int, ...] = Field((4096, 4096), max_length=2)  # widths of fc6 and fc7; (): a linear classifier
    averaged: bool = False  # the last maps are averaged over their pixels before the fully connected layers (alexnet)
    init: Literal["paper", "as-run", "cuda-convnet", "kaiming", "torch"] = "paper"
    local3_filters: int = Field(32, gt=0)  # of the four-layer-local net's first unshared layer, times the width
    bias_ones: bool = True  # biases of conv2, conv4, conv5, fc6, fc7 start at 1 (section 5); init paper, as-run


class StageSpec(Spec):
    """A second stage of a training, with an optimiser that remembers nothing of the first."""

    after: int = Field(gt=0)  # epochs of the first stage
    learning_rate: float = Field(gt=0)
    last_layer: bool = False  # only a last layer drawn anew (torch's defaults) is trained, all others stay as they are


class RecipeSpec(Spec):
    """How a network is trained, and when that ends."""

    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    # adam, adamw: `momentum` is the first beta, the second is 0.999; adamw decays weights apart from the gradient
    learning_rate: float = Field(0.01, gt=0)
    bias_learning_rate_factor: float = Field(1.0, gt=0)  # cuda-convnet's layer files give biases twice the rate
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0005, ge=0)  # L2, inside the velocity (section 5)
    layer_weight_decay: tuple[tuple[str, float], ...] = ()  # (layer, weight decay of its weights), where it has its own
    label_smoothing: float = Field(0.0, ge=0, lt=1)  # probability that is spread over all classes, in training alone
    batch_size: int = Field(128, gt=0)
    epochs: int = Field(90, gt=0)  # the cap
    schedule: Literal["constant", "plateau", "steps", "one-cycle"] = "constant"
    # one-cycle: fastai's, over all epochs: up in the first quarter, then down to nothing, each along a cosine
    drops: tuple[int, ...] = ()  # epochs after which the learning rate is divided by 10, for schedule "steps"
    patience: int = Field(3, gt=0)  # epochs without a better validation error before a drop, for schedule "plateau"
    most_drops: int = Field(3, ge=0)  # drops before a plateau ends the run ("plateau")
    stop_at_train_error: float | None = Field(None, gt=0, lt=1)  # ends when the epoch's running training error is there
    second: StageSpec | None = None  # None: one stage
    stop_after: int | None = Field(None, gt=0)
    # epochs without a better validation error after which a run ends; of the stage, if there are two: the first then
    # hands over to the second, which has its `epochs - second.after` all the same and ends the run; None: only the cap

    @model_validator(mode="after")
    def _fits_together(self) -> "RecipeSpec":
        if bool(self.drops) != (self.schedule == "steps"):
            raise ValueError('drops belong to schedule "steps", which needs at least one')
        if self.second is not None and (self.schedule != "constant" or self.second.after >= self.epochs):
            raise ValueError('a second stage begins before the last epoch, after a schedule "constant"')
        if self.stop_after is not None and self.stop_at_train_error is not None:
            raise ValueError("a run ends at its training error or for want of a better validation error, not by both")
        return self


class TransferSpec(Spec):
    """What is trained of a network whose convolutional layers start with ImageNet's weights (torchvision variant)."""

    unfreeze: tuple[int, ...] = Field((), max_length=2)
    # epochs after which conv3 to conv5, then conv1 and conv2 are trained too; (): they stay frozen, and the rest is
    # trained on their features, computed once
    rate_ratio: float = Field(1.0, ge=1)  # the classifier's learning rate over that of conv1 and conv2, if unfrozen

    @property
    def frozen(self) -> bool:
        """Whether the convolutional layers stay as they are."""
        return not self.unfreeze


class RunSpec(Spec):
    """All that determines the result of one training run."""

    dataset: Literal["cifar10", "mnist"] = "cifar10"
    images: ImageSpec = ImageSpec()
    net: NetSpec = NetSpec()
    recipe: RecipeSpec = RecipeSpec()
    transfer: TransferSpec | None = None  # None: every layer starts from `net.init`
    measured: Literal["errors", "kernels", "fit", "features", "splits", "epochs"] = "errors"
    # errors: as training goes; kernels: also the first layer's kernels; fit: also the loss and error on training
    # images with dropout off and the centre crop; features: also ten crops in the test, and what the last hidden
    # layer has learned; splits: the predictions on training, validation and test images, and the maps of one image;
    # epochs: also, after each epoch, the test error and the validation error with dropout on, which protocols of
    # others chose by. Nothing here reads them while it trains.
    test: bool = True  # False for runs that choose something: they never see the test set
    seed: int = Field(0, ge=0)  # initial weights, order of images, augmentation and dropout

    @model_validator(mode="after")
    def _transfer_fits(self) -> "RunSpec":
        if self.transfer is None:
            return self
        fewer = {"train_size": None, "subset": "same", "valid_size": None, "test_size": None}
        seen = self.images.model_copy(update={**fewer, "flip": False})
        if seen != ImageSpec(scaling="imagenet", resize=224):
            raise ValueError('transfer needs images(scaling="imagenet", resize=224) and no augmentation but flip')
        if self.measured != "errors":
            raise ValueError('transfer runs are measured by their errors alone: measured="errors"')
        if self.recipe.bias_learning_rate_factor != 1 or self.recipe.layer_weight_decay:
            raise ValueError("transfer runs have no rates or weight decays of their own for biases or layers")
        if self.recipe.second is not None:
            raise ValueError("transfer runs have one stage")
        return self

    @property
    def side(self) -> int:
        """Pixels a side of what the network sees. Raises `SpecError` for a crop that does not fit."""
        return self.images.side(PIXELS[self.dataset])

    @property
    def frozen(self) -> bool:
        """Whether a classifier is trained on features that were computed once."""
        return self.transfer is not None and self.transfer.frozen

    @property
    def training_images(self) -> int:
        """Training images of an epoch, without reading any."""
        held_back = max(HELD_BACK, self.images.valid_size or 0)
        return self.images.train_size or TRAINING_IMAGES[self.dataset] - held_back

    @property
    def images_seen(self) -> int:
        """Training images that a run sees up to its cap, repetitions counted, the incomplete last batches aside."""
        return self.training_images * self.recipe.epochs

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that name the record.

        Fields at their defaults are left out, so that an option added later does not rename old records; a changed
        default is caught because records keep the full spec and are hashed again when read.
        """
        text = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """What a file of a run under way is called, in words and the hash."""
        return f"{self.dataset}-{self.net.name}-{self.side}-pixels-seed-{self.seed}-{self.hash}"

    def with_(self, **changes: object) -> "RunSpec":
        """A copy with some fields changed; dictionaries change fields inside images, net, recipe or transfer."""
        fields = self.model_dump()
        for name, change in changes.items():
            fields[name] = {**(fields[name] or {}), **change} if isinstance(change, dict) else change
        return parse(fields)


def parse(fields: dict) -> RunSpec:
    """The `RunSpec` a dictionary describes. Raises `SpecError` naming each wrong field."""
    try:
        return RunSpec.model_validate(fields)
    except ValidationError as error:
        raise SpecError(f"Not a valid run specification: {at_fault(error, 'spec')}.") from error
