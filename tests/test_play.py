"""Small live runs beside others that differ in what a reader names."""

import pandas as pd
import pytest

from alexnet import __main__
from alexnet.errors import SpecError
from alexnet.experiments import play

SMALL = {"train_size": 300, "valid_size": 50}


@pytest.fixture
def quick(small_data, monkeypatch):
    made = {
        name: spec.with_(images=SMALL, net={"width": 0.1}, recipe={"epochs": 2}) for name, spec in play.NETWORKS.items()
    }
    monkeypatch.setattr(play, "NETWORKS", made)


def test_settings_are_changed_by_name():
    base = play.NETWORKS["alexnet"]
    changes = ("net.dropout=0.8", "net.norm=none", "images.flip=false", "seed=3", "recipe.drops=[1,2]",
               "recipe.schedule=steps")  # fmt: skip
    with pytest.raises(SpecError, match="drops belong to schedule"):
        play.changed(base, changes[4:5])
    found = play.changed(base, (*changes[:4],))
    assert (found.net.dropout, found.net.norm, found.images.flip, found.seed) == (0.8, "none", False, 3)
    assert found == base.with_(net={"dropout": 0.8, "norm": "none"}, images={"flip": False}, seed=3)


@pytest.mark.parametrize("network", play.NETWORKS)
def test_both_networks_are_trained_and_their_epochs_told(network, quick, capsys):
    found = play.play("recipe.learning_rate=0.001", network=network)
    assert isinstance(found, pd.DataFrame) and list(found.index) == [1, 2]
    assert list(found.columns.get_level_values(0).unique()) == ["as it is", "recipe.learning_rate=0.001"]
    assert found.notna().all(axis=None)
    before, after = (found[name]["train loss"] for name in ("as it is", "recipe.learning_rate=0.001"))
    assert (before != after).any(), "the change changes the training"
    assert capsys.readouterr().out.count("2 epochs of 300 images") == 2
    assert play.play(network=network)["as it is"].equals(found["as it is"]), "the same seed gives the same run"


def test_the_command_prints_a_row_an_epoch_of_each(quick, capsys):
    assert __main__.main(["play", "net.dropout=0.8"]) == 0
    out = capsys.readouterr().out
    assert out.count("as it is") >= 2 and "net.dropout=0.8" in out and "valid error (%)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "'nonsense' is no change; write it like net.dropout=0.8"),
        (["layers.dropout=1"], "'layers.dropout=1' is no change"),
        (["net.dropot=1"], "net.dropot: Extra inputs are not permitted"),
        (["net.dropout=2"], "net.dropout: Input should be less than 1"),
        (["net.dropout=lots"], "net.dropout: Input should be a valid number"),
        (["--network", "vgg"], "argument --network: 'vgg' is not one of alexnet, start, four-layer"),
    ],
)
def test_what_is_no_setting_is_refused_before_any_training(words, message, capsys, bad_input):
    assert __main__.main(["play", *words]) == 2
    assert message in capsys.readouterr().err


def test_in_a_notebook_that_nobody_sits_at_settings_are_checked_and_nothing_trains(monkeypatch, capsys):
    monkeypatch.setattr(play, "unattended", lambda: True)
    monkeypatch.setattr(play, "learner", None)
    assert play.play("net.dropout=0.8") is None
    assert "as it is against net.dropout=0.8: 4 epochs of 10,000 images each" in capsys.readouterr().out
    with pytest.raises(SpecError, match=r"net\.dropot"):
        play.play("net.dropot=1")
