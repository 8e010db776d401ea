import base64
import dataclasses
import io
import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import drawn_labels
import matplotlib
import numpy as np
import pandas as pd
import pytest
from fabricate import curve, full_board, judged, planned, record, spec, speed_runs
from PIL import Image

from alexnet.errors import NothingToDraw, SpecError
from alexnet.experiments import starts
from alexnet.figures import ablations, base, curves, diagrams, display, forest, learned
from alexnet.figures.display import bundle, describe
from alexnet.paper.claims import claims
from alexnet.records.record import Signal
from alexnet.report import front
from alexnet.report.convert import TEMPLATES
from alexnet.runs.planning import Planned
from alexnet.statistics import board, effects, verdicts

SLOW, QUICK = [12.3, 11.8, 12.9], [7.2, 6.8, 7.9]  # epochs of tanh and ReLU, by seed
STYLE = TEMPLATES / "style.css"


def by_arm(tanh, relu):
    """Records of both arms with these epochs to the target."""
    runs = speed_runs(tanh, relu)
    return {arm: [record for planned, record in runs if planned.arm == arm] for arm in ("relu", "tanh")}


def words(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def row(claim, values, condition=None):
    question = claims().question(claim, condition)
    effect = effects.paired_difference(values, 0.0, unit=question.unit, null=question.null)
    made = 2 * len(values), 2 * len(values)  # all its runs are recorded
    return board.Row(question, effect, verdicts.verdict(question, effect), len(values), "", recorded=made)


@pytest.fixture
def rows():
    runs = speed_runs([90, 100, 80], QUICK) + speed_runs(SLOW, QUICK, "modern")
    found = [entry for entry in board.rows(runs, {"parameters": 60_965_224}) if entry.effect is not None]
    return [*found, row("two-towers", [1.2, 1.9, 1.6]), row("overlap-pool", [-0.5, 0.4, 0.3])]


# ---- palette and theme -----------------------------------------------------------------------------------------------


def linear(colour):
    """The linear light of a colour, [3]."""
    channels = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("colour", [*base.PALETTE, base.GREY, base.BLACK, *base.VERDICT_COLOURS.values()])
def test_colours_and_verdicts_can_be_read_as_text_on_white(colour):
    assert 1.05 / (linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5


VERDICTS = ("good", "weaker", "partly", "against", "absent", "open", "none")  # as the style sheet names their colours


def on_page(scheme):
    """The colours of the verdicts in a block of the style sheet."""
    block = STYLE.read_text().split(scheme)[1].split("}")[0]
    return [re.search(rf"--{name}: (#\w+);", block)[1] for name in VERDICTS]


def test_verdicts_have_the_same_colours_in_figures_and_on_pages():
    assert tuple(base.VERDICT_COLOURS) == verdicts.LABELS
    assert on_page(":root {") == list(base.VERDICT_COLOURS.values())
    for label, name in zip(verdicts.LABELS[:-1], VERDICTS, strict=False):
        rule = f"{{ --label: var(--{name}); --label-back: var(--{name}-back); }}"
        assert f".verdict-{label.replace(' ', '-')} {rule}" in STYLE.read_text()


@pytest.mark.parametrize("blind", ["none", "protan", "deutan", "tritan"])
def test_colours_differ_for_every_kind_of_colour_vision(blind):
    """Machado's matrices for full deficiency, applied to linear light; the distance is in CIE Lab."""
    matrices = {
        "none": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }

    def lab(colour):
        seen = np.clip(np.array(matrices[blind]) @ linear(colour), 0, 1)
        to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        x, y, z = np.cbrt(np.array(to_xyz) @ seen / [0.9505, 1.0, 1.089])
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    relu, tanh = (lab(base.ARMS[arm][0]) for arm in ("relu", "tanh"))
    assert np.linalg.norm(relu - tanh) > 25
    for scheme in (":root {", ':root[data-theme="dark"] {'):
        found = itertools.combinations(map(lab, on_page(scheme)), 2)
        assert min(np.linalg.norm(one - other) for one, other in found) > 10, scheme


def contrast(one, other):
    """Of two colours given as linear light, after WCAG."""
    low, high = sorted(light @ [0.2126, 0.7152, 0.0722] + 0.05 for light in (one, other))
    return high / low


def test_what_is_around_images_can_be_read_on_dark_pages_and_lies_on_their_ground():
    style = STYLE.read_text()
    ground = linear(re.search(r"--paper: (#\w+);", style.split(':root[data-theme="dark"] {')[1])[1])
    values = np.array(re.search(r"feColorMatrix[^%]*values='([^']+)'", style)[1].split(), dtype=float).reshape(4, 5)
    assert values[3, 3] * display.AROUND / 255 == pytest.approx(1), "the ground of the picture becomes opaque"

    def in_the_dark(colour):
        return linear(np.clip(values[:3, :3] @ matplotlib.colors.to_rgb(colour) + values[:3, 4], 0, 1))

    assert in_the_dark("white") == pytest.approx(ground, abs=0.001)
    for colour in (*base.PALETTE, base.GREY, base.BLACK):
        assert contrast(in_the_dark(colour), ground) >= 4.5


def test_drawing_leaves_the_global_settings_alone(rows):
    before = dict(matplotlib.rcParams)
    forest.forest_plot(rows)
    assert dict(matplotlib.rcParams) == before


# ---- arms ------------------------------------------------------------------------------------------------------------


def compared(claim):
    """A question, and made-up runs of both of its arms, with all that its measure may ask for."""
    question, runs = claims().question(claim), []
    for seed, arm in itertools.product((0, 1), question.arms):
        made = record(spec(seed=seed), [0.7, 0.5, 0.4 - 0.1 * (arm == question.arms[0])])
        history = [epoch.model_copy(update={"clean_train_loss": 2.6 - 0.8 * epoch.epoch}) for epoch in made.history]
        final = made.final.model_copy(update={"clean_train_error": 0.2, "outcome": "completed"})
        made = made.model_copy(update={"history": history, "final": final})
        runs.append((Planned(claim, question.condition, "seeds", arm, seed, made.spec), made))
    return question, runs


def colours_of(arm, *figures):
    """The colours in which an arm is named."""
    written = [text for figure in figures for axis in figure.axes for text in axis.texts]
    name = re.compile(rf"{base.arm_name(arm)}\b")
    found = [text.get_color() for text in written if name.match(base.arm_name(text.get_text()))]
    assert len(found) == len(figures), "once a figure"
    return set(found)


@pytest.mark.parametrize(
    "claim", ["dropout-overfit", "dropout-time", "overlap-pool", "two-towers", "lr-drops", "bias-ones", "relu-speed"]
)
def test_an_arm_has_one_colour_in_dots_curves_and_panels(claim):
    question, runs = compared(claim)
    arms = ablations.arms_of(question, runs)
    backwards = {arm: arms[arm] for arm in reversed(arms)}
    error = (lambda epoch: 100 * epoch.valid_error, "validation error (%)", "When do they part?")
    figures = [
        ablations.paired_dots([judged(claim, [1.0, 2.0])], runs, "error", "Which is better?")[0],
        curves.epoch_curves(backwards, *error)[0],
        curves.curve_panels({"both": backwards}, *error)[0],
        curves.learning_curves(backwards)[0],
    ]
    found = [colours_of(arm, *figures) for arm in arms]
    assert [len(colours) for colours in found] == [1, 1] and found[0] != found[1]


def test_every_claim_has_an_arm_of_each_colour():
    for question in claims().questions():
        colours = [base.ARMS[arm][0] for arm in question.arms or ()]
        assert len({*colours}) == len(colours), question.id


def test_starts_have_the_colours_of_their_biases_and_differ_otherwise():
    biases = {name: starts.AS_WRITTEN.with_(net={"bias_ones": name == "ones"}) for name in ("zeros", "ones")}
    named = {starts.title(spec.with_(net={"init": init})): (name, init) for init in ("paper", "as-run")
             for name, spec in biases.items()}  # fmt: skip
    styles = base.arm_styles(named)
    assert {styles[title][0] == base.ARMS[name][0] for title, (name, _) in named.items()} == {True}
    assert len({*styles.values()}) == len(named) == 4
    rows = pd.DataFrame({"start": [*named], "predicted": 1e-3, "error": 50.0})
    figure, _ = learned.starts(rows, 80.0, "Which start trains?")
    drawn = {line.get_label(): line.get_color() for line in figure.axes[0].lines if line.get_label() in named}
    assert drawn == {title: colour for title, (colour, _) in styles.items()}


def test_arms_of_no_fixed_colour_take_theirs_by_place_and_all_differ():
    styles = base.arm_styles(f"step {number}" for number in range(8))
    assert [colour for colour, _ in styles.values()] == [*base.PALETTE] * 2 and len({*styles.values()}) == 8


# ---- forest plot -----------------------------------------------------------------------------------------------------


def test_the_users_own_settings_of_matplotlib_change_no_figure(rows):
    plain = bundle(*forest.forest_plot(rows))
    theirs = {
        "text.usetex": True, "font.size": 30, "axes.grid": True, "figure.facecolor": "black", "lines.linewidth": 9,
        "savefig.transparent": True, "axes.formatter.use_locale": True, "path.sketch": (1, 9, 2),
    }  # fmt: skip
    with matplotlib.rc_context(theirs):
        assert bundle(*forest.forest_plot(rows)) == plain
        assert matplotlib.rcParams["font.size"] == 30, "left as it was"


def lines_at(figure, place):
    """What is drawn on a row of the forest plot."""
    (axis,) = figure.axes
    height = axis.get_yticks()[place]
    return [line for line in axis.lines if set(line.get_ydata()) == {height}]


def test_the_forest_plot_says_what_it_shows(rows):
    figure, alt = forest.forest_plot(rows)
    drawn = [entry for entry in rows if isinstance(entry.effect, effects.Effect)]
    tally = "1 weaker than claimed, 2 direction reproduced and 1 inconclusive"
    seen = sum(entry.question.seen for entry in drawn)
    tally += f" ({'all' if seen == 4 else seen} of them first looks, which decide nothing)"
    assert seen and alt.startswith(f"Forest plot of 4 effects in margins of their claims: {tally}. ")
    for entry in drawn:
        assert entry.effect.text in alt
    assert [word for word in words(figure) if word in verdicts.LABELS] == [entry.verdict.label for entry in drawn]
    assert "the paper has 6 times" in alt and alt.count("the paper has") == 1
    assert figure.get_suptitle().endswith("?")


def test_units_share_one_axis_in_margins_of_their_claims(rows):
    figure, _ = forest.forest_plot(rows)
    (axis,) = figure.axes
    assert axis.get_xscale() == "linear"
    marks = [line.get_xdata()[0] for line in axis.lines if list(line.get_ydata()) == [0, 1]]
    assert marks == [0, 1] and {"no effect ", " the margin"} <= set(words(figure))
    towers = lines_at(figure, 2)
    effect, margin = rows[-2].effect, 0.85
    assert [effect.low / margin, effect.high / margin] in [list(line.get_xdata()) for line in towers]
    dots = next(line for line in towers if line.get_markerfacecolor() == "white" and line.get_marker() == "o")
    assert list(dots.get_xdata()) == pytest.approx([1.2 / margin, 1.9 / margin, 1.6 / margin]), "every pair has its dot"
    modern = rows[1].effect
    estimate = [line for line in lines_at(figure, 1) if line.get_marker() == "o"][-1]
    assert estimate.get_xdata()[0] == pytest.approx(math.log(modern.estimate) / math.log(math.sqrt(6)))


def test_the_papers_figure_is_dark_only_where_scales_match(rows):
    figure, _ = forest.forest_plot(rows)
    diamonds = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in diamonds] == pytest.approx([2, 2, 2, 2]), "a margin is half of the figure"
    assert [line.get_markeredgecolor() == base.BLACK for line in diamonds] == [True, False, False, False]


def test_a_lower_bound_is_an_arrow_to_the_edge(rows):
    figure, _ = forest.forest_plot(rows)
    (axis,) = figure.axes
    bound = lines_at(figure, 0)
    arrows = [line.get_xdata()[0] for line in bound if line.get_marker() == ">"]
    assert max(arrows) == pytest.approx(axis.get_xlim()[1])
    assert any(math.isclose(arrow, forest.in_margins(rows[0])[1]) for arrow in arrows)


def test_what_lies_beyond_the_axis_is_an_arrow_and_has_no_dot():
    far = row("overlap-pool", [9.0, 9.4, 0.1])
    figure, _ = forest.forest_plot([far, row("two-towers", [1.2, 1.9, 1.6])])
    left, right = figure.axes[0].get_xlim()
    assert (left, right) == (max(forest.FARTHEST[0], left), forest.FARTHEST[1])
    drawn = lines_at(figure, 0)
    ends = sorted(line.get_xdata()[0] for line in drawn if line.get_marker() in ("<", ">"))
    assert ends[0] == left and ends[-1] == right
    dots = next(line for line in drawn if line.get_markerfacecolor() == "white" and line.get_marker() == "o")
    assert list(dots.get_xdata()) == pytest.approx([0.5])


def test_the_claimed_side_is_to_the_right_and_a_margin_of_nothing_is_ten_points(rows):
    question = claims().question("two-towers").model_copy(update={"direction": "below"})
    effect = rows[-2].effect
    assert verdicts.relative(question, effect, 1.7) == pytest.approx(-2)
    most = claims().question("neighbours")
    assert most.margin == 0 and verdicts.relative(most, effect, 5.0) == pytest.approx(0.5)
    ratio = rows[0].effect
    assert verdicts.relative(rows[0].question, ratio, 6.0) == pytest.approx(2)
    assert verdicts.relative(rows[0].question, ratio, math.inf) == math.inf


def test_words_stay_inside_the_picture_and_lie_on_no_others(rows):
    many = [row(claim.id, [1.2, 1.9, 1.6]) for claim in claims().claim if claim.effect == "difference"]
    for drawn in (rows, many, [*many, *rows]):
        assert drawn_labels.faults(forest.forest_plot(drawn)[0]) == []


def test_a_claim_s_conditions_are_named_where_there_are_several(rows):
    figure, _ = forest.forest_plot(rows)
    names = [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()]
    assert names[0] == forest.row_name(rows[0]) and names[2] == rows[-2].question.title


def test_a_row_whose_margin_is_no_effect_itself_is_told_apart_in_the_forest_and_in_its_line():
    rows = {row.question.claim: row for row in full_board() if row.question.primary and row.effect is not None}
    none, some = rows["neighbours"], rows["ten-crop"]
    figure, _ = forest.forest_plot([none, some])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [name.endswith(" °") for name in names] == [True, False]
    assert "° its margin is no effect itself, and 1 stands for 10 points" in figure.axes[0].get_xlabel()
    other, _ = forest.forest_plot([some])
    assert "°" not in other.axes[0].get_xlabel()
    lines = [front.entry_of(row, [], [])["drawing"] for row in (none, some)]
    assert lines[0]["margin"] == lines[0]["null"] and lines[1]["margin"] > lines[1]["null"]


def test_a_forest_plot_of_nothing_is_refused():
    with pytest.raises(SpecError, match="make runs"):
        forest.forest_plot(board.rows([]))


def test_one_seed_is_drawn_without_an_interval():
    figure, alt = forest.forest_plot([row("two-towers", [1.2])])
    assert "1.20, n = 1" in alt and "1 not tested" in alt
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "|"]


