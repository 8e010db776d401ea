"""What test_imagenet.py has torchrun start: the command, where each process also tells which weights it ended with.

torchrun ... imagenet_process.py FOLDER_FOR_WHAT_IT_TELLS OPTIONS_OF_THE_COMMAND
"""

import sys
from pathlib import Path

from alexnet import __main__
from alexnet.imagenet import processes, training
from alexnet.runs.execution import weights_sha256

told, *words = sys.argv[1:]
fit = training.fit


def fit_and_tell(*arguments: object) -> tuple:
    model, rows, seconds = fit(*arguments)  # type: ignore[arg-type]
    Path(told, f"{processes.rank()} of {processes.number()}").write_text(weights_sha256(model))
    return model, rows, seconds


training.fit = fit_and_tell
sys.exit(__main__.main(["imagenet", *words]))
