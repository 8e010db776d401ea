"""What can be checked of a run record without training again. Each check yields what differs, in words.

A record is bound to its spec and to this code by what the spec alone determines: the probe, the learning rate of
every epoch, the epoch at which the run had to end, and what follows from the stored predictions. Momentum, weight
decay, dropout and augmentation leave no trace before training: a record altered in these, and losses altered in the
middle of a history, show when the run is trained again, or against the committed file.
"""

import json
import math
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..data import weights
from ..errors import AlexnetError
from ..records.record import Probe, RunRecord
from ..records.specs import KERNELS, LEARNING, SPLITS, RecipeSpec, RunSpec
from ..records.store import Store
from ..runs import execution
from ..training import evaluation
from ..training.prepared import WEIGHTS, Split, split_for
from ..training.recipe import ending, finished, learning_rates, rate_at

PRECISION_TOLERANCE = 0.02  # by which an error in bfloat16 may differ from that in float32
HALF_PRECISION = 2.0**-11  # largest relative rounding error of float16, in which log probabilities are stored
LARGEST_HALF = 65504.0  # the largest float16; beyond it a log probability is stored as -inf
OTHER_FILES = {".gitignore", ".gitkeep", "README.md"}  # what a store may hold besides records


def beginning(spec: RunSpec) -> RunSpec:
    """A spec with all at its defaults that acts after the first batch: runs that begin alike have the same probe."""
    recipe = RecipeSpec(batch_size=spec.recipe.batch_size)
    return spec.model_copy(update={"recipe": recipe, "measured": "errors", "test": True})


@dataclass(frozen=True)
class _Run:
    """A record, and what of it and of its spec several checks look at."""

    record: RunRecord
    store: Store

    @cached_property
    def split(self) -> Split:
        return split_for(self.record.spec)

    @cached_property
    def rows(self) -> list[dict]:
        return [epoch.model_dump(exclude={"seconds"}) for epoch in self.record.history]

    @property
    def images_an_epoch(self) -> int:
        size = self.record.spec.recipe.batch_size
        return len(self.split.train) // size * size


def differences(
    record: RunRecord,
    store: Store,
    probe: Callable[[RunSpec], Probe] | None = execution.probe,  # of a spec's beginning; None: the probe is left out
) -> Iterator[str]:
    """All that differs between a record and what its spec, its predictions, the data and this code give.

    The probe is the one check that needs ImageNet's weights, for runs that use them.
    """

    def _probe(run: _Run) -> Iterator[str]:
        """A fresh build of the spec gives the weights, the batch, the loss and the gradient that were recorded."""
        if probe is not None:
            fresh = probe(beginning(record.spec))
            yield from (f"probe: {difference}" for difference in record.probe.differences(fresh))

    run = _Run(record, store)
    for check in (_history, _final, _clock, _data, _predictions, _probe):
        try:
            yield from check(run)
        except (AlexnetError, RuntimeError, ValueError, KeyError) as error:
            # A spec that was altered may describe what cannot be built or drawn.
            yield f"the check of its {check.__name__.strip('_')} is impossible: {error}"


def _compare(
    what: str, recorded: float | None, derived: float | None, relative: float = 0.0, absolute: float = 0.0
) -> Iterator[str]:
    """Equal within a tolerance; none and not-a-number are equal to themselves."""
    if (
        recorded is not None
        and derived is not None
        and math.isclose(recorded, derived, rel_tol=relative, abs_tol=absolute)
    ):
        return
    if repr(recorded) != repr(derived):
        yield f"{what} is {_text(recorded)}, derived again {_text(derived)}"


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.9g}"


def _a_number_of(images: int, what: str, error: float) -> Iterator[str]:
    """An error is a fraction of so many images."""
    wrong = error * images
    if not (0 <= error <= 1 and math.isclose(wrong, round(wrong), abs_tol=1e-3)):
        yield f"{what} is {error:.9g}, no number of {images} images"