# ---- learning curves -------------------------------------------------------------------------------------------------


def test_learning_curves_say_when_each_arm_arrives():
    figure, alt = curves.learning_curves(by_arm(SLOW, QUICK))
    assert "ReLU comes to 25% after 7.3 epochs on average, from 6.8 to 7.9 (3 runs)." in alt
    assert "tanh comes to 25% after 12.3 epochs on average, from 11.8 to 12.9 (3 runs)." in alt
    assert {"ReLU: 7.3 epochs", "tanh: 12.3 epochs", "25%"} <= set(words(figure))
    axis = figure.axes[0]
    assert axis.get_xlabel() == "epochs" and axis.get_ylabel() == "training error rate (%)"
    assert axis.get_title(loc="left").endswith("?")


def test_relu_is_solid_and_tanh_dashed_with_a_line_a_seed_and_their_mean():
    figure, _ = curves.learning_curves(by_arm(SLOW, QUICK))
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    styles = {(line.get_color(), line.get_linestyle()) for line in drawn}
    assert styles == {(base.BLUE, "-"), (base.VERMILION, "--")}
    assert len(drawn) == 8
    mean = max((line for line in drawn if line.get_color() == base.BLUE), key=lambda line: line.get_linewidth())
    seeds = [line.get_ydata()[: len(mean.get_ydata())] for line in drawn if line.get_color() == base.BLUE]
    assert mean.get_ydata() == pytest.approx(
        np.mean([ys for ys in seeds if not np.array_equal(ys, mean.get_ydata())], axis=0)
    )
    targets = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert sorted(targets) == pytest.approx([6.8, 7.2, 7.9, 11.8, 12.3, 12.9])


