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
from pathlib import Path

import numpy as np

from ..data import weights
from ..errors import AlexnetError
from ..records.record import Probe, RunRecord
from ..records.specs import KERNELS, LEARNING, SPLITS, RecipeSpec, RunSpec
from ..records.store import Store
from ..runs import execution
from ..training import evaluation
from ..training.prepared import WEIGHTS, split_for
from ..training.recipe import ending, finished, learning_rates, rate_at

PRECISION_TOLERANCE = 0.02  # by which an error in bfloat16 may differ from that in float32
HALF_PRECISION = 2.0**-11  # largest relative rounding error of float16, in which log probabilities are stored
LARGEST_HALF = 65504.0  # the largest float16; beyond it a log probability is stored as -inf
OTHER_FILES = {".gitignore", ".gitkeep", "README.md"}  # what a store may hold besides records


def beginning(spec: RunSpec) -> RunSpec:
    """A spec with all at its defaults that acts after the first batch: runs that begin alike have the same probe."""
    recipe = RecipeSpec(batch_size=spec.recipe.batch_size)
    return spec.model_copy(update={"recipe": recipe, "measured": "errors", "test": True})


def differences(
    record: RunRecord,
    store: Store,
    probe: Callable[[RunSpec], Probe] | None = execution.probe,  # of a spec's beginning; None: the probe is left out
) -> Iterator[str]:
    """All that differs between a record and what its spec, its predictions, the data and this code give.

    The probe is the one check that needs ImageNet's weights, for runs that use them.
    """

    def _probe(record: RunRecord, store: Store) -> Iterator[str]:
        """A fresh build of the spec gives the weights, the batch, the loss and the gradient that were recorded."""
        if probe is not None:
            fresh = probe(beginning(record.spec))
            yield from (f"probe: {difference}" for difference in record.probe.differences(fresh))

    for check in (_history, _final, _clock, _data, _predictions, _probe):
        try:
            yield from check(record, store)
        except (AlexnetError, RuntimeError, ValueError, KeyError) as error:
            # A spec that was altered may describe what cannot be built or drawn.
            yield f"the check of its {check.__name__.strip('_')} is impossible: {error}"


def _same(recorded: float | None, derived: float | None, relative: float = 0.0, absolute: float = 0.0) -> bool:
    if recorded is None or derived is None:
        return recorded is derived
    if math.isnan(recorded) or math.isnan(derived):
        return math.isnan(recorded) and math.isnan(derived)
    return math.isclose(recorded, derived, rel_tol=relative, abs_tol=absolute)


def _compare(
    what: str, recorded: float | None, derived: float | None, relative: float = 0.0, absolute: float = 0.0
) -> Iterator[str]:
    if not _same(recorded, derived, relative, absolute):
        yield f"{what} is {_text(recorded)}, derived again {_text(derived)}"


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.9g}"


