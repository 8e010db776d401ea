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

from .compat import import_torchvision

import_torchvision()  # before fastai, which imports torchvision itself

from .learners import learner  # noqa: E402
from .models import build, layer_table  # noqa: E402
from .predicting import Classifier, Prediction, predict  # noqa: E402
from .records import RunRecord, Store  # noqa: E402
from .specs import ImageSpec, NetSpec, RecipeSpec, RunSpec  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "Classifier", "ImageSpec", "NetSpec", "Prediction", "RecipeSpec", "RunRecord", "RunSpec", "Store", "build",
    "layer_table", "learner", "predict",
]  # fmt: skip