def test_learning_curves_say_who_never_arrives():
    figure, alt = curves.learning_curves(by_arm([90, 100, 50], QUICK))
    assert (
        "tanh comes to 25% after 50.0 epochs on average (1 run) and stands at 40.0% to 43.0% after 60 epochs in 2 runs."
        in alt
    )
    assert "tanh: not within 60 epochs (2 of 3 runs)" in words(figure)


def test_learning_curves_show_a_diverged_run():
    diverged = record(spec("tanh", 0), [0.8, 0.9, math.nan])
    figure, alt = curves.learning_curves({"relu": [record(spec(), curve(7.0))], "tanh": [diverged]})
    assert "tanh diverges in 1 run." in alt and "tanh: not within 60 epochs" in words(figure)


def test_learning_curves_of_nothing_are_refused():
    with pytest.raises(SpecError, match="make runs"):
        curves.learning_curves({"relu": [], "tanh": []})


# ---- signals ---------------------------------------------------------------------------------------------------------


def signal_table(*conditions):
    found = {
        (condition, arm, when): [Signal(layer="relu", input=size * layer, gradient=1e-6 / layer, flat=0.125 * layer)
                                 for layer in (1, 2, 3)]
        for condition in conditions
        for arm, size in (("relu", 1.0), ("tanh", 20.0))
        for when in ("before", "after")
    }  # fmt: skip
    return diagrams.signal_table(found)