def _history(record: RunRecord, store: Store) -> Iterator[str]:
    """Epochs, learning rates and the end follow from the recipe; errors are numbers of images."""
    recipe, rows = record.spec.recipe, _rows(record)
    if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
        yield "history: its epochs are not numbered from 1 on"
    split = split_for(record.spec)
    last_batch = 1 - 1 / max(len(split.train) // recipe.batch_size, 1)
    top_rate = learning_rates(recipe, record.spec.transfer)[0]
    seen = len(split.train) // recipe.batch_size * recipe.batch_size
    images = {"train_error": seen, "valid_error": len(split.valid)}
    for place, row in enumerate(rows):
        rate = rate_at(recipe, top_rate, rows[:place], last_batch)
        yield from _compare(f"history: the learning rate of epoch {place + 1}", row["learning_rate"], rate, 1e-9)
        for name, count in images.items():
            wrong = row[name] * count
            if not (0 <= row[name] <= 1 and math.isclose(wrong, round(wrong), abs_tol=1e-3)):
                yield f"history: {name} of epoch {place + 1} is {row[name]:.9g}, no number of {count} images"
    ends = (done for done in range(1, len(rows)) if _over(record, rows[:done]))
    if (end := next(ends, None)) is not None:
        yield f"history: it goes on after epoch {end}, where the run had to end"
    elif not _over(record, rows):
        yield f"history: it ends after {len(rows)} epochs without a reason; the cap is {recipe.epochs}"


def _over(record: RunRecord, rows: list[dict]) -> bool:
    """Whether a run has to end after these epochs."""
    return len(rows) >= record.spec.recipe.epochs or finished(record.spec.recipe, rows)


def _rows(record: RunRecord) -> list[dict]:
    return [epoch.model_dump(exclude={"seconds"}) for epoch in record.history]


def _final(record: RunRecord, store: Store) -> Iterator[str]:
    """The final figures are those of the last epoch, and the outcome follows from the history."""
    rows, final = _rows(record), record.final
    if not rows:
        return
    outcome, epochs_to_target = ending(record.spec.recipe, rows)
    if final.outcome != outcome:
        yield f"final: the outcome is {final.outcome}, derived again {outcome}"
    yield from _compare("final: epochs", final.epochs, len(rows))
    yield from _compare("final: epochs_to_target", final.epochs_to_target, epochs_to_target, 1e-9)
    for name in ("train_error", "valid_error"):
        yield from _compare(f"final: {name}", getattr(final, name), rows[-1][name])


def _clock(record: RunRecord, store: Store) -> Iterator[str]:
    """Wall time is the sum over the epochs, and the speed follows from it."""
    train, size = split_for(record.spec).train, record.spec.recipe.batch_size
    seconds = sum(epoch.seconds for epoch in record.history)
    yield from _compare("wall_seconds", record.wall_seconds, seconds, 1e-9)
    images = len(train) // size * size * len(record.history)
    yield from _compare("images_per_second", record.images_per_second, images / seconds if seconds else 0.0, 1e-9)


def _data(record: RunRecord, store: Store) -> Iterator[str]:
    """The data are those that were verified just now."""
    dataset = split_for(record.spec).dataset
    if record.data.name != dataset.name:
        yield f"data: the record names {record.data.name}, its spec {dataset.name}"
    for name, digest in dataset.hashes.items():
        if record.data.hashes.get(name) != digest:
            yield f"data: the hash of {name} is not that of the verified data"
    used, known = record.data.hashes.get(WEIGHTS), weights.pinned_sha256()
    if used != (known if record.spec.transfer is not None else None):
        yield f"data: the record was made with {'other' if used else 'no'} ImageNet weights, its spec wants " + (
            "the pinned ones" if record.spec.transfer is not None else "none"
        )


def _predictions(record: RunRecord, store: Store) -> Iterator[str]:
    """Test error, test loss and what was learned are derived again from the stored arrays and the labels."""
    final = record.final
    if not record.spec.test:
        if (record.predictions, final.test_error, final.test_loss) != (None, None, None):
            yield "predictions: there are test results of a run that may not see the test set"
        return
    if record.predictions is None:
        yield "predictions: a run that uses the test set has none"
        return
    if record.predictions.file != f"{record.hash}.npz":
        yield f"predictions: the record names {record.predictions.file}, not {record.hash}.npz"
    arrays = store.predictions(record)
    predicted, log_probability = arrays["predicted"], arrays["true_log_probability"].astype(np.float64)
    labels = split_for(record.spec).test_labels
    yield from _learned(record, arrays)
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


def _learned(record: RunRecord, arrays: dict[str, np.ndarray]) -> Iterator[str]:
    """What the network has learned is derived again from the arrays; a figure is there if the spec asks for it."""
    measured = record.spec.measured
    last = record.history[-1] if record.history else None
    for name, value, asked in (
        ("learned", record.learned, measured in KERNELS or "first_kernels" in arrays),
        ("final: clean_train_error", record.final.clean_train_error, measured not in ("errors", "kernels")),
        ("history: clean_train_loss", last and last.clean_train_loss, measured in LEARNING),
        ("history: test_error", last and last.test_error, measured == "epochs"),
        ("history: dropout_valid_error", last and last.dropout_valid_error, measured == "epochs"),
    ):
        if (value is not None) != asked:
            yield f"{name} is {'missing' if asked else 'there'}, though the spec says {measured!r}"
    if measured in SPLITS:
        yield from _splits(record, arrays)
    if record.learned is not None:
        for name, derived in evaluation.derived(record.spec, split_for(record.spec), arrays).model_dump().items():
            yield from _compare(f"learned: {name}", getattr(record.learned, name), derived, 1e-9)
    if record.final.clean_train_error is not None:
        train = split_for(record.spec).train
        wrong = record.final.clean_train_error * len(train)
        if not math.isclose(wrong, round(wrong), abs_tol=1e-3):
            yield f"final: clean_train_error is {record.final.clean_train_error:.9g}, no number of {len(train)} images"


def _splits(record: RunRecord, arrays: dict[str, np.ndarray]) -> Iterator[str]:
    """The stored predictions on training and validation images give the errors of the record.

    Those of the validation images are made in float32, the history may be in bfloat16, which moves a few images.
    """
    split = split_for(record.spec)
    places = (split.train, split.valid)
    tolerances = (1e-9, 0.0 if record.environment.precision == "float32" else PRECISION_TOLERANCE)
    errors = (record.final.clean_train_error, record.final.valid_error)
    for name, chosen, error, tolerance in zip(("train", "valid"), places, errors, tolerances, strict=True):
        predicted = arrays[f"{name}_predicted"]
        if len(predicted) != len(chosen):
            yield f"{name}_predicted: {len(predicted)} are stored for {len(chosen)} images"
            continue
        derived = float(np.mean(predicted != split.dataset.train_labels[chosen]))
        yield from _compare(f"final: {name} error", error, derived, absolute=max(tolerance, 1e-9))


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
    steps = spec.recipe.model_dump(include=names)
    return {
        **spec.model_dump(exclude={"recipe", "test", "measured"}),
        **steps,
        "bias": spec.recipe.bias_learning_rate_factor,
    }


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
        if path.parent == store.work and path.stem in hashes:
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
