"""Pictures of tables and trainings: what was measured is in them, what was not is left out."""

import subprocess
import sys
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from distill.evaluation import plots
from distill.program import UserError
from helpers import SCRIPTS, warm


def table(**columns):
    frame = pd.DataFrame(
        {
            "row": ["baseline", "half", "all", "none"],
            "x": [np.nan, 0.5, 1.0, 0.7],
            "AP": [40.0, 42.0, 43.0, np.nan],
            "AP sd": [1.0, 0.5, 2.0, np.nan],
        }
    )
    return frame.assign(**columns)


def texts(path):
    return {"".join(e.itertext()) for e in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")}


def test_rows_are_drawn_at_their_x_with_their_spread():
    axes = Figure().subplots()
    plots.rows(axes, table().iloc[::-1], {"x": "amount", "baseline": "baseline"})
    line, _, (bars,) = axes.containers[0]
    assert line.get_xydata().tolist() == [[0.5, 42.0], [1.0, 43.0]]  # from left to right, without the NaN
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[41.5, 42.5], [41.0, 45.0]]
    assert axes.lines[-1].get_ydata() == [40.0, 40.0]
    assert axes.get_xlabel() == "amount"
    assert not any("none" in text.get_text() for text in axes.texts)


def test_a_single_seed_has_no_bars():
    axes = Figure().subplots()
    plots.rows(axes, table(**{"AP sd": np.nan}), {"x": "amount"})
    assert not axes.containers[0].has_yerr
    assert len(axes.lines) == 1


@pytest.mark.parametrize("count", [6, 22])
def test_many_names_stand_below_the_lines_and_each_has_its_own(count):
    """Without room of their own, they would leave none to the lines."""
    figure = Figure(figsize=(4.4, 2.8), layout="constrained")
    axes = figure.subplots()
    history = pd.DataFrame({"iteration": [1, 2], "loss": [2.0, 1.0]})
    plots.losses(axes, [(f"model {number}", history) for number in range(count)])
    figure.draw_without_rendering()
    assert axes.get_window_extent().height / figure.dpi > 1.8  # inches
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == count
    (named,) = figure.legends or [axes.get_legend()]
    assert [text.get_text() for text in named.texts] == [f"model {number}" for number in range(count)]
    box = named.get_window_extent()
    assert box.y0 >= 0
    assert (box.y1 <= axes.get_window_extent().y0) == (count == 22)


NAMES = ["$\\foo$", "_hidden", r"\$ $ \$", "a\nb\x01", "thing\ud800", "<b>&", "NA", "1.50"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_as_it_is(tmp_path, name):
    """Neither a formula, nor left out of the legend, nor taken for a number that is missing."""
    line = "".join(letter if letter.isprintable() else " " for letter in name)
    rows = table(row=["baseline", "half", name, "none"])
    if "\ud800" not in name:  # which no file of text holds
        rows.to_csv(tmp_path / "t.csv", index=False)
        rows = plots.read_rows(tmp_path / "t.csv")
    history = pd.DataFrame({"iteration": [1, 2], "loss": [3.0, 2.0]})

    def draw(axes):
        plots.rows(axes, rows, {"x": name, "baseline": name})
        plots.losses(axes.figure.add_subplot(), [(name, history)])

    plots.save(draw, tmp_path / "x.svg")
    shown = [text.strip() for text in texts(tmp_path / "x.svg")]
    assert shown.count(line.strip()) == 1  # texts are a set …
    text = (tmp_path / "x.svg").read_text()
    assert text.count(escape(line.strip())) == 4  # … of a row, two legends, an axis


def test_losses_are_means_and_gaps():
    iterations = np.arange(1, 1001)
    loss = np.where(iterations % 10 == 1, np.inf, 2.0)
    history = pd.DataFrame({"iteration": iterations, "loss": loss})
    short = pd.DataFrame({"iteration": [1, 2], "loss": [3.0, np.nan]})
    axes = Figure().subplots()
    plots.losses(axes, [("teacher", history), ("teacher", history + 1), ("student", short)])
    first, second, third = axes.lines
    assert len(first.get_xdata()) == plots.POINTS
    assert first.get_ydata() == pytest.approx(2.0)
    assert first.get_color() == second.get_color() != third.get_color()
    assert third.get_xydata()[0].tolist() == [1.0, 3.0]
    assert np.isnan(third.get_ydata()[1])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["teacher", "student"]
    with pytest.raises(UserError, match="history of teacher has no columns"):
        plots.losses(axes, [("teacher", pd.DataFrame({"iteration": [1]}))])


def test_validations_are_dots_on_an_axis_of_their_own():
    history = pd.DataFrame(
        {"iteration": [10.0, 20, 30, 40], "loss": [4.0, 3, 2, 1], "AP": [np.nan, 5, np.nan, 9]}
    )
    axes = Figure().subplots()
    plots.losses(axes, [("a", history.drop(columns="AP")), ("b", history)])
    (percent,) = [other for other in axes.figure.axes if other is not axes]
    (line,) = percent.get_lines()
    assert line.get_xydata().tolist() == [[20, 5], [40, 9]]
    assert line.get_color() == axes.get_lines()[1].get_color()
    plots.losses(alone := Figure().subplots(), [("a", history.drop(columns="AP"))])
    assert alone.figure.axes == [alone]


def test_the_programs_write_svg_and_png_with_the_same_bytes_each_time(tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    columns = {"iteration": [1, 2], "loss": [3.0, 2.0], "labelled": [6, 12], "generated": [4, 8]}
    pd.DataFrame(columns).to_csv(tmp_path / "h.csv", index=False)
    options = '{"x": "amount of data", "baseline": "baseline"}'
    table_args = ["plot_table.py", "--table", tmp_path / "t.csv", "--options", options]
    training_args = ["plot_training.py", f"teacher={tmp_path / 'h.csv'}"]
    for (program, *args), words in ((table_args, "amount of data"), (training_args, "teacher")):
        one = [sys.executable, SCRIPTS / program, *args, "--output", tmp_path / "one.svg"]
        subprocess.run(one, check=True, capture_output=True)  # another process: another seed of hashes
        assert warm.run(program, *args, "--output", tmp_path / "two.svg").returncode == 0
        assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
        assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
        assert words in texts(tmp_path / "one.svg")
