"""The training path of a GPU, as far as it can be tested without one: nothing waits for the device within an epoch."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import small
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alexnet import learner
from alexnet.networks import response_norm
from alexnet.training import machine
from alexnet.training.prepared import prepare

# What makes a program wait for a GPU: a number or an array for the host, or a shape that depends on values.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2")
TO_HOST = ("cpu", "numpy", "tolist")


class Watch(TorchDispatchMode):
    """Count the operations that would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().removeprefix("aten::").split(".")[0]
        places = args[1] if name in ("index", "index_put_") else ()
        if name in WAITING or any(place is not None and place.dtype == torch.bool for place in places):
            self.waits[name] += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def watching(patch: pytest.MonkeyPatch) -> Iterator[Counter]:
    with Watch() as watch, patch.context() as inner:
        for name in TO_HOST:
            original = getattr(torch.Tensor, name)

            def counted(tensor, *options, original=original, name=name, **more):
                watch.waits[name] += 1
                return original(tensor, *options, **more)

            inner.setattr(torch.Tensor, name, counted)
        yield watch.waits


def waits(patch: pytest.MonkeyPatch, batch_size: int, **changes: dict) -> tuple[Counter, int]:
    """What an epoch waits for, and its batches."""
    learn = learner(small.spec(recipe={"batch_size": batch_size}, **changes), precision="bfloat16", progress=False)
    learn.fit(1)  # fills the caches
    with watching(patch) as found:
        learn.fit(1)
    return found, len(learn.dls.train) + len(learn.dls.valid)


def test_the_watch_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = torch.ones(3)
    with watching(monkeypatch) as found:
        float(numbers.sum())
        bool(numbers[0] > 0)
        numbers.cpu()
        numbers[numbers > 0]
    assert found["_local_scalar_dense"] >= 2
    assert found["cpu"] == found["index"] == 1


ALEXNET = {"name": "alexnet", "form": "32", "width": 0.02, "dropout": 0.5, "norm": "sum"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"net": ALEXNET, "images": {"padding": 2, "crop": 32, "flip": True, "colour": 0.1}}, {"measured": "fit"}],
    ids=["four-layer", "alexnet", "fit"],
)
def test_an_epoch_waits_no_more_often_for_more_batches(
    small_data: None, monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    monkeypatch.setattr(response_norm, "_kernels", lambda maps: None)  # as on a GPU
    many, batches_then = waits(monkeypatch, 32, **changes)
    few, batches_now = waits(monkeypatch, 128, **changes)
    assert batches_then > batches_now
    assert many == few
    assert many.total() < 20


def test_fastais_own_figures_are_what_they_were(small_data: None) -> None:
    learn = learner(small.spec(), precision="float32", progress=False)
    learn.fit(2)
    row = learn.history.rows[-1]
    train_loss, valid_loss, valid_error = learn.recorder.values[-1]
    assert valid_loss == pytest.approx(row["valid_loss"], rel=1e-6)
    assert valid_error == pytest.approx(row["valid_error"], rel=1e-6)
    losses = learn.recorder.losses
    assert len(losses) == 2 * len(learn.dls.train)
    assert train_loss == pytest.approx(float(losses[-1]))
    assert all(one.device.type == "cpu" for one in losses)


def test_a_batch_is_made_without_the_host(small_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small.spec(images={"padding": 2, "crop": 32, "flip": True, "colour": 0.1})
    training = prepare(spec).loaders().train
    order = iter(training)
    next(order)
    with watching(monkeypatch) as found:
        next(order)
    assert not found


def test_a_compiled_network_trains_as_the_plain_one_does(small_data: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = learner(small.spec(), precision="float32", progress=False)
    plain.fit(1)
    monkeypatch.setenv("ALEXNET_COMPILE", "aot_eager")
    compiled = learner(small.spec(), precision="float32", progress=False)
    compiled.fit(1)
    torch.compiler.reset()
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())
    for ours, theirs in zip(compiled.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("instructions", "seconds", "expected"),
    [
        (True, {torch.float32: 1.0, torch.bfloat16: 0.5}, "bfloat16"),
        (True, {torch.float32: 1.0, torch.bfloat16: 0.9}, "float32"),
        (True, {torch.float32: 1.0, torch.bfloat16: 2.0}, "float32"),  # as where a virtual machine hides AMX
        (False, {}, "float32"),
    ],
)
def test_bfloat16_is_the_default_only_where_it_is_faster(
    instructions: bool, seconds: dict, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALEXNET_PRECISION", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "has_bfloat16", lambda: instructions)
    monkeypatch.setattr(machine, "seconds_of_a_product", seconds.__getitem__)
    machine.bfloat16_pays.cache_clear()
    try:
        assert machine.default_precision() == expected
        monkeypatch.setenv("ALEXNET_PRECISION", "bfloat16")
        assert machine.default_precision() == "bfloat16"
    finally:
        machine.bfloat16_pays.cache_clear()


def test_a_product_takes_time_in_both_precisions() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert 0 < machine.seconds_of_a_product(dtype, side=64, tries=2) < 10
