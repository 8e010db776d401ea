"""One planned run, the profiles, and the names of settings: what all experiments share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import SpecError
from ..records.record import RunRecord
from ..records.specs import RunSpec

PROFILES = ("smoke", "cpu", "gpu")
GRID_SEED = 1000  # a seed of its own, so that no seed that counts has a part in choosing

SCALINGS = {  # in words, for tables
    "mean-image": "0 to 255, less the mean image",
    "mean-image-unit": "less the mean image, divided by the standard deviation of all pixels",
    "standardised": "each channel less its mean, divided by its standard deviation",
    "imagenet": "each channel less ImageNet's mean, divided by its standard deviation",
    "unit-range": "0 to 1",
}
A_FIRST_LOOK: dict[str, Any] = {"valid_size": 500, "test_size": 500}  # what the smoke profile reads of each split
OPTIMISERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
INITS = {
    "paper": "normal, 0.01 in every layer",
    "as-run": "normal, 0.01, but 0.03 in conv3 to conv5",
    "cuda-convnet": "normal, 0.0001 in the first layer, 0.01 in the others",
    "kaiming": "normal, scaled to the number of inputs and the activation (He, Glorot)",
    "torch": "uniform, torch's defaults",
}


@dataclass(frozen=True)
class Planned:
    """One run and its place in an experiment."""

    claim: str
    condition: str
    stage: str  # "grid" chooses a learning rate, "seeds" counts, "replaced" is kept and does not count
    arm: str
    seed: int
    spec: RunSpec = field(repr=False)

    @property
    def title(self) -> str:
        """What a progress bar says of it."""
        rate = f" lr {self.spec.recipe.learning_rate:g}"
        return f"{self.claim}/{self.condition} {self.stage}: {self.arm}{rate} seed {self.seed}"


Runs = Sequence[tuple[Planned, RunRecord | None]]  # planned runs with their records, None where one is missing


def check_profile(profile: str) -> str:
    """The profile itself. Raises `SpecError` for an unknown one."""
    if profile not in PROFILES:
        raise SpecError(f"There is no profile {profile!r}; use one of {', '.join(PROFILES)}.")
    return profile


def describe(spec: RunSpec) -> str:
    """A run's settings in words, its learning rate aside, since a grid may choose that."""
    images, net, recipe = spec.images, spec.net, spec.recipe
    names = {"alexnet": f"AlexNet in its {net.form}-pixel form", "four-layer": "The four-layer network"}
    parts = [names.get(net.name, "The four-layer network with unshared third and fourth layers")]
    parts.append("at its full width" if net.width == 1 else f"at {net.width:g} times its width")
    seen = [f"pixels {SCALINGS[images.scaling]}"]
    sizes = {"training": images.train_size, "validation": images.valid_size, "test": images.test_size}
    seen += [f"{size:,} {name} images" for name, size in sizes.items() if size]
    if images.resize:
        seen.append(f"enlarged to {images.resize} pixels")
    if images.crop:
        seen.append(f"{'random' if images.crops == 'random' else 'centre'} crops of {images.crop} pixels")
    seen += ["reflections"] * images.flip
    seen += [f"colour noise of standard deviation {images.colour:g}"] * bool(images.colour)
    seen += [f"a square of {images.cutout} pixels cut out"] * bool(images.cutout)
    learns = [f"momentum {recipe.momentum:g}", f"batches of {recipe.batch_size}"]
    if recipe.weight_decay:
        learns.append(f"weight decay {recipe.weight_decay:g}")
    learns += [f"weight decay {decay:g} in {layer}" for layer, decay in recipe.layer_weight_decay]
    drops = f", the learning rate divided by 10 after {_and(recipe.drops)}" if recipe.drops else ""
    early = f", or until the validation error gets no better for {recipe.stop_after}" if recipe.stop_after else ""
    return (
        f"{' '.join(parts)}. Images: {', '.join(seen)}. Initial weights: {INITS[net.init]}. Training: "
        f"{OPTIMISERS[recipe.optimiser]}, {', '.join(learns)}; {recipe.epochs} epochs{early}{drops}."
    )


def _and(numbers: tuple[int, ...]) -> str:
    *before, last = map(str, numbers)
    return f"{', '.join(before)} and {last} epochs" if before else f"{last} epochs"


def differing(spec: RunSpec, base: RunSpec) -> dict[str, dict[str, object]]:
    """What a run sets otherwise than another, seed and measurements aside, by part and field."""
    found: dict[str, dict[str, object]] = {}
    for part in ("images", "net", "recipe"):
        ours, theirs = getattr(spec, part), getattr(base, part)
        for name in type(ours).model_fields:
            if getattr(ours, name) != getattr(theirs, name):
                found.setdefault(part, {})[name] = getattr(ours, name)
    return found


def changes(spec: RunSpec, base: RunSpec) -> str:
    """What `differing` finds, in words: `net.norm none`, with commas between."""
    found = differing(spec, base)
    return (
        ", ".join(f"{part}.{name} {_plainly(v)}" for part, own in found.items() for name, v in own.items()) or "nothing"
    )


def as_code(spec: RunSpec, base: RunSpec) -> str:
    """The same as code, which makes a run of the other: `with_(net={'norm': 'none'})`."""
    return f"with_({', '.join(f'{part}={own}' for part, own in differing(spec, base).items())})"


def _plainly(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
