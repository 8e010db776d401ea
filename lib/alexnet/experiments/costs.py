"""What runs cost: hours, images and arithmetic, from their records; and what the runs of a profile would cost."""

import statistics
from collections.abc import Iterable, Iterator

import pandas as pd

from .. import paths
from ..errors import SpecError
from ..networks import models
from ..paper.claims import claims, published
from ..records.bench import BenchRecord, Result, load_all
from ..records.record import RunRecord
from ..records.specs import NetSpec, RunSpec
from ..records.store import Store
from ..runs.planning import Runs
from ..runs.pool import FLOP_PER_MULTIPLY_ADD, flop_an_image, images_stepped, images_worked
from ..training import machine
from ..training.recipe import handed_over
from . import profiles, since_2012, transfer
from .reimplementations import PROTOCOLS

HOUR = 3600
PETA, GIGA = 1e15, 1e9
GPU_IMAGES_PER_SECOND = 15_000  # AlexNet as written at 227 pixels on an H100-class card: what is aimed at, not measured

NETWORKS = {  # as readers know them
    "alexnet": "AlexNet", "four-layer": "four-layer network", "cifar-bn": "batch-normalised network",
    "four-layer-local": "four-layer network with unshared layers",
}  # fmt: skip
SEARCHED = {  # what the searches that several claims share look for rates for
    "overfit": "networks that can overfit", "long": "networks trained to the end", "alexnet-32": "the first look",
    "four-layer-long": "the four-layer network", "starts-own-rates": "each start", "alexnet-227": "the full network",
}  # fmt: skip


def images_trained(record: RunRecord) -> float:
    """Training images that went through the network, over all epochs."""
    return record.images_per_second * record.wall_seconds


def flop_trained(record: RunRecord) -> float:
    """Multiplications and additions of a training step an image, the mean over a run's epochs: those in which a last
    layer alone was trained cost a third."""
    recipe, errors = record.spec.recipe, [{"valid_error": epoch.valid_error} for epoch in record.history]
    begun = handed_over(recipe, errors) if recipe.second and recipe.second.last_layer else None
    alone = 0 if begun is None else 1 - begun / len(errors)
    return flop_an_image(record.spec) * (1 - alone * 2 / 3)


def network_name(spec: RunSpec) -> str:
    """A network and the size of its images, as readers tell them apart."""
    width = "" if spec.net.width == 1 else f", width {spec.net.width:g}"
    if spec.frozen:
        return f"{'classifier' if spec.net.hidden else 'linear layer'} on the features of frozen layers"
    border = 0 if spec.images.crop else spec.images.padding
    return f"{NETWORKS[spec.net.name]}, {spec.side - 2 * border} pixels{' and a border' * bool(border)}{width}"


def _title(name: str) -> str:
    titles = {claim.id: claim.title for claim in claims().claim}
    titles |= {row.id: row.title for row in published().row}
    titles |= {transfer.CLAIM: transfer.TITLE, since_2012.CLAIM: since_2012.TITLE}
    return titles.get(name) or f"learning rates for {SEARCHED[name]}"


def by_claim(runs: Runs) -> pd.DataFrame:
    """What the records of each part of the report cost, a row a part in the order of the plan.

    Columns: part; runs with a record, and ones without that can be named now; hours of one thread (or GPU), of all
    images trained; 10^15 multiplications and additions. A run that serves several claims counts for each: see `total`.
    """
    by_name: dict[str, dict[str, RunRecord | None]] = {}
    for planned, record in runs:
        by_name.setdefault(planned.claim, {})[planned.spec.hash] = record
    rows = []
    for name, found in by_name.items():
        records = [record for record in found.values() if record is not None]
        rows.append({"part": _title(name), **_sums(records), "named, not made": len(found) - len(records)})
    columns = ["part", "runs", "hours", "million images", "PFLOP", "named, not made"]
    return pd.DataFrame(rows, columns=columns)


def total(runs: Runs) -> dict[str, float]:
    """The same columns over all records, each counted once."""
    return _sums(list({record.hash: record for _, record in runs if record is not None}.values()))


def _sums(records: list[RunRecord]) -> dict[str, float]:
    return {
        "runs": len(records),
        "hours": sum(record.wall_seconds * record.environment.threads for record in records) / HOUR,
        "million images": sum(map(images_trained, records)) / 1e6,
        "PFLOP": sum(images_trained(record) * flop_trained(record) for record in records) / PETA,
    }


def by_network(records: Iterable[RunRecord]) -> pd.DataFrame:
    """Speed in training by network, device and precision: medians over the records."""
    found: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in records:
        made = record.environment
        found.setdefault((network_name(record.spec), made.place, made.precision), []).append(record)
    rows = []
    for (network, where, precision), group in sorted(found.items()):
        speed = statistics.median(record.images_per_second for record in group)
        flop = statistics.median(map(flop_trained, group))
        row = {"network": network, "on": where, "precision": precision, "runs": len(group), "images/s": speed}
        rows.append(row | {"GFLOP an image": flop / GIGA, "GFLOP/s": speed * flop / GIGA})
    return pd.DataFrame(rows)