def _history(run: _Run) -> Iterator[str]:
    """Epochs, learning rates and the end follow from the recipe; errors are numbers of images."""
    spec, rows = run.record.spec, run.rows
    if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
        yield "history: its epochs are not numbered from 1 on"
    last_batch = 1 - 1 / max(run.images_an_epoch // spec.recipe.batch_size, 1)
    top_rate = learning_rates(spec.recipe, spec.transfer)[0]
    for place, row in enumerate(rows):
        rate = rate_at(spec.recipe, top_rate, rows[:place], last_batch)
        yield from _compare(f"history: the learning rate of epoch {place + 1}", row["learning_rate"], rate, 1e-9)
        for name, images in (("train_error", run.images_an_epoch), ("valid_error", len(run.split.valid))):
            yield from _a_number_of(images, f"history: {name} of epoch {place + 1}", row[name])

    def over(done: int) -> bool:
        return done >= spec.recipe.epochs or finished(spec.recipe, rows[:done])

    if (end := next(filter(over, range(1, len(rows))), None)) is not None:
        yield f"history: it goes on after epoch {end}, where the run had to end"
    elif not over(len(rows)):
        yield f"history: it ends after {len(rows)} epochs without a reason; the cap is {spec.recipe.epochs}"


def _final(run: _Run) -> Iterator[str]:
    """The final figures are those of the last epoch, and the outcome follows from the history."""
    rows, final = run.rows, run.record.final
    if not rows:
        return
    outcome, epochs_to_target = ending(run.record.spec.recipe, rows)
    if final.outcome != outcome:
        yield f"final: the outcome is {final.outcome}, derived again {outcome}"
    yield from _compare("final: epochs", final.epochs, len(rows))
    yield from _compare("final: epochs_to_target", final.epochs_to_target, epochs_to_target, 1e-9)
    for name in ("train_error", "valid_error"):
        yield from _compare(f"final: {name}", getattr(final, name), rows[-1][name])


def _clock(run: _Run) -> Iterator[str]:
    """Wall time is the sum over the epochs, and the speed follows from it."""
    record, seconds = run.record, sum(epoch.seconds for epoch in run.record.history)
    yield from _compare("wall_seconds", record.wall_seconds, seconds, 1e-9)
    speed = run.images_an_epoch * len(record.history) / seconds if seconds else 0.0
    yield from _compare("images_per_second", record.images_per_second, speed, 1e-9)


def _data(run: _Run) -> Iterator[str]:
    """The data are those that were verified just now."""
    used, dataset = run.record.data, run.split.dataset
    if used.name != dataset.name:
        yield f"data: the record names {used.name}, its spec {dataset.name}"
    for name, digest in dataset.hashes.items():
        if used.hashes.get(name) != digest:
            yield f"data: the hash of {name} is not that of the verified data"
    initial, pinned = used.hashes.get(WEIGHTS), run.record.spec.transfer is not None
    if initial != (weights.pinned_sha256() if pinned else None):
        which, wanted = "other" if initial else "no", "the pinned ones" if pinned else "none"
        yield f"data: the record was made with {which} ImageNet weights, its spec wants {wanted}"


def _predictions(run: _Run) -> Iterator[str]:
    """Test error, test loss and what was learned are derived again from the stored arrays and the labels."""
    record, final = run.record, run.record.final
    if not record.spec.test:
        if (record.predictions, final.test_error, final.test_loss) != (None, None, None):
            yield "predictions: there are test results of a run that may not see the test set"
        return
    if record.predictions is None:
        yield "predictions: a run that uses the test set has none"
        return
    if record.predictions.file != f"{record.hash}.npz":
        yield f"predictions: the record names {record.predictions.file}, not {record.hash}.npz"
    arrays, labels = run.store.predictions(record), run.split.test_labels
    predicted, log_probability = arrays["predicted"], arrays["true_log_probability"].astype(np.float64)
    yield from _learned(run, arrays)
    if not len(predicted) == len(log_probability) == len(labels):
        yield f"predictions: {len(predicted)} are stored for {len(labels)} test images"
        return
    right = predicted == labels
    yield from _compare("final: test_error", final.test_error, float(np.mean(~right)))
    yield from _compare_loss(final.test_loss, log_probability)
    # A right prediction has the largest of the probabilities, a wrong one leaves less than half to the true class.
    least, most = -math.log(record.spec.net.classes) - 0.01, math.log(0.5) + 0.01
    if np.any(right & (log_probability < least)) or np.any(~right & (log_probability > most)):
        yield "predictions: classes and probabilities contradict each other"


def _learned(run: _Run, arrays: dict[str, np.ndarray]) -> Iterator[str]:
    """What the network has learned is derived again from the arrays; a figure is there if the spec asks for it."""
    record, clean_error, measured = run.record, run.record.final.clean_train_error, run.record.spec.measured
    last = record.history[-1] if record.history else None
    for name, value, asked in (
        ("learned", record.learned, measured in KERNELS or "first_kernels" in arrays),
        ("final: clean_train_error", clean_error, measured not in ("errors", "kernels")),
        ("history: clean_train_loss", last and last.clean_train_loss, measured in LEARNING),
        ("history: test_error", last and last.test_error, measured == "epochs"),
        ("history: dropout_valid_error", last and last.dropout_valid_error, measured == "epochs"),
    ):
        if (value is not None) != asked:
            yield f"{name} is {'missing' if asked else 'there'}, though the spec says {measured!r}"
    if measured in SPLITS:
        # On validation images they are made in float32, the history may be in bfloat16, which moves a few images.
        moved = 1e-9 if record.environment.precision == "float32" else PRECISION_TOLERANCE
        yield from _errors_of(run, arrays, "train", clean_error, 1e-9)
        yield from _errors_of(run, arrays, "valid", record.final.valid_error, moved)
    if record.learned is not None:
        for name, derived in evaluation.derived(record.spec, run.split, arrays).model_dump().items():
            yield from _compare(f"learned: {name}", getattr(record.learned, name), derived, 1e-9)
    if clean_error is not None:
        yield from _a_number_of(len(run.split.train), "final: clean_train_error", clean_error)


def _errors_of(
    run: _Run, arrays: dict[str, np.ndarray], part: str, error: float | None, tolerance: float
) -> Iterator[str]:
    """The stored predictions on training or validation images give the error of the record."""
    predicted, chosen = arrays[f"{part}_predicted"], getattr(run.split, part)
    if len(predicted) == len(chosen):
        derived = float(np.mean(predicted != run.split.dataset.train_labels[chosen]))
        yield from _compare(f"final: {part} error", error, derived, absolute=tolerance)
    else:
        yield f"{part}_predicted: {len(predicted)} are stored for {len(chosen)} images"


def _compare_loss(recorded: float | None, log_probability: np.ndarray) -> Iterator[str]:
    """The test loss, within the rounding of the stored log probabilities."""
    if np.isneginf(log_probability).any():  # beyond float16: all that is known is a lower bound
        least = float(-log_probability.clip(min=-LARGEST_HALF).mean())
        if recorded is None or recorded < least * (1 - HALF_PRECISION):
            yield f"final: test_loss is {_text(recorded)}, from the stored predictions at least {_text(least)}"
        return
    derived = float(-log_probability.mean())
    yield from _compare("final: test_loss", recorded, derived, 2 * HALF_PRECISION, 1e-6)


def copies(records: Iterable[RunRecord]) -> Iterator[tuple[str, str]]:
    """Hash of a record, and what is wrong: runs whose specs lead to other weights cannot end with the same."""
    alike = defaultdict(list)
    for record in records:
        if record.final.outcome != "diverged":  # weights that are no numbers are all alike
            alike[record.weights_sha256].append(record)
    for group in alike.values():
        for record in group:
            others = [other.hash for other in group if _training(other) != _training(record)]
            if others:
                yield record.hash, f"its weights are those of {', '.join(others)}: all but one are copies"


def _training(record: RunRecord) -> dict:
    """The part of a spec that acts on every step; the rest decides only when a run ends."""
    spec = record.spec
    names = {"optimiser", "learning_rate", "momentum", "weight_decay", "layer_weight_decay", "batch_size"}
    steps = spec.recipe.model_dump(include=names) | {"bias": spec.recipe.bias_learning_rate_factor}
    return spec.model_dump(exclude={"recipe", "test", "measured"}) | steps


def strays(store: Store) -> Iterator[str]:
    """Files in a store that belong to no record, each with what it seems to be."""
    hashes = set(store.hashes())
    for path in sorted(store.folder.iterdir()):
        if path.is_dir() or path.name in OTHER_FILES or path.suffix == ".json":
            continue
        if path in store.leftovers():
            yield f"{path.name}: left over from a process that was killed"
        elif path.suffix != ".npz":
            yield f"{path.name}: no part of any record"
        elif path.stem not in hashes:
            yield f"{path.name}: predictions without a record"
    for path in store.leftovers():
        if path.parent == store.work and path.stem[-16:] in hashes:
            yield f"{path.relative_to(store.folder)}: left over from a run whose record is complete"


def edited_since_committed(store: Store) -> Iterator[str]:
    """Names of records that differ from their committed form and yet claim to be made at the same moment.

    A run that was made anew has a new time of creation. Without git there is nothing to compare with.
    """
    names = git(store.folder, "diff", "--name-only", "--relative", "HEAD", "--", ".")
    for name in (names or "").splitlines():
        path = store.folder / name
        if path.parent == store.folder and path.suffix == ".json" and path.is_file():
            committed, present = git(store.folder, "show", f"HEAD:./{name}"), path.read_text(errors="replace")
            if _created(committed) == _created(present) is not None:
                yield name


def _created(text: str | None) -> str | None:
    try:
        fields = json.loads(text or "")
    except ValueError:
        return None
    return fields.get("created") if isinstance(fields, dict) else None


def git(folder: Path, *arguments: str) -> str | None:
    """What git says about a folder; None where there is no git or no repository."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout
