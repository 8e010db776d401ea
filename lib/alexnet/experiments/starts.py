"""Whether a network begins to learn from its initial weights, how soon, and whether arithmetic predicts it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..networks import anatomy, models
from ..paper.claims import Question, claims
from ..records.record import RunRecord
from ..records.specs import CLASSES, ImageSpec, NetSpec, RecipeSpec, RunSpec
from ..records.store import Store
from ..runs.planning import Planned, Runs
from ..training import signals
from ..training.prepared import prepare, split_of
from .study import CONSTANT, FIRST_SEED, Block, Cell, Change, Comparison, Rates, Search, Study

CLAIM = "init-as-written"
FEW = 16  # images that are enough to measure a fresh network; a whole batch of the faithful one takes seconds
DEAD = 0.99  # share of a layer's outputs at zero from which it counts as fallen silent
NETWORKS = {"227": "the faithful network", "32": "the narrow network for 32 pixels"}
WEIGHTS = {"paper": "as written", "as-run": "as run"}
PIXELS = {"mean-image": "0 to 255", "mean-image-unit": "unit variance"}
BOTH_WEIGHTS = {"as-run": "as-run", "as-written": "paper"}  # condition, initialisation
MADE_OF = ("network", "weights", "biases", "pixels", "outputs")  # what tells starts apart
TRAINED = 0.8  # training error, 10 points below guessing among ten classes, from which a start counts as trained
REMEDIES = {  # what a reimplementer can change of the start as written
    ("biases", "zero"): "start all biases at zero",
    ("weights", "as run"): "draw the weights of layers 3 to 5 with a standard deviation of 0.03",
    ("pixels", "unit variance"): "scale the pixels to unit variance",
}
PAPER_RATE = 0.01  # at which the paper's training starts, and each row of rates here
GUESSING = math.log(10)  # nats, the loss where ten classes have the same probability
STANDS = 0.02  # nats from there within which a loss stands at guessing

# The paper's initialisation and the code's, on pixels of 0..255 and of unit variance.
STARTS: dict[str, Change] = {
    f"{weights}-{pixels}": {"images": {"scaling": scaling}, "net": {"init": init}}
    for weights, init in (("written", "paper"), ("run", "as-run"))
    for pixels, scaling in (("255", "mean-image"), ("unit", "mean-image-unit"))
}
# The start of training does not need augmentation, and the as-written rate is 0.01.
START_32 = RunSpec(images=ImageSpec(crop=27), net=NetSpec(form="32", width=0.25))
START_227 = RunSpec(images=ImageSpec(train_size=9000, resize=227, flip=True))

# ---- plans -----------------------------------------------------------------------------------------------------------


def trained(epochs: int, prefix: str = "", names: Iterable[str] = STARTS) -> list[Comparison]:
    """Some of `STARTS`, trained for so long at a constant learning rate."""
    short = {"recipe": {"epochs": epochs, **CONSTANT}}
    return [Comparison(CLAIM, f"{prefix}{name}", {"trained": STARTS[name] | short}) for name in names]


def biases(epochs: int, seeds: int, conditions: Mapping[str, str] = BOTH_WEIGHTS) -> list[Comparison]:
    """Biases of one against zero, with the weights as the code drew them and as written."""
    common = {"images": {"scaling": "mean-image"}, "recipe": {"epochs": epochs, **CONSTANT}}

    def arms(init: str) -> dict[str, Change]:
        ones = {"zeros": False, "ones": True}
        return {arm: {**common, "net": {"init": init, "bias_ones": one}} for arm, one in ones.items()}

    return [Comparison("bias-ones", condition, arms(init), seeds) for condition, init in conditions.items()]


@dataclass(frozen=True)
class Ladder(Search):
    """The first learning rate at which a network trains, from the paper's own down.

    All rates are tried for `epochs[0]` epochs, until one trains; if none does, the one with the lowest training loss is
    tried for `epochs[1]`. The runs that count have the rate and the epochs at which it trained, or the paper's rate and
    `epochs[0]`.
    """

    epochs: tuple[int, int] = (4, 8)

    def outcome(self, store: Store) -> tuple[list[Planned], Change | None]:
        """The runs that can be named now, and what the recipes of the runs that count take, or None while one has no
        record."""
        tried: list[Planned] = []
        losses: dict[float, float] = {}

        def attempts() -> Iterator[Change]:
            yield from ({"learning_rate": rate, "epochs": self.epochs[0]} for rate in self.rates.first)
            if losses:
                yield {"learning_rate": min(losses, key=losses.__getitem__), "epochs": self.epochs[1]}

        for recipe in attempts():
            tried.append(self.planned({**recipe, "stop_at_train_error": TRAINED}))
            record = store.get(tried[-1].spec)
            if record is None:
                return tried, None
            if record.final.outcome == "reached":
                return tried, recipe
            if record.final.outcome != "diverged":
                losses[recipe["learning_rate"]] = record.history[-1].train_loss
        return tried, {"learning_rate": self.rates.first[0], "epochs": self.epochs[0]}


AS_WRITTEN = START_227.with_(images={"scaling": "mean-image"})
# One factor at a time from the start as written: AlexNet at 227 pixels, N(0, 0.01), biases of one, pixels on 0..255.
FACTORS: dict[str, Change] = {
    "own-rate": {},
    "own-rate-zeros": {"net": {"bias_ones": False}},
    "own-rate-run": {"net": {"init": "as-run"}},
    "own-rate-run-zeros": {"net": {"init": "as-run", "bias_ones": False}},
    "own-rate-1000": {"net": {"classes": 1000}},
    "own-rate-unit": {"images": {"scaling": "mean-image-unit"}},
}
BIASES = {  # condition of bias-ones -> where its arms start
    "own-rate": {"zeros": "own-rate-run-zeros", "ones": "own-rate-run"},
    "own-rate-written": {"zeros": "own-rate-zeros", "ones": "own-rate"},
}
OWN = {*FACTORS, *BIASES}  # conditions of starts at their own rates


def at_own_rates(
    baseline: RunSpec = AS_WRITTEN,
    seeds: int = 3,
    rates: tuple[float, ...] = (0.01, 0.003, 0.001, 0.0003),
    epochs: tuple[int, int] = (4, 8),
) -> Study:
    """Starts under rule 2, each at the first learning rate at which it trains."""
    cells = {}
    for name, change in FACTORS.items():
        spec = baseline.with_(**change).with_(recipe={"epochs": epochs[0], **CONSTANT})
        ladder = Ladder("starts-own-rates", name, name, spec, Rates(rates), epochs=epochs)
        cells[name] = Cell(CLAIM, name, "trained", spec, ladder)
    pairs = [
        replace(cells[start], claim="bias-ones", condition=condition, arm=arm)
        for condition, arms in BIASES.items()
        for arm, start in arms.items()
    ]
    searches = tuple(cell.search for cell in cells.values() if cell.search)
    return Study((Block((*cells.values(), *pairs), seeds),), searches, first_seed=FIRST_SEED)


OWN_RATES = at_own_rates()

# ---- before training, and after --------------------------------------------------------------------------------------


def specs(runs: Runs) -> dict[str, RunSpec]:
    """Each start of the faithful and the narrow network in words, with the specification of its first run.

    All combinations of weights and pixels are there, and the same with biases of zero: one that the profile does not
    train can be measured all the same.
    """
    networks: dict[str, RunSpec] = {}
    for planned, _ in runs:
        if planned.claim == CLAIM and planned.stage == "seeds":
            networks.setdefault(planned.spec.net.form, planned.spec)
    every = [
        spec.with_(**change).with_(net={"bias_ones": ones, "classes": 10})
        for spec in networks.values()
        for change in STARTS.values()
        for ones in (True, False)
    ]
    every += [spec.with_(**STARTS["written-255"]).with_(net={"classes": 1000}) for spec in networks.values()]
    return {title(spec): spec for spec in every}


def named(spec: RunSpec) -> dict[str, str]:
    """What a start is made of, in words: network, weights, biases, pixels and outputs."""
    return {
        "network": NETWORKS[spec.net.form],
        "weights": WEIGHTS[spec.net.init],
        "biases": "one" if spec.net.bias_ones else "zero",
        "pixels": PIXELS[spec.images.scaling],
        "outputs": f"{spec.net.classes:,}",
    }


def title(spec: RunSpec) -> str:
    """The same in one line."""
    made = named(spec)
    outputs = "" if spec.net.classes == 10 else f", {made['outputs']} outputs"
    narrow = "" if spec.net.form == "227" else ", narrow"
    return f"{made['weights']}, biases of {made['biases']}, {made['pixels']}{outputs}{narrow}"


def predicted(found: Mapping[str, RunSpec]) -> pd.DataFrame:
    """A row a start: size of the pixels, product of all gains, predicted size of the scores (biases are left out)."""
    rows = []
    for name, spec in found.items():
        size = split_of(spec.dataset).statistics.spread if spec.images.scaling == "mean-image" else 1.0
        gain = anatomy.total_gain(spec.net, spec.side)
        rows.append({"start": name, "size": size, "gain": gain, "predicted": gain * size})
    return pd.DataFrame(rows, columns=["start", "size", "gain", "predicted"])


def one_at_a_time(found: Mapping[str, RunSpec]) -> list[str]:
    """The starts of `FACTORS`, of the faithful network, or of the narrow one where there is no other."""
    by_form = {spec.net.form: spec for spec in found.values()}
    spec = by_form.get("227") or by_form.get("32")
    if spec is None:
        return []
    written = spec.with_(**STARTS["written-255"]).with_(net={"bias_ones": True, "classes": 10})
    return [title(written.with_(**change)) for change in FACTORS.values()]


@dataclass(frozen=True)
class Step:
    """A fresh network's first passes with some images and the update that follows, by layer of weights; dropout is
    off."""

    differences: pd.Series  # what is left of those between images after each layer
    gradients: dict[str, float]  # standard deviation of the loss's at each layer's output, before the nonlinearity
    change: dict[str, float]  # norm of the update of each layer's weights over the norm of the weights
    silent: tuple[dict[str, float], dict[str, float]]  # share of a hidden layer's ReLUs at zero, before and after
    loss: tuple[float, float]  # nats, on these images, before and after
    common: float  # as `signals.common_input` has it, of the last layer


def first_step(model: nn.Sequential, images: Tensor, labels: Tensor, recipe: RecipeSpec) -> Step:
    """The first update of SGD from images [N, C, S, S] with labels [N]. The network keeps its weights; its last layer
    gives the scores, and every other layer of weights is followed by a ReLU.

    A ReLU is at zero if it is so for every image. Velocities begin at zero, so momentum changes nothing yet.
    """
    model.eval()
    outputs: dict[str, Tensor] = {}
    values = images
    with anatomy.watching(model) as seen:
        for name, layer in model.named_children():
            values = layer(values)
            if name in seen:
                outputs[name] = values
    loss = nn.functional.cross_entropy(values, labels)
    weights = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, [*outputs.values(), *weights.values()])
    updated = dict(zip(weights, gradients[len(outputs) :], strict=True))
    change = _update(weights, updated, recipe)
    with torch.no_grad(), anatomy.watching(model) as after:
        scores = functional_call(model, updated, (images,))
    return Step(
        anatomy.signal_of(images, seen),
        {name: gradient.std().item() for name, gradient in zip(outputs, gradients, strict=False)},
        change,
        (_at_zero(seen), _at_zero(after)),
        (loss.item(), nn.functional.cross_entropy(scores, labels).item()),
        signals.common_input(seen[[*seen][-1]][0]),
    )


@torch.no_grad()
def _update(weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], recipe: RecipeSpec) -> dict[str, float]:
    """Turn gradients into the weights that follow, in place, since copies would take a quarter of a gigabyte; how far
    each layer's weights move, relative to their norm."""
    change = {}
    for name, values in gradients.items():
        rate = recipe.learning_rate * (recipe.bias_learning_rate_factor if name.endswith("bias") else 1)
        values.add_(weights[name], alpha=recipe.weight_decay).mul_(-rate)
        if name.endswith(".weight"):
            change[name.removesuffix(".weight")] = (values.norm() / weights[name].norm()).item()
        values.add_(weights[name])
    return change