def planned_cost(profile: str, store: Store, flop_per_second: float) -> pd.DataFrame:
    """The runs of a profile, each up to its cap, at a given speed: part, runs, PFLOP, hours. Rows add up."""
    if flop_per_second <= 0:
        raise SpecError("A speed must be positive.")
    sums: dict[str, list[float]] = {}
    for planned in profiles.all_planned(profile, store):
        spec = planned.spec
        sums.setdefault(planned.claim, []).append(flop_an_image(spec) * images_stepped(spec))
    rows = [(_title(name), len(of), sum(of) / PETA, sum(of) / flop_per_second / HOUR) for name, of in sums.items()]
    return pd.DataFrame(rows, columns=["part", "runs", "PFLOP", "hours"])


def gpu_flop_per_second() -> float:
    """Arithmetic a second that the rate aimed at on a GPU amounts to."""
    return GPU_IMAGES_PER_SECOND * FLOP_PER_MULTIPLY_ADD * models.multiply_adds(NetSpec(), 227)


def question(result: Result) -> str:
    """What a case compares; it has the name of a published row, which readers know by its title."""
    name = result.case.removeprefix("protocol-")
    return result.question.replace(name, published()[name].title) if name in PROTOCOLS else result.question


def bench_table(record: BenchRecord) -> pd.DataFrame:
    """Every case of a bench record: what was compared, both times, the ratio, and the goals it reached or missed."""
    return pd.DataFrame(
        {
            "baseline against ours": question(result),
            "baseline, ms": 1000 * result.seconds[0],
            "ours, ms": 1000 * result.seconds[1],
            "ours in": result.precision,
            "ratio": result.ratio,
            "images/s": result.images_per_second and result.images_per_second[1],
            "share of peak": record.share_of_peak(result),
            "goals": "; ".join(
                f"{goal.what} {goal.wanted:.3g}: {'reached' if goal.reached else 'MISSED'}"
                for goal in record.goals(result)
                if not goal.what.startswith("error")
            ) or None,
        }
        for result in record.results
    )  # fmt: skip


def protocol_table(record: BenchRecord) -> pd.DataFrame:
    """The published protocols that the bench trained for two batches: images a second, share of the peak, and hours
    in full, of training alone and with what each epoch looks at: validation and test images, a pass forward each."""
    return pd.DataFrame(
        {
            "protocol": published()[name].title,
            "images/s": rate,
            "share of peak": record.share_of_peak(result),
            "hours, training": images_stepped(PROTOCOLS[name]) / rate / HOUR,
            "hours, in full": images_worked(PROTOCOLS[name]) / rate / HOUR,
        }
        for name, result, rate in _protocols(record)
    )


def _protocols(record: BenchRecord) -> Iterator[tuple[str, Result, float]]:
    """The published protocols among the cases: name, result, images a second of ours."""
    for result in record.results:
        name = result.case.removeprefix("protocol-")
        if name in PROTOCOLS and result.images_per_second:
            yield name, result, result.images_per_second[1]


def measured_rates() -> dict[float, float]:
    """Images a second of one thread that the bench trained on a machine and in a precision like here, by the arithmetic
    of a training step an image: networks of the published protocols, whatever their recipe."""
    here = machine.describe()
    return {
        flop_an_image(PROTOCOLS[name]): rate / record.threads
        for record in load_all(paths.BENCH).values()
        if all(record.machine.get(fact) == here[fact] for fact in ("cpu", "gpu"))
        for name, result, rate in _protocols(record)
        if result.precision == machine.default_precision()
    }


def error_table(record: BenchRecord) -> pd.DataFrame:
    """Errors of the cases that measured them, against float64, beside what is allowed."""
    rows = [
        (result.question, goal.what.removeprefix("error of "), goal.found, goal.wanted, goal.reached)
        for result in record.results
        for goal in record.goals(result)
        if goal.what.startswith("error")
    ]
    return pd.DataFrame(rows, columns=["case", "of", "error", "allowed", "exact enough"])


def layer_table(record: BenchRecord, net: str) -> pd.DataFrame:
    """One network's layers: multiply-adds an image, milliseconds of a batch, share of the time and of the peak."""
    layers = [layer for layer in record.layers if layer.net == net]
    if not layers:
        raise SpecError(f"The bench record of {record.created} has no layers of {net!r}; run `make bench`.")
    whole = sum(layer.seconds for layer in layers)
    return pd.DataFrame(
        {
            "layer": layer.layer,
            "multiply-adds": int(layer.multiply_adds),
            "forward, ms": 1000 * layer.forward_seconds,
            "backward, ms": 1000 * layer.backward_seconds,
            "share of time": layer.seconds / whole,
            "share of peak": record.share_of_peak(layer) if layer.multiply_adds else None,
        }
        for layer in layers
    )