def test_signals_are_lines_along_the_layers_and_their_ranges_are_told():
    figure, alt = diagrams.signal_panels(signal_table("old", "modern"), "What reaches each layer?")
    panels = np.reshape(figure.axes, (2, 3))
    assert [axis.get_ylabel() for axis in panels[:, 0]] == ["old", "modern"]
    assert [axis.get_yscale() for axis in panels[1]] == ["log", "log", "linear"]
    for axis in panels.flat:
        assert len(axis.lines) == 4 and all(list(line.get_xdata()) == [1, 2, 3] for line in axis.lines)
    styles = {(line.get_color(), line.get_linestyle()) for line in panels[0, 0].lines}
    assert styles == {(base.BLUE, "-"), (base.VERMILION, "--")}
    assert list(panels[0, 2].lines[0].get_ydata()) == [0.12, 0.25, 0.38], "two digits"
    assert "modern, tanh after training: input 20 to 60, gradient 3.3e-07 to 1.0e-06, flat units 12% to 38%" in alt
    assert drawn_labels.faults(figure) == []


def test_no_signals_are_not_drawn():
    with pytest.raises(NothingToDraw, match="make runs"):
        diagrams.signal_panels(diagrams.signal_table({}), "What reaches each layer?")


# ---- the grid --------------------------------------------------------------------------------------------------------