def _at_zero(seen: anatomy.Seen) -> dict[str, float]:
    """Share of each hidden layer's units whose output is not above zero for any image."""
    return {name: (output <= 0).all(0).float().mean().item() for name, (_, output) in [*seen.items()][:-1]}


@dataclass(frozen=True)
class BeforeTraining:
    """What fresh networks do with their first images, and what their first step does; dropout is off.

    But for `reach`, only of the networks whose step is asked for: the first five have a row a layer of weights and a
    column a network, as `Step` has them.
    """

    differences: pd.DataFrame
    gradients: pd.DataFrame
    change: pd.DataFrame
    silent: pd.DataFrame  # before the step
    silent_after: pd.DataFrame
    loss: pd.DataFrame  # nats, a row a network: before and after the step
    reach: pd.DataFrame  # how far the first steps move the scores of all images alike; a row a network


def before_training(found: Mapping[str, RunSpec], rates: Mapping[str, float], count: int = FEW) -> BeforeTraining:
    """Build each network once and measure it on the first `count` images of its first batch; those that `rates` has a
    learning rate for take a step too.

    Reach: a step of learning rate r changes a class's score by r |a|^2 times the gradient by that score, where a is
    what the last layer is given by all images. The cross-entropy of C classes that are about equally probable has the
    curvature 1/C, and with momentum m steps grow instead of settling when r |a|^2 / C is above 2 (1 + m): the last
    column is the learning rate at which that begins.
    """
    steps: dict[str, Step] = {}
    reach = {}
    model, built = None, None
    alike = {name: (spec.with_(net={"bias_ones": True}).net, spec.side, spec.seed) for name, spec in found.items()}
    for name, spec in sorted(found.items(), key=lambda item: repr(alike[item[0]])):  # same weights one after the other
        model, _, images, labels = prepare(spec).beginning(model if alike[name] == built else None, count)
        built = alike[name]
        for layer, of in models.weight_layers(model).items():  # of the last network, which drew the same weights
            nn.init.constant_(of.get_parameter("bias"), models.initial_bias(layer, spec.net))
        if name in rates:
            recipe = spec.recipe.model_copy(update={"learning_rate": rates[name]})
            steps[name] = first_step(model, images, labels, recipe)
        common = steps[name].common if name in rates else _common_input(model, images)
        moved = spec.recipe.learning_rate * common / spec.net.classes
        limit = 2 * (1 + spec.recipe.momentum)
        rate = spec.recipe.learning_rate * limit / moved
        reach[name] = {"step": moved, "limit": limit, "steps grow": moved > limit, "rate": rate}
    asked = {name: steps[name] for name in found if name in steps}
    return BeforeTraining(
        _by_layer({name: step.differences for name, step in asked.items()}),
        _by_layer({name: step.gradients for name, step in asked.items()}),
        _by_layer({name: step.change for name, step in asked.items()}),
        _by_layer({name: step.silent[0] for name, step in asked.items()}),
        _by_layer({name: step.silent[1] for name, step in asked.items()}),
        pd.DataFrame([step.loss for step in asked.values()], index=[*asked], columns=["before", "after"]),
        pd.DataFrame(
            [{"start": name, **reach[name]} for name in found], columns=["start", "step", "limit", "steps grow", "rate"]
        ),
    )


