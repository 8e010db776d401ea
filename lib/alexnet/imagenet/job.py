"""Train AlexNet on ImageNet, or on any folder of that form, and evaluate it with one and with ten crops (section 6).

Runs on every GPU of the machine, or on the processes that torchrun or `accelerate launch` started.
"""

import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import filelock
import pandas as pd
import safetensors.torch
import torch
from torch import nn

from ..errors import AlexnetError, DataError, SpecError
from ..records.files import Part, write_atomically
from ..records.record import Environment, Epoch
from ..records.specs import NetSpec
from ..records.store import Store
from ..runs.execution import weights_sha256
from ..runs.pool import stopping_cleanly
from ..training import machine
from ..training.preparation import Preparation, imagenet_statistics
from ..training.recipe import diverged
from . import images as imagenet_images
from . import processes, training
from .evaluation import TORCHVISION_IMAGES, CropErrors, evaluate, torchvision_net
from .images import SIDE, FolderBatches, Photographs, listing
from .training import PAPER_RECIPE, ImagenetSpec

MOST_WORKERS = 16  # processes that decode images for one that trains, unless the user says otherwise
EVALUATED_AT_ONCE = 128  # validation images, over all processes


class ImagenetResult(Part):
    """What came out, and from what."""

    schema_version: Literal[1] = 1
    weights: str  # "trained here", or where they come from
    weights_sha256: str
    spec: ImagenetSpec | None = None  # None for weights that were not trained here, as outcome and speed
    outcome: Literal["completed", "diverged"] | None = None
    history: list[Epoch]
    evaluation: list[CropErrors]
    classes: int
    images: dict[str, int]  # by part of the folder
    fingerprints: dict[str, str]  # sha256 of the names and sizes of the files, by part of the folder
    environment: Environment
    processes: int
    wall_seconds: float = 0.0  # of training
    images_per_second: float | None = None  # training images, all processes together, validation included
    created: str  # UTC, ISO 8601


def spec_of(arguments: Namespace, classes: int) -> ImagenetSpec:
    """The training that the options describe."""
    as_run = {"variant": "as-run", "init": "as-run", "norm": "mean"} if arguments.variant == "as-run" else {}
    init = {"init": arguments.init} if arguments.init else {}
    net = NetSpec(classes=classes, width=arguments.width, dropout=arguments.dropout, **{**as_run, **init})
    own = {name: getattr(arguments, name) for name in ("epochs", "batch_size", "learning_rate", "patience")}
    return ImagenetSpec(net=net, recipe=PAPER_RECIPE.model_copy(update=own), seed=arguments.seed)


def train(arguments: Namespace, train: Photographs, valid: Photographs, workers: int) -> None:
    """Train, or go on with it, and evaluate; the checkpoint stays, so that more epochs can follow."""
    spec = spec_of(arguments, len(train.classes))
    fingerprint = train.fingerprint()
    identity = spec.identity(fingerprint)
    store, batch_size, precision = Store(arguments.results), spec.recipe.batch_size, machine.default_precision()
    with _alone(store, identity):
        imagenet_images.check_readable(valid, workers)
        kept = store.work / f"{fingerprint[:16]}-statistics.npz"
        statistics = imagenet_images.statistics(train, kept, workers)
        prepare = Preparation(spec.images, statistics, processes.device())
        shuffled = FolderBatches(train, prepare, workers, bs=batch_size, shuffle=True, drop_last=True, seed=spec.seed)
        ordered = FolderBatches(valid, prepare, workers, bs=batch_size)
        checkpoint = store.checkpoint(identity)
        model, rows, seconds = training.fit(spec, shuffled, ordered, checkpoint, identity, precision)
        seen = len(train.files) // batch_size * batch_size * len(rows)
        result = evaluated(
            model,
            ordered,
            precision,
            {"train": train, "val": valid},
            weights="trained here",
            spec=spec,
            outcome="diverged" if diverged(rows) else "completed",
            history=[Epoch(**row, seconds=s) for row, s in zip(rows, seconds, strict=True)],
            wall_seconds=sum(seconds),
            images_per_second=seen / sum(seconds),
        )
        if processes.first():
            weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
            write_atomically(arguments.results / f"{identity}.safetensors", safetensors.torch.save(weights))
            _write(result, arguments.results / f"{identity}.json")


@contextmanager
def _alone(store: Store, identity: str) -> Iterator[None]:
    """Hold the lock of a training in its first process. Raises `SpecError` where the same is under way elsewhere."""
    failure: AlexnetError | None = None
    with ExitStack() as stack:
        if processes.first():
            try:
                stack.enter_context(store.lock(identity).acquire(timeout=0))
            except filelock.Timeout:
                failure = SpecError(f"{store.folder}: another process trains this just now; wait for it.")
            except AlexnetError as error:
                failure = error
            except OSError as error:
                failure = SpecError(f"{store.work} cannot be written: {error.strerror or error}. Check its rights.")
        processes.fail_together(failure)
        if processes.first():
            for path in set(store.leftovers(identity)) - {store.checkpoint(identity)}:
                path.unlink(missing_ok=True)  # unfinished files of a killed process
        yield