def grid(arm, epochs, cap=15):
    rates = (0.0005, 0.001, 0.002, 0.004)
    return [
        planned(arm, 1000, count, stage="grid", rate=rate, cap=cap)[1]
        for rate, count in zip(rates, epochs, strict=True)
    ]


def test_the_grid_rings_what_was_chosen():
    runs = {"relu": grid("relu", (14, 9, 7, 99)), "tanh": grid("tanh", (99, 99, 80, 85))}
    figure, alt = curves.learning_rates(runs, {"relu": 0.002, "tanh": 0.0005})
    assert "ReLU does best at 0.002, there after 7.0 epochs; 1 of 4 rates missed the target." in alt
    assert "tanh does best at 0.0005, at the edge of the grid, not there after 15 epochs; 4 of 4 rates" in alt
    rings = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert [line.get_xdata()[0] for line in rings] == [0.002, 0.0005]
    assert {"ReLU: 0.002", "tanh: 0.0005, by its error at the cap"} <= set(words(figure))


def test_a_grid_in_which_no_run_arrived_shows_the_errors_at_the_cap():
    runs = {"relu": grid("relu", (90, 80, 85, 99)), "tanh": grid("tanh", (99, 99, 80, 85))}
    figure, alt = curves.learning_rates(runs, {"relu": 0.001, "tanh": 0.002})
    (axis,) = figure.axes
    errors = [100 * record.final.train_error for record in runs["relu"]]
    assert list(axis.lines[0].get_ydata()) == pytest.approx(errors)
    assert axis.get_ylabel() == "training error at the cap (%)" and not any(
        line.get_marker() == "^" for line in axis.lines
    )
    assert alt.startswith("Training error at the cap") and f"ReLU does best at 0.001, with {errors[1]:.1f}%." in alt
    labels = {text.get_text(): text.xyann[1] for text in axis.texts if "by its error" in text.get_text()}
    assert len(set(labels.values())) == 2, "one above its point, one below"


def test_a_chosen_rate_must_be_in_the_grid():
    with pytest.raises(SpecError, match="not in its grid"):
        curves.learning_rates({"relu": grid("relu", (14, 9, 7, 99))}, {"relu": 0.003})


