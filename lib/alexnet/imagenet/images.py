"""ImageNet-style folders (train/CLASS/*.jpg, val/CLASS/*.jpg) -> augmented float batches, as fastai DataLoaders.

Files are decoded in worker processes: the shorter side is brought to 256 pixels and the central 256x256 patch is cut
out (section 2). Everything that follows happens on the training device, with the code that serves the other runs.
"""

import hashlib
import io
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from tqdm import tqdm

from ..data import photograph
from ..errors import DataError
from ..records.files import write_atomically
from ..training.batches import Batches
from ..training.preparation import Preparation, Statistics
from . import processes

SIDE = 256  # pixels a side of the patches that crops are taken from (section 2)
LAYOUT = "An ImageNet-style folder holds train/CLASS/*.jpg and val/CLASS/*.jpg"
READ_SIZE = 128  # images that are handled at once where no batch size is given
ALIKE = 1e-3  # of 255: images whose pixels are spread less differ in nothing but rounding


Item = tuple[np.ndarray, str]  # a patch, and why it could not be read, or nothing


@dataclass(eq=False)
class Photographs(Dataset):
    """The images of one part of a folder, in the order of their paths.

    An item is a patch uint8 [256, 256, 3]; what cannot be read comes as a message, as errors do not leave workers
    whole.
    """

    folder: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: np.ndarray  # int64 [N]
    sizes: tuple[int, ...]  # bytes

    def fingerprint(self) -> str:
        """sha256 of the names and sizes of all files: another image in a file's place nearly always changes it."""
        digest = hashlib.sha256()
        for file, size in zip(self.files, self.sizes, strict=True):
            digest.update(f"{os.path.relpath(file, self.folder)} {size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Item:
        try:
            return decode(self.files[place]), ""
        except DataError as error:
            return np.zeros((SIDE, SIDE, 3), np.uint8), str(error)

    def read(self, groups: Sequence[Tensor], workers: int, pin: bool = False) -> Iterator[Tensor]:
        """uint8 [B, 256, 256, 3] for each group of places int64 [B], decoded in `workers` processes.

        Raises `DataError` when an image cannot be read.
        """
        loader = DataLoader(
            self,
            batch_sampler=[group.tolist() for group in groups],
            num_workers=workers,
            collate_fn=_stack,
            pin_memory=pin,
            worker_init_fn=_leave_signals_to_the_parent,
        )
        try:
            for pixels, failure in loader:
                if failure:
                    raise DataError(failure)
                yield pixels
        except DataError:
            raise
        except Exception as error:  # whatever a worker met, or kept it from starting
            if workers:
                raise worker_failure(error) from error
            raise


def listing(folder: Path, part: str) -> Photographs:
    """List `folder/part`, in the order of torchvision's `ImageFolder`.

    Raises `DataError` when it is missing, has fewer than two classes, a class has no images, or a file cannot be read.
    """
    place = folder / part
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. {LAYOUT}; name one with IMAGENET=.")
    if not place.is_dir():
        raise DataError(f"{folder} has no folder {part!r}. {LAYOUT}.")
    try:
        classes = sorted(entry.name for entry in os.scandir(place) if stat.S_ISDIR(os.stat(entry.path).st_mode))
        found = [_images(place / name) for name in classes]
        sizes = tuple(_size(file) for files in found for file in files)
    except OSError as error:
        reason = f"{error.filename} cannot be read: {error.strerror}"
        raise DataError(f"{reason}. Replace it, mend its rights, or take it out.") from error
    empty = [name for name, files in zip(classes, found, strict=True) if not files]
    if empty or not classes:
        reason = f"{empty[0]!r} holds no image" if empty else "it holds no folder"
        raise DataError(f"{place} holds no folder with images for each class: {reason}. {LAYOUT}.")
    if len(classes) == 1:
        raise DataError(f"{place} holds the one class {classes[0]!r}; there is nothing to tell apart. Add another.")
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in found])
    return Photographs(place, tuple(classes), tuple(file for files in found for file in files), labels, sizes)


