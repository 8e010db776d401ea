"""A small live run beside one that differs in what you choose: `play("net.dropout=0.8")`. It writes no record."""

import json
import sys
from argparse import Namespace

import pandas as pd

from ..errors import SpecError
from ..records.specs import ImageSpec, NetSpec, RecipeSpec, RunSpec
from ..training.learners import learner
from .ablations import ALEXNET_32, START_32

FEW = {"train_size": 10_000, "valid_size": 1000}  # images
NETWORKS = {  # each trains in about half a minute on two cores
    "alexnet": ALEXNET_32.with_(
        images=FEW, recipe={"epochs": 4, "schedule": "constant", "drops": ()}, measured="errors", test=False
    ),
    "start": START_32.with_(images={**FEW, "scaling": "mean-image"}, recipe={"epochs": 3}, test=False),
    "four-layer": RunSpec(
        images=ImageSpec(**FEW),
        net=NetSpec(name="four-layer", init="kaiming", norm="none", dropout=0.0),
        recipe=RecipeSpec(weight_decay=0.0, epochs=4),
        test=False,
    ),
}


def changed(spec: RunSpec, changes: tuple[str, ...]) -> RunSpec:
    """The run with some settings changed, each as `part.field=value`. Raises `SpecError` for what is no setting."""
    for change in changes:
        name, equals, text = change.partition("=")
        part, dot, field = name.strip().partition(".")
        if not equals or (dot and part not in ("images", "net", "recipe")):
            raise SpecError(f"{change!r} is no change; write it like net.dropout=0.8, images.flip=false or seed=1.")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text.strip()  # a word, as in net.norm=none
        spec = spec.with_(**{part: {field: value} if dot else value})
    return spec


def unattended() -> bool:
    """Whether this is a notebook that nobody sits at: papermill and nbval tell the kernel that no input will come."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    kernel = getattr(shell, "kernel", None)
    return kernel is not None and not kernel._allow_stdin


def play(*changes: str, network: str = "alexnet") -> pd.DataFrame | None:
    """Train a small network as it is and with the changes, from the same seed; errors and losses, a row an epoch.

    In a notebook that nobody sits at, the settings are checked and what would be trained is told, and nothing trains.

    `network`: "alexnet" (section 3.5 at a quarter of its width, 32 pixels, crops and reflections), "start" (the same
    from the initial weights and biases of section 5) or "four-layer" (that of section 3.1). Settings are those of
    `RunSpec`. Raises `SpecError` for others.
    """
    if network not in NETWORKS:
        raise SpecError(f"There is no network {network!r} to play with; use one of {', '.join(NETWORKS)}.")
    base = NETWORKS[network]
    other = changed(base, changes)
    arms = {"as it is": base} | ({", ".join(changes): other} if changes else {})
    if unattended():
        size = f"{base.recipe.epochs} epochs of {base.images.train_size:,} images"
        print(f"{' against '.join(arms)}: {size} each, trained where someone sits at it, as in JupyterLab.")
        return None
    found = {}
    for name, spec in arms.items():
        learn = learner(spec, progress=False)
        print(f"{name}: {spec.recipe.epochs} epochs of {spec.images.train_size or 'all':,} images ...", flush=True)
        learn.fit()
        rows = pd.DataFrame(learn.history.rows).set_index("epoch")
        rows[["train_error", "valid_error"]] *= 100
        found[name] = rows[["train_loss", "train_error", "valid_loss", "valid_error"]].rename(
            columns=lambda column: column.replace("_error", " error (%)").replace("_", " ")
        )
    return pd.concat(found, axis=1).round(2)


def run(arguments: Namespace) -> int:
    """`python -m alexnet play`: train both and print their epochs, one network below the other."""
    found = play(*arguments.changes, network=arguments.network)
    assert found is not None, "a command is no notebook"
    print(found.stack(level=0, future_stack=True).swaplevel().sort_index(kind="stable").to_string())
    return 0