@torch.no_grad()
def _common_input(model: nn.Sequential, images: Tensor) -> float:
    """The same of a network that takes no step."""
    model.eval()
    with anatomy.watching(model) as seen:
        model(images)
    return signals.common_input(seen[[*seen][-1]][0])


def _by_layer(columns: Mapping[str, Mapping[str, float] | pd.Series]) -> pd.DataFrame:
    return pd.DataFrame(columns).rename_axis(index="layer")


def outcomes(runs: Runs, question: Question) -> pd.DataFrame:
    """A row a run of any start that counts: what it started from, its learning rate, its training error at the end in
    percent and its loss, whether it counts as trained, the steps until the end of the first epoch in which it did (none
    where never), and whether it had been seen before the rule was fixed. Runs of a start at its own rate (`own`) decide
    once all of them are recorded (`complete`).

    A network counts as trained once its running training error over an epoch is the margin below guessing.
    """
    counting = [(p, record) for p, record in runs if p.claim in (CLAIM, "bias-ones") and p.stage == "seeds"]
    found = {record.hash: (p, record) for p, record in counting if record is not None}
    lacking = {title(p.spec) for p, record in counting if record is None and p.condition in OWN}
    rows = []
    for p, record in found.values():
        spec = record.spec
        limit = 1 - 1 / CLASSES[spec.dataset] - (question.margin or 0.0) / 100
        first = next((epoch.epoch for epoch in record.history if epoch.train_error <= limit), None)
        steps = steps_an_epoch(spec)
        rows.append(
            {
                "start": title(spec),
                **named(spec),
                "rate": spec.recipe.learning_rate,
                "error": 100 * record.final.train_error,
                "loss": record.history[-1].train_loss,
                "trained": record.final.train_error <= limit and record.final.outcome != "diverged",
                "silent": dead(record),
                "steps": None if first is None else first * steps,
                "budget": spec.recipe.epochs * steps,
                "seen": not claims().rule.precedes(record.created),
                "own": p.condition in OWN,
                "complete": title(spec) not in lacking,
            }
        )
    columns = ["start", *MADE_OF, "rate", "error", "loss", "trained", "silent", "steps", "budget"]
    columns += ["seen", "own", "complete"]
    return pd.DataFrame(rows, columns=columns)


