"""fastai's running figures, kept on the training device until the epoch ends.

fastai copies the loss of every batch to the host. On a GPU the program then waits, batch after batch, for work that
it could already have queued behind. On the processor nothing changes.
"""

import torch
from fastai.callback.core import Callback
from fastai.learner import AvgLoss, AvgMetric, AvgSmoothLoss, Learner
from fastai.torch_core import find_bs
from torch import Tensor


class DeviceLoss(AvgLoss):
    """Mean loss over the epoch."""

    total: float | Tensor

    def accumulate(self, learn: Learner) -> None:
        """Add a batch."""
        images = find_bs(learn.yb)
        self.total = self.total + learn.loss.detach().mean() * images
        self.count += images


class DeviceSmoothLoss(AvgSmoothLoss):
    """Exponentially weighted mean of the losses of batches."""

    val: Tensor

    def accumulate(self, learn: Learner) -> None:
        """Add a batch."""
        self.count += 1
        loss = learn.loss.detach().mean()
        self.val = torch.lerp(loss, torch.zeros_like(loss) if self.count == 1 else self.val, self.beta)


class DeviceMetric(AvgMetric):
    """Mean of a function of predictions and labels over the epoch."""

    total: float | Tensor

    def accumulate(self, learn: Learner) -> None:
        """Add a batch."""
        images = find_bs(learn.yb)
        self.total = self.total + self.func(learn.pred, *learn.yb).detach() * images
        self.count += images


class OnDevice(Callback):
    """Let fastai's recorder sum on the device; the list of losses comes to the host when training ends."""

    order = 49  # before the recorder

    def after_create(self) -> None:
        """Put our sums in the place of fastai's."""
        self.recorder.loss, self.recorder.smooth_loss = DeviceLoss(), DeviceSmoothLoss()

    def after_fit(self) -> None:
        """So that they can be plotted."""
        if len(losses := self.recorder.losses):
            self.recorder.losses = list(torch.stack(list(losses)).cpu())
