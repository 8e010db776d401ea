"""Run records made up for tests: valid in form, with the training errors that a test asks for."""

from collections.abc import Sequence

from alexnet.networks import anatomy
from alexnet.paper.claims import claims
from alexnet.records.record import DataUsed, Environment, Epoch, Final, Probe, RunRecord
from alexnet.records.specs import RunSpec
from alexnet.runs.planning import Planned
from alexnet.statistics import board, effects, verdicts
from alexnet.training.recipe import ending


def spec(arm: str = "relu", seed: int = 0, rate: float = 0.001, cap: int = 60, **images: object) -> RunSpec:
    return RunSpec().with_(
        images=images,
        net={"name": "four-layer", "activation": arm, "norm": "none", "dropout": 0.0, "init": "cuda-convnet"},
        recipe={"learning_rate": rate, "epochs": cap, "stop_at_train_error": 0.25, "weight_decay": 0.0},
        seed=seed,
    )


def record(of: RunSpec, train_errors: Sequence[float], test_error: float | None = 0.3) -> RunRecord:
    rows = [
        {
            "epoch": number,
            "learning_rate": of.recipe.learning_rate,
            "train_loss": 3 * error,
            "train_error": error,
            "valid_loss": 3 * error,
            "valid_error": error,
        }
        for number, error in enumerate(train_errors, start=1)
    ]
    outcome, reached = ending(of.recipe, rows)
    return RunRecord(
        hash=of.hash,
        spec=of,
        history=[Epoch(**row, seconds=1.0) for row in rows],
        final=Final(
            outcome=outcome,
            epochs=len(rows),
            epochs_to_target=reached,
            train_error=train_errors[-1],
            valid_error=train_errors[-1],
            test_error=test_error,
            test_loss=None if test_error is None else 1.0,
        ),
        wall_seconds=float(len(rows)),
        images_per_second=1000.0,
        environment=Environment(
            device="cpu", precision="float32", threads=1, cpu="none", cores=1, gpu="", system="", python="", torch=""
        ),
        data=DataUsed(name="cifar10", source="made up", hashes={}),
        probe=Probe(
            parameters=1, weights_sum=0.0, weights_norm=1.0, first_batch_sha256="0", loss=2.3, gradient_norm=1.0
        ),
        predictions=None,
        weights_sha256="0",
        created="2026-01-01T00:00:00+00:00",
    )


def curve(epochs: float, cap: int = 60, start: float = 0.7, target: float = 0.25) -> list[float]:
    """A straight line from `start` before the first epoch that comes to the target after `epochs`; cut at the cap."""
    errors = []
    while len(errors) < cap and (not errors or errors[-1] > target):
        errors.append(start - (start - target) * (len(errors) + 1) / epochs)
    return errors


def planned(arm: str, seed: int, epochs: float, condition: str = "original", stage: str = "seeds", **more: object):
    """A planned run of relu-speed and its record, whose training error comes to 25% after `epochs`."""
    of = spec(arm, seed, **more)
    return Planned("relu-speed", condition, stage, arm, seed, of), record(of, curve(epochs, of.recipe.epochs))


def speed_runs(tanh: Sequence[float], relu: Sequence[float], condition: str = "original", **more: object):
    """Paired seeds of relu-speed with the given epochs to the target; beyond 60 they are censored."""
    found = []
    for seed, (slow, fast) in enumerate(zip(tanh, relu, strict=True)):
        found += [planned("tanh", seed, slow, condition, **more), planned("relu", seed, fast, condition, **more)]
    return found


def judged(claim: str, values: list[float], condition: str | None = None, **more) -> board.Row:
    """A row of the board with the effect that pairs of these values give."""
    question = claims().question(claim, condition)
    if question.effect == "ratio":
        effect = effects.paired_ratio(values, [1.0] * len(values))
    else:
        effect = effects.paired_difference(values, 0.0, unit=question.unit)
    return board.Row(question, effect, verdicts.verdict(question, effect), len(values), "", **more)


def replaced(rows: list[board.Row], *others: board.Row) -> list[board.Row]:
    """The board with some of its rows in place of those of the same questions."""
    by_question = {row.question.id: row for row in others}
    return [by_question.get(row.question.id, row) for row in rows]


def full_board() -> list[board.Row]:
    """Every claim that rests on runs has some: most clear, one only just, one on the other side, one unclear."""
    found = board.rows([], anatomy.exact_counts())
    made = []
    for row in found:
        question = row.question
        if question.primary and question.effect in ("ratio", "difference"):
            away = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0]
            if question.claim == "lr-drops":
                away = [2.0, 0.1, 4.0, 0.3, 3.9, 1.0]  # p = .04
            elif question.claim == "depth":
                away = [-2.0, -2.1, -1.9, -2.05, -1.95, -2.0]
            elif question.claim == "aug-colour":
                away = [2.0, -1.0, 3.0, -2.5, 1.0, -0.5]
            margin = question.margin or 10.0
            values = [margin**one if question.effect == "ratio" else margin * one for one in away]
            made.append(judged(question.claim, values))
    return replaced(found, *made)