def silent(found: Mapping[str, Sequence[RunRecord]]) -> pd.DataFrame:
    """Share of outputs that are zero on one batch after training: a row a nonlinearity, a column a group of runs, means
    over them. A ReLU that is at zero for every image passes no gradient back and never learns again."""
    shares: dict[str, dict[str, list[float]]] = {}
    for name, records in found.items():
        for signal in (signal for record in records for signal in record.signals or ()):
            shares.setdefault(name, {}).setdefault(signal.layer, []).append(signal.flat)
    means = {name: {layer: fmean(values) for layer, values in of.items()} for name, of in shares.items()}
    return _by_layer(means)


def dead(record: RunRecord) -> bool:
    """Whether a layer has fallen silent: nearly all of its outputs are zero on one batch."""
    return any(signal.flat >= DEAD for signal in record.signals or ())


def steps_an_epoch(spec: RunSpec) -> int:
    """Updates of the weights an epoch; the last, incomplete batch is left out."""
    return spec.training_images // spec.recipe.batch_size


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A row a start, rate and budget: runs that trained, of how many, the median of their steps, and in how many of
    all runs a layer has fallen silent."""
    rows = [
        {
            **dict(zip([*MADE_OF, "learning rate"], keys, strict=False)),
            "trained": f"{part['trained'].sum()} of {len(part)}",
            "steps until then": f"at most {part['steps'].median():,.0f}" if part["steps"].notna().any() else None,
            "budget": f"{keys[-1]:,} steps",
            "a layer at zero": f"{part['silent'].sum()} of {len(part)}",
        }
        for keys, part in found.groupby([*MADE_OF, "rate", "budget"], sort=False)
    ]
    columns = [*MADE_OF, "learning rate", "trained", "steps until then", "budget", "a layer at zero"]
    return pd.DataFrame(rows, columns=columns)


# ---- what follows ----------------------------------------------------------------------------------------------------


def deciding(found: pd.DataFrame) -> pd.DataFrame:
    """Of the rows of `outcomes`, those of each start at its own rate once all are recorded, else its first looks."""
    own = found["own"] & found["complete"]
    return found[own | ~(found["own"] | found["start"].isin(found.loc[own, "start"]))]


def rates(found: pd.DataFrame, names: Iterable[str]) -> dict[str, float]:
    """The learning rate of each start's runs that decide; the paper's where it has none."""
    known = deciding(found).groupby("start")["rate"].first()
    return {name: float(known.get(name, PAPER_RATE)) for name in names}


def told_apart(before: BeforeTraining, found: pd.DataFrame) -> str:
    """What of the first step sets starts from which no run trains apart from those from which all do, as Markdown; no
    words without some of both."""
    decided = deciding(found).groupby("start")["trained"]
    groups = [before.loss.index.intersection(list(of.index[of])) for of in (~decided.any(), decided.all())]
    if not all(map(len, groups)):
        return ""
    measured = {
        "the loss on the same images afterwards": (before.loss["after"], ".1f"),
        "the change of the last layer over that of the first": (before.change.iloc[-1] / before.change.iloc[0], ".2g"),
        "the share of ReLUs at zero in the last hidden layer": (before.silent_after.iloc[-1], ".0%"),
    }
    said: dict[bool, list[str]] = {True: [], False: []}
    for what, (values, form) in measured.items():
        fails, trains = (values[group] for group in groups)
        spans = (" to ".join(dict.fromkeys(f"{end:{form}}" for end in (of.min(), of.max()))) for of in (fails, trains))
        said[fails.max() < trains.min() or trains.max() < fails.min()].append(f"{what} ({' against '.join(spans)})")
    bad, good = map(len, groups)
    apart, alike = (" and ".join(said[is_apart]) for is_apart in (True, False))
    luck = 2 / math.comb(bad + good, bad)
    return (
        f"**Does the first step tell who trains?** What sets starts from which no run trains ({bad}) apart from those "
        f"from which all do ({good}): {apart or 'nothing that we look at'}. "
        + (f"What does not: {alike}. " if alike else "")
        + "With so few starts, a number that has nothing to do with training would set them apart in "
        f"{luck:.0%} of cases, so none of it is shown to be the cause."
    )


def advice(found: pd.DataFrame) -> str:
    """What to do when rebuilding each network, a sentence each, and what that rests on, as Markdown; no words where the
    rows of `outcomes` bear nothing out.

    Runs at rates of their own decide. While those of the start as written lack, or those of all others, first looks at
    the paper's rate speak.
    """
    said: list[str] = []
    rests = []
    for network in NETWORKS.values():
        rows = found[(found["network"] == network) & (found["outputs"] == "10")]
        looks = rows[~rows["own"] & (rows["rate"] == PAPER_RATE)]
        for part in (rows[rows["own"] & rows["complete"]], looks):
            groups = _by_changes(part)
            written = next((of for changes, of in groups.items() if not {*changes} & {*REMEDIES.values()}), None)
            if written is not None and len(groups) > 1:
                if sentence := _advised(network, groups, written, first=not said):
                    said.append(sentence)
                    rests.append(_basis(part))
                break
    return " ".join([*said, *dict.fromkeys(rests)])


def _by_changes(rows: pd.DataFrame) -> dict[tuple[str, ...], pd.DataFrame]:
    """The runs of each start by what it changes of the one as written, in words; a rate below the paper's is such a
    change too. The order is that of `REMEDIES`."""
    groups = {}
    for _, part in rows.groupby([*MADE_OF, "rate"], sort=False):
        first, rate = part.iloc[0], float(part["rate"].iloc[0])
        changes = [words for (what, value), words in REMEDIES.items() if first[what] == value]
        lower = [f"lower the learning rate to {rate:g}"] * (rate < PAPER_RATE)
        groups[*changes, *lower] = part
    return {key: groups[key] for key in sorted(groups, key=lambda key: [one not in key for one in REMEDIES.values()])}


def _advised(network: str, groups: Mapping[tuple[str, ...], pd.DataFrame], written: pd.DataFrame, first: bool) -> str:
    """The fewest changes with which all runs train; no words where some of the unchanged start's do and some do not.
    Only the first sentence says how to tell a bad start."""
    works = {changes: part for changes, part in groups.items() if part["trained"].all()}
    least = {changes: part for changes, part in works.items() if not any({*o} < {*changes} for o in works)}
    failed = not written["trained"].any()
    if not least or not (failed or written["trained"].all()):
        return ""
    options = []
    for changes, part in least.items():
        alone = [_counted(groups[one]) for one in zip(changes) if one in groups and len(changes) > 1]
        but = f"; one of them alone is not enough, {' and '.join(alone)}" if alone else ""
        at = f" at a rate of {part['rate'].iloc[0]:g}" if part["own"].all() else ""
        evidence = f"{_counted(part)} runs train within {part['steps'].max():,.0f} steps{at}{but}"
        options.append(f"{' and '.join(changes) or 'keep the start as written'} ({evidence})")
    said = f"{f'**If you rebuild {network},**' if first else f'For {network},'} {', or '.join(options)}"
    budget, latest = written["budget"].min(), max(part["steps"].max() for part in least.values())
    if failed:
        said += f"; of the start as written, {_counted(written)} train within {budget:,} steps"
    if first and failed and latest <= budget and ((written["loss"] - GUESSING).abs() < STANDS).all():
        said += (
            f", their loss stands at {GUESSING:.2f}, that of guessing, and where yours still does after {latest:,.0f} "
            "steps, suspect the start and not the network"
        )
    return f"{said}."


def _counted(rows: pd.DataFrame) -> str:
    return f"{rows['trained'].sum()} of {len(rows)}"


def _basis(rows: pd.DataFrame) -> str:
    """What the advice rests on."""
    if rows["own"].all():
        return (
            f"Each start was given the first learning rate, from {PAPER_RATE:g} down, at which a seed that does not "
            f"count trains, and {PAPER_RATE:g} where none does."
        )
    what = "first looks, seen before the rule was fixed," if rows["seen"].all() else "runs"
    return (
        f"This rests on {what} at one learning rate, {PAPER_RATE:g}, and on no more than the steps named: at another "
        "rate, or later, the start as written may train too."
    )