def test_words_that_cannot_be_read_are_found():
    figure = matplotlib.figure.Figure(figsize=(3, 2))
    for x, y, word in ((0.1, 0.5, "one"), (0.11, 0.5, "another"), (0.1, 0.2, "apart"), (0.9, 0.8, "cut off")):
        figure.text(x, y, word)
    figure.text(0.9, 0.1, "upright", rotation=90)
    assert drawn_labels.faults(figure) == ["'one' lies on 'another'", "the edge cuts 'cut off'"]


# ---- all ------------------------------------------------------------------------------------------------------------


def test_the_same_numbers_give_the_same_picture_and_others_do_not(rows):
    first, second = (describe(forest.forest_plot(rows)[0]) for _ in range(2))
    other = describe(forest.forest_plot(rows[:-1])[0])
    assert first == second != other


def test_figures_can_be_shown_in_a_notebook():
    data, metadata = bundle(*curves.learning_curves(by_arm([12.3, 11.8], [7.2, 6.8])))
    details = metadata["image/png"]
    assert "ReLU comes to 25%" in details["alt"]
    drawing = ElementTree.fromstring(base64.b64decode(details["svg"]))
    width, height = (float(drawing.get(side).removesuffix("pt")) for side in ("width", "height"))
    assert width / height == pytest.approx(details["width"] / details["height"], rel=0.01)
    assert "ReLU: 7.0 epochs" in {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as picture:
        assert picture.mode == "P" and picture.width == pytest.approx(2 * details["width"], abs=1)
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for name in ("#FFFFFF", base.BLUE, base.VERMILION):  # the palette keeps them, or what the eye takes for them
        wanted = [int(name[start : start + 2], 16) for start in (1, 3, 5)]
        assert np.abs(colours - wanted).max(1).min() <= 6


def test_images_are_opaque_in_a_picture_and_all_around_them_is_marked():
    shown = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    shown[:2] = 255  # as white as the ground
    figure = diagrams.gallery(shown, [f"image {place}" for place in range(5)], columns=3, heading="What is white?")
    data, metadata = bundle(figure, "Five squares, two of them white, each with its number above it.")
    assert metadata["image/png"]["photograph"] and all(text.get_visible() for text in figure.axes[0].texts)
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as picture:
        pixels = np.asarray(picture)
    images, around = (pixels[pixels[..., 3] == opacity, :3] for opacity in (255, display.AROUND))
    assert len(images) + len(around) == pixels[..., 3].size
    assert len(images) == 5 * math.isqrt(len(images) // 5) ** 2, "five squares"
    assert {*map(tuple, shown.reshape(-1, 3).tolist())} == {*map(tuple, images.tolist())}, "the images and nothing else"
    assert around.min() < 60 and np.all(around.max(1) - around.min(1) == 0), "dark words, all grey"


def test_a_row_with_an_unknown_size_is_left_out(rows):
    unknown = effects.paired_ratio([5, 6], [1, 1], numerator_censored=[1, 0], denominator_censored=[1, 0])
    _, alt = forest.forest_plot([dataclasses.replace(rows[0], effect=unknown), *rows[1:]])
    assert "Forest plot of 3 effects" in alt


# --- tables of pairs ------------------------------------------------------------------------------------------


SPEED = claims().question("relu-speed", "original")


def test_the_table_of_pairs_has_both_measures_their_ratio_and_the_test_errors():
    table = ablations.pairs_table(SPEED, speed_runs([12, 30], [6, 10]), test_errors=True)
    assert list(table) == ["seed", "tanh", "relu", "ratio", "test error, tanh", "test error, relu"]
    assert list(table["seed"]) == [0, 1]
    assert [float(value) for value in table["ratio"]] == pytest.approx([2, 3], abs=0.05)
    assert set(table["test error, tanh"]) == {"30.0%"}


@pytest.mark.parametrize(
    ("tanh", "relu", "signs"),
    [(90, 6, ("> ", "", "> ")), (12, 90, ("", "> ", "< ")), (90, 90, ("> ", "> ", "? "))],
)
def test_a_run_that_never_arrived_makes_its_pair_a_bound(tanh, relu, signs):
    table = ablations.pairs_table(SPEED, speed_runs([tanh], [relu]))
    assert tuple(value.rstrip("0123456789.") for value in table.loc[0, ["tanh", "relu", "ratio"]]) == signs


def test_a_pair_with_a_missing_run_is_left_out():
    runs = speed_runs([12, 30], [6, 10])
    assert list(ablations.pairs_table(SPEED, [*runs[:3], (runs[3][0], None)])["seed"]) == [0]
