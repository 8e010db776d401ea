"""The pictures of the notebooks on data and model: what they draw, and that their alt texts say what is drawn."""

import numpy as np
import pandas as pd
import pytest
import torch

from alexnet.figures import diagrams
from alexnet.figures.display import bundle
from alexnet.networks import anatomy


def images(count: int, side: int = 4) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_pixels_come_back_from_a_float_batch():
    whole = images(3)
    batch = torch.from_numpy(whole).permute(0, 3, 1, 2).float()
    assert np.array_equal(diagrams.to_pixels(batch + 0.3), whole)
    assert diagrams.to_pixels(torch.full((1, 3, 1, 2), 300.0)).max() == 255
    assert diagrams.to_pixels(torch.full((1, 3, 1, 2), -5.0)).max() == 0


@pytest.mark.parametrize("count", [1, 5, 6])
def test_gallery_shows_every_image_once(count):
    figure = diagrams.gallery(images(count), [f"image {i}" for i in range(count)], columns=3, rows=["a", "b"])
    shown = [image.get_array() for image in figure.axes[0].images]
    assert len(shown) == count
    assert all(np.array_equal(one, other) for one, other in zip(shown, images(count), strict=True))
    data, _ = bundle(figure, "Some random squares, shown in order and in full.")
    assert data["image/png"]


def test_gallery_shows_grey_images():
    figure = diagrams.gallery(images(2)[..., :1], columns=2)
    assert all(axis.images[0].cmap.name == "gray" for axis in figure.axes)


def test_colour_shifts_move_along_the_axes_and_stay_in_range():
    image = np.full((2, 2, 3), 100, dtype=np.uint8)
    axes = np.diag([10.0, 20.0, 200.0])
    shifted = diagrams.colour_shifts(image, axes, (-1, 0, 1))
    assert [tuple(one[0, 0].tolist()) for one in shifted] == [
        (90, 100, 100), (100, 100, 100), (110, 100, 100),
        (100, 80, 100), (100, 100, 100), (100, 120, 100),
        (100, 100, 0), (100, 100, 100), (100, 100, 255),
    ]  # fmt: skip


def test_frames_lie_where_they_are_said_to():
    figure = diagrams.framed(images(1, 8)[0], {"upper left": (0, 0), "other": (2, 1)}, 5, "Where?")
    corners = [(frame.get_xy(), frame.get_width()) for frame in figure.axes[0].patches]
    assert corners == [((-0.5, -0.5), 5), ((0.5, 1.5), 5)]


def test_shares_add_up_and_are_told():
    table = pd.DataFrame({"layer": ["conv1", "conv2", "fc3"], "parameters": [1, 9, 90], "multiply-adds": [40, 50, 10]})
    figure, alt = diagrams.shares(table)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([1, 9, 90, 40, 50, 10])
    assert "hold 10.0% of the parameters and do 90.0% of the work" in alt
    assert "fc3 alone 90.0%" in alt


def test_towers_tell_where_they_cross():
    _, alt = diagrams.towers(anatomy.tower_links(), anatomy.learned_layers())
    assert "cross between the towers before conv3, fc6, fc7 only" in alt
    assert "conv2, conv4, conv5 see their own tower" in alt


def test_norm_at_work_names_the_strong_map():
    figure, alt = diagrams.norm_at_work([1, 1, 10, 1, 1, 1, 2], [0.5, 0.1, 1, 0.1, 0.1, 0.5, 1])
    assert "Map 3 responds strongly" in alt
    assert [bar.get_height() for bar in figure.axes[1].patches] == pytest.approx([0.5, 0.1, 0.1, 0.1, 0.1, 0.5, 0.5])


def test_norm_curves_and_signals_draw_what_they_are_given():
    activity = [1.0, 10.0]
    curves = {"sum": (activity, [0.6, 0.2]), "mean": (activity, [0.6, 0.4])}
    figure, alt = diagrams.norm_curves(curves, 0.6, {"sum": 7.0, "mean": 12.0})
    assert "at 7 with sum and at 12 with mean" in alt
    table = pd.DataFrame({"written": [1.0, 0.1], "run": [1.0, 0.5]}, index=["input", "fc8"])
    figure, alt = diagrams.signals(table)
    assert "from the smallest: written: 0.1; run: 0.5" in alt
    assert [line.get_ydata().tolist() for line in figure.axes[0].lines] == [[1.0, 0.1], [1.0, 0.5]]
