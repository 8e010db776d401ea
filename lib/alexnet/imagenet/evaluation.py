"""Errors of a network on an ImageNet-style folder with one and with ten crops, and torchvision's network to compare."""

import pickle
import urllib.error

import safetensors
import safetensors.torch
import torch
from torch import nn

from ..data.compat import import_torchvision
from ..errors import DataError
from ..records.files import Part
from ..records.specs import ImageSpec
from ..training.evaluation import mean_log_softmax
from . import processes
from .images import FolderBatches

TORCHVISION_IMAGES = ImageSpec(scaling="imagenet", crop=224)


class CropErrors(Part):
    """Errors on the validation images, as fractions, with the softmax averaged over so many crops (section 4.1)."""

    crops: int
    top1_error: float
    top5_error: float


def evaluate(model: nn.Module, batches: FolderBatches) -> list[CropErrors]:
    """Errors with the centre crop and with ten crops, in float32, over the shares of all processes."""
    model.eval()
    counted, wrong = torch.zeros(1), torch.zeros(2, 2)  # crops by top-1 and top-5
    with torch.no_grad():
        for _, pixels, labels in batches.raw():
            for row in (0, 1):
                scores = mean_log_softmax(model, batches.preparation, pixels, ten_crop=bool(row))
                right = (scores.topk(min(5, scores.shape[1])).indices == labels[:, None]).cpu()
                wrong[row, 0] += (~right[:, 0]).sum()
                wrong[row, 1] += (~right.any(1)).sum()
            counted += len(labels)
    errors = processes.total(wrong) / processes.total(counted)
    return [
        CropErrors(crops=crops, top1_error=top1, top5_error=top5)
        for crops, (top1, top5) in zip((1, 10), errors.tolist(), strict=True)
    ]


def torchvision_net(named: str, classes: int) -> nn.Module:
    """torchvision's AlexNet with its own ImageNet weights ("torchvision"), or with those in a file.

    Raises `DataError` when the weights cannot be had, or are not those of such a network with that many classes.
    """
    models = import_torchvision().models
    try:
        if named == "torchvision":
            weights = models.AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        elif named.endswith(".safetensors"):
            weights = safetensors.torch.load_file(named)
        else:
            weights = torch.load(named, weights_only=True, map_location="cpu")
    except urllib.error.URLError as error:
        raise DataError(
            f"torchvision's weights cannot be downloaded ({error.reason}); name a file that holds them: WEIGHTS=FILE."
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise DataError(f"{named}: no weights to be read ({_line(error)}); give a .pth or .safetensors.") from error
    net = models.alexnet(num_classes=classes)
    try:
        net.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise DataError(
            f"{named}: these are not the weights of torchvision's AlexNet for the {classes} classes of this folder: "
            f"{_line(error)}."
        ) from error
    return net.to(processes.device())


def _line(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:200].rstrip(".")
