"""Tables as people read them: Markdown, and the program that writes them."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from distill.evaluation.table_text import as_text, markdown, notes, write
from distill.evaluation.tables import build
from distill.files import write_json
from helpers import SCRIPTS
from helpers.tabled import GAP, study


@pytest.mark.parametrize(
    ("name", "cell"), [("a|b", "a\\|b"), ("\\|", "\\\\\\|"), ("<b>|</b>", "\\<b>\\|\\</b>"), ("a\nb", "a b")]
)
def test_a_name_ends_no_cell_and_is_no_html(name, cell):
    spec, evaluations = study(gains={"student": {"over": "teacher"}})
    spec["rows"][0]["name"] = spec["gains"]["student"]["over"] = name
    table = build(spec, evaluations)
    assert as_text(table)[1][0][0] == name
    assert notes(table)[0].endswith(f"gain in AP: student over {name}.")
    lines = markdown(table).splitlines()
    assert lines[2].startswith(f"| {cell} | plain |")
    assert f"student over {cell}." in lines[-1]


def test_written_files(tmp_path):
    table = build(*study(gap=GAP, reference={"teacher": 54.9, "student": 60.2}))
    write(table, tmp_path / "results.csv")
    frame = pd.read_csv(tmp_path / "results.csv")
    pd.testing.assert_frame_equal(frame, table.frame, check_exact=True)  # full precision
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert lines[0].startswith("| row | views | seeds | AP | AP reference | AP difference | AP50 |")
    assert lines[2].startswith("| teacher | plain | 3 | 40.0 ± 2.0 | 54.9 | -14.9 | 40.0 ± 2.0 |")
    assert lines[3].startswith("| long | plain | 3 | 46.0 ± 2.6 |  |  | 46.0 ± 2.6 |")
    assert len({line.count("|") for line in lines[:6]}) == 1


def test_program(tmp_path):
    spec, evaluations = study(gap=GAP)
    paths = {name: str(tmp_path / name.removesuffix(".json") / "val/plain.json") for name in evaluations}
    for name, content in evaluations.items():
        names = {"model": name.removesuffix(".json"), "dataset": "val", "views": "plain"}
        write_json(paths[name], {**names, "images": 1, "predictions": 1, **content})
    for row in spec["rows"]:
        row["evaluations"] = [paths[name] for name in row["evaluations"]]
    command = [sys.executable, SCRIPTS / "make_table.py", "--name", "t", "--spec", json.dumps(spec)]
    command += ["--evaluations", *paths.values(), "--output", str(tmp_path / "t.csv")]
    subprocess.run(command, check=True, capture_output=True)
    assert pd.read_csv(tmp_path / "t.csv")["AP"].tolist() == pytest.approx([40, 46, 145 / 3, 51])
    failed = subprocess.run([*command[:-4], "--output", "x.csv"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: table: evaluation")
