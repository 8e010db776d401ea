"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012) put to the test: networks, recipe, run records and verdicts.

A first look:

    from alexnet import learner, RunSpec
    learn = learner(RunSpec().with_(net={"form": "32", "width": 0.25}))
    learn.summary()
    learn.fit(1)
    learn.show_results()

An image in your hand, shown to the network that `make checkpoint` trains:

    from alexnet import predict
    predict("cat.jpg").show()
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .experiments.play import play
    from .networks.models import build, layer_table
    from .prediction.classifier import Classifier, Prediction, predict
    from .records.record import RunRecord
    from .records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec
    from .records.store import Store
    from .training.learners import learner

__version__ = "0.1.0"
__all__ = [
    "Classifier", "ImageSpec", "NetSpec", "Prediction", "RecipeSpec", "RunRecord", "RunSpec", "Store", "build",
    "layer_table", "learner", "play", "predict",
]  # fmt: skip
_HOMES = {  # name: the module it is loaded from when it is used; torch and fastai take seconds
    "learner": "training.learners",
    "play": "experiments.play",
    **dict.fromkeys(("build", "layer_table"), "networks.models"),
    **dict.fromkeys(("Classifier", "Prediction", "predict"), "prediction.classifier"),
    "RunRecord": "records.record",
    "Store": "records.store",
    **dict.fromkeys(("ImageSpec", "NetSpec", "RecipeSpec", "RunSpec"), "records.specs"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