def judge(arguments: Namespace, valid: Photographs, workers: int) -> None:
    """Evaluate weights that were not trained here, with torchvision's network and preprocessing."""
    named = arguments.weights
    model = torchvision_net(named, len(valid.classes))
    prepare = Preparation(TORCHVISION_IMAGES, imagenet_statistics(SIDE), processes.device())
    batches = FolderBatches(valid, prepare, workers, bs=EVALUATED_AT_ONCE)
    weights = "torchvision IMAGENET1K_V1" if named == "torchvision" else Path(named).name
    result = evaluated(model, batches, "float32", {"val": valid}, weights=weights, history=[])
    if processes.first():
        name = f"weights-{result.weights_sha256[:8]}-{result.fingerprints['val'][:8]}.json"
        _write(result, arguments.results / name)


def evaluated(
    model: nn.Module,
    batches: FolderBatches,  # of validation images
    precision: str,
    parts: dict[str, Photographs],  # of the folder
    **trained: Any,  # what there is to tell of the weights
) -> ImagenetResult:
    """Evaluate a network, and say what came out, from what and where."""
    environment = Environment(
        device=processes.device().type, precision=precision, threads=torch.get_num_threads(), **machine.describe()
    )
    return ImagenetResult(
        weights_sha256=weights_sha256(model),
        evaluation=evaluate(model, batches),
        classes=len(parts["val"].classes),
        images={part: len(listed.files) for part, listed in parts.items()},
        fingerprints={part: listed.fingerprint() for part, listed in parts.items()},
        environment=environment,
        processes=processes.number(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **trained,
    )


def _write(result: ImagenetResult, path: Path) -> None:
    """Write the result, and print the errors in percent, a row a number of crops."""
    write_atomically(path, (result.model_dump_json(indent=1) + "\n").encode())
    rows = [(e.crops, f"{e.top1_error:.1%}", f"{e.top5_error:.1%}") for e in result.evaluation]
    table = pd.DataFrame(rows, columns=["crops", "top-1 error", "top-5 error"])
    print(f"{table.to_string(index=False)}\n{path}", flush=True)


def check(arguments: Namespace, count: int) -> tuple[Photographs | None, Photographs]:
    """The training images (None where weights are evaluated) and the validation images, if everything that can be
    known before any work is in order. Raises `DataError`, `SpecError`."""
    folder, size = arguments.folder, arguments.batch_size
    valid = listing(folder, "val")
    train = listing(folder, "train") if arguments.weights is None else None
    if train is not None and train.classes != valid.classes:
        odd = min(set(train.classes) ^ set(valid.classes))
        where, other = ("train", "val") if odd in train.classes else ("val", "train")
        raise DataError(
            f"{folder}: the class {odd!r} is in {where} and not in {other} ({len(train.classes)} and "
            f"{len(valid.classes)} classes). Both parts need the same classes."
        )
    if len(valid.files) < count:
        few = f"{count} processes cannot share the {len(valid.files)} images in {valid.folder}"
        raise SpecError(f"{few}; use fewer.")
    if train is not None and size % count:
        raise SpecError(f"A batch of {size} images cannot be shared equally by {count} processes.")
    if train is not None and len(train.files) < size:
        raise DataError(
            f"{train.folder} holds {len(train.files)} images, fewer than a batch of {size}; "
            "give more images or a smaller --batch-size."
        )
    return train, valid


def run(arguments: Namespace) -> int:
    """`python -m alexnet imagenet FOLDER`: train and evaluate, or evaluate weights that exist."""
    wanted = arguments.processes or (1 if processes.launched() else max(1, torch.cuda.device_count()))
    if wanted > 1 and not processes.launched():
        check(arguments, wanted)
        return processes.launch(wanted, sys.argv[1:])
    processes.join()
    try:
        with stopping_cleanly():
            count, workers = processes.number(), arguments.workers
            train_images, valid_images = check(arguments, count)
            if workers is None:
                workers = min(MOST_WORKERS, max(1, machine.cores() // count))
            if train_images is None:
                judge(arguments, valid_images, workers)
            else:
                train(arguments, train_images, valid_images, workers)
    except RuntimeError as error:
        if "DataLoader worker" in str(error):  # of a signal handler, whatever this process does just then
            raise imagenet_images.worker_failure(error) from error
        if "by peer" in str(error):  # a connection closed or reset
            raise SpecError("Another process of this training has ended; what it printed says why.") from error
        raise
    except KeyboardInterrupt:
        if processes.first():
            print("\nStopped. The same command goes on from the last epoch.", file=sys.stderr)
        return 130
    finally:
        processes.leave()
    return 0