def _images(folder: Path) -> list[str]:
    """The files in and below a folder whose names end as those of images, also behind links, which may lead back."""
    endings = tuple(end for end, kind in Image.registered_extensions().items() if kind in photograph.FORMATS)
    found, seen = [], set()
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(folders)
        if real not in seen:
            found += [(place, name) for name in names if name.lower().endswith(endings)]
        seen.add(real)
    return [os.path.join(place, name) for place, name in sorted(found)]


def _raise(error: OSError) -> None:
    raise error


def _size(file: str) -> int:
    """Bytes of a file. Raises `DataError` where it is none, as reading a pipe would wait for ever, or is empty."""
    state = os.stat(file)
    if not stat.S_ISREG(state.st_mode) or not state.st_size:
        what = "is empty" if stat.S_ISREG(state.st_mode) else "is no file"
        raise DataError(f"{file} {what}. Replace it or take it out.")
    return state.st_size


def decode(file: str) -> np.ndarray:
    """The central patch uint8 [256, 256, 3] of an image whose shorter side is brought to 256 pixels (section 2).

    Bilinear, as torchvision's presets have it. Raises `DataError` when the file cannot be read.
    """
    found = photograph.read(file)
    image = found.image if found.image.mode == "RGB" else found.image.convert("RGB")
    width, height = image.size
    shorter = min(width, height)
    size = (SIDE * width // shorter, SIDE * height // shorter)
    if size[0] * size[1] > photograph.MOST_PIXELS:
        return found.square(SIDE, 3)  # nearly the same, without the memory for all of a long strip
    left, top = round((size[0] - SIDE) / 2), round((size[1] - SIDE) / 2)
    resized = image.resize(size, Image.Resampling.BILINEAR)
    return np.array(resized.crop((left, top, left + SIDE, top + SIDE)))


def worker_failure(error: Exception) -> DataError:
    """The error for a worker that failed, died or cannot start: what torch says of it last, and a remedy."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip().rstrip(".")
    return DataError(
        f"A process that decodes images failed: {reason}. Give a container more shared memory "
        "(docker run --shm-size=8g), or decode without such processes: --workers 0."
    )


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C and torchrun's SIGTERM reach workers too: the process that trains stops in order, and they with it.

    A worker that died of the signal would be an error there, and hide the message of how to go on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _stack(items: list[Item]) -> tuple[Tensor, str]:
    """The patches of a batch, and the first failure among them.

    A worker brings them into shared memory here, as torch itself would do it in a thread whose errors nobody hears of,
    and the process that trains would wait for ever.
    """
    pixels = torch.from_numpy(np.stack([patch for patch, _ in items]))
    failure = next((why for _, why in items if why), "")
    if get_worker_info() is not None:
        try:
            pixels.share_memory_()
        except (RuntimeError, OSError) as error:
            return torch.empty(0), failure or str(worker_failure(error))
    return pixels, failure


class FolderBatches(Batches):
    """This process's share of the batches of a folder; together the processes see what one alone would see.

    `bs` counts the images of a batch over all processes. In training each takes an equal, contiguous piece of every
    batch, so that the mean of their gradients is the gradient of the whole batch. Crops, reflections and colours
    belong to an image's place in the epoch, whoever prepares it.
    """

    def __init__(self, photographs: Photographs, preparation: Preparation, workers: int = 0, **options: object):
        super().__init__(photographs, preparation, **options)  # type: ignore[arg-type]  # of the same interface
        self.workers = workers

    def share(self) -> list[Tensor]:
        """The positions in the epoch's order of each batch's images for this process: int64 [B] a batch."""
        count, rank = processes.number(), processes.rank()
        if self.drop_last:
            whole = torch.arange(self.n // self.bs * self.bs).view(-1, count, self.bs // count)
            return list(whole[:, rank])
        return list(torch.arange(rank, self.n, count).split(max(1, self.bs // count)))

    def __len__(self) -> int:
        return len(self.share())

    def raw(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Positions int64 [B] in the epoch's order, pixels uint8 [B, 256, 256, 3], labels int64 [B], on the device."""
        places, _ = self.order(self.epoch)
        share = self.share()
        groups = [places[positions] for positions in share]
        cuda = self.device.type == "cuda"
        pixels = self.dataset.read(groups, self.workers, pin=cuda)
        labels = torch.from_numpy(self.dataset.labels)
        for positions, group, patches in zip(share, groups, pixels, strict=True):
            yield positions, patches.to(self.device, non_blocking=cuda), labels[group].to(self.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        _, generator = self.order(self.epoch)
        draws = self.preparation.draw(self.n, generator) if self.shuffle else self.preparation.centre(self.n)
        for positions, pixels, labels in self.raw():
            yield self.preparation(pixels, draws.part(positions.to(self.device))), labels


def statistics(train: Photographs, file: Path, workers: int = 0) -> Statistics:
    """Mean image and principal components of the training images' pixels (sections 2 and 4.1).

    They take a pass over all images, which the processes share; the first keeps them in `file` for the next time.
    Raises `DataError`, and ends every process, when an image cannot be read or all are alike.
    """
    found = processes.of_the_first(_kept(file) if processes.first() else None) or _computed(train, file, workers)
    alike = processes.first() and found.spread < ALIKE  # one speaks for all
    reason = f"The images in {train.folder} are all alike, and pixels are divided by their spread; add others."
    processes.fail_together(DataError(reason) if alike else None)
    return found


def _computed(train: Photographs, file: Path, workers: int) -> Statistics:
    """The statistics from all images; the first process writes them into `file`."""
    counted, sums, outer = torch.zeros(1), torch.zeros(SIDE, SIDE, 3, dtype=torch.int64), torch.zeros(3, 3).double()
    for pixels in _pass(train, workers, "statistics of the training images"):
        counted += len(pixels)
        sums += pixels.sum(0, dtype=torch.int64).cpu()
        flat = pixels.flatten(1, 2).double()  # in float32 the sum over an image's pixels would lose four digits
        outer += torch.bmm(flat.transpose(1, 2), flat).sum(0).cpu()
    images = float(processes.total(counted))
    mean_image = (processes.total(sums) / images).numpy()
    squares = (processes.total(outer) / (images * SIDE**2)).numpy()  # mean products of the channels, float64 [3, 3]
    mean = mean_image.mean((0, 1))
    spread = max(0.0, squares.trace() / 3 - np.square(mean_image).mean()) ** 0.5
    found = Statistics.from_moments(mean_image.astype(np.float32), spread, mean, squares - np.outer(mean, mean))
    if processes.first():
        content = io.BytesIO()
        np.savez(content, **vars(found))
        write_atomically(file, content.getvalue())
    return found


def _kept(file: Path) -> Statistics | None:
    """Statistics from an earlier run; None where there are none, or where the file is damaged."""
    try:
        with np.load(file) as arrays:
            numbers: dict[str, Any] = {n: torch.from_numpy(a) if a.ndim else float(a) for n, a in arrays.items()}
            return Statistics(**numbers)
    except (OSError, ValueError, TypeError, EOFError, BadZipFile):
        return None


def check_readable(photographs: Photographs, workers: int = 0) -> None:
    """Decode every image once; the processes share them. Raises `DataError` in each when one cannot be read."""
    for _ in _pass(photographs, workers, "reading the validation images"):
        pass


def _pass(photographs: Photographs, workers: int, title: str) -> Iterator[Tensor]:
    """All images of this process's share, uint8 [B, 256, 256, 3] on its device; errors are raised in all processes."""
    mine = torch.arange(processes.rank(), len(photographs), processes.number()).split(READ_SIZE)
    silent = None if processes.first() else True  # None: where there is a terminal
    read = tqdm(photographs.read(mine, workers), title, len(mine), unit="batch", disable=silent, leave=False)
    failure = None
    try:
        for pixels in read:
            yield pixels.to(processes.device())
    except DataError as error:
        failure = error
    processes.fail_together(failure)
