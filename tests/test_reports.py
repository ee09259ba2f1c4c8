"""Reports on a network of the reader's own, kept and shown, and what is asked of them."""

import csv
import html
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from rnc import ParameterError, Study, cli, survey
from rnc.show import report as shown
from rnc.study import data, reports
from rnc.study.reports import MEASURES, Named

STUDY = {"dataset": "digits", "per_class": 6, "steps": 2}
SOURCE = """
from torch import nn


def net(classes=10, channels=3):
    return nn.Sequential(
        nn.Conv2d(channels, 12, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(48, classes),
    )
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "net.py"
    path.write_text(SOURCE)
    return f"{path}:net"


@pytest.fixture(scope="module")
def made(source):
    torch.manual_seed(0)
    return Named(source, layers="0,2", title="mine").report(Study.of(**STUDY))


def test_a_report_holds_the_survey_of_the_network_and_what_it_is_of(made, source):
    study = Study.of(**STUDY)
    images = data.load("digits", per_class=6)
    torch.manual_seed(0)
    model = reports.networks.load(source)
    drawn, attack = torch.Generator().manual_seed(0), study.evaluation.attack.size
    weight, layers = model[4].weight, ["0", "4.input"]
    found = survey(model, images.x, images.y, layers, weight, **attack, generator=drawn)
    assert made.found.measures["pgd"] == pytest.approx(found.measures["pgd"], nan_ok=True)
    # the second layer that was named is flattened into what the classifier is given
    assert made.found.layers["names"] == ["0", "4.input"]
    assert (made.n, made.k, made.d, made.about["classifier"]) == (60, 10, 48, "4")
    assert made.about["class_names"] == [str(digit) for digit in range(10)]
    nc1 = next(measure for measure in MEASURES if measure.name == "nc1")
    assert made.value(nc1, "clean") == pytest.approx(found.measures["clean"]["nc1"] / 9)


def test_it_is_written_and_read_again(made, tmp_path):
    made.save(tmp_path)
    again = reports.read(tmp_path / "report.json")
    assert again.about == made.about
    for points, measured in made.found.measures.items():
        assert again.found.measures[points] == pytest.approx(measured, rel=1e-5, nan_ok=True)
    assert np.allclose(again.found.leap, made.found.leap, rtol=1e-4, equal_nan=True)
    with open(tmp_path / "table.csv", newline="") as file:
        assert {row["measure"] for row in csv.DictReader(file)} >= {"nc1", "ncc_accuracy"}
    with pytest.raises(ParameterError, match="there is no report in"):
        reports.read(tmp_path / "nothing.json")


def altered(made, title="another", **measures):
    """A copy with other values on clean and attacked points."""
    content = json.loads(json.dumps(made.json()))
    content["about"]["title"] = title
    for name, (clean, attacked) in measures.items():
        content["measures"]["clean"][name] = clean
        content["measures"]["pgd"][name] = attacked
    return content


def read(content, folder):
    (folder / "r.json").write_text(json.dumps(content))
    return reports.read(folder / "r.json")


COLLAPSED = dict.fromkeys(("nc1", "nc2_norms", "nc2_angles", "nc3", "nc4"), (0.001, 9.0))
COLLAPSED |= dict.fromkeys(("nc2_norms_w", "nc2_angles_w"), (0.01, 0.01))


def test_what_several_have_in_common_is_told_as_it_is(made, tmp_path):
    broken = read(altered(made, "broken", accuracy=(1.0, 0.0), **COLLAPSED), tmp_path)
    robust = read(altered(made, "robust", accuracy=(0.9, 0.8)), tmp_path)
    said = reports.told([broken, robust])
    assert said.startswith("Of these 2 networks 1 is within all bounds of collapse")
    assert "takes most points of broken: under it accuracy is 0.0% and NC1/(K−1) 1.0" in said
    assert "leaves most points to robust: under it accuracy is 80.0%" in said
    assert "none is within" in reports.told([robust])
    assert "takes" not in reports.told([robust])


def test_within_the_bound_but_worse_than_chance_is_not_met(made, tmp_path):
    nc2 = next(measure for measure in MEASURES if measure.name == "nc2_norms")
    chance = made.chance(nc2)
    for value, met in ((0.9 * chance, True), (1.1 * chance, False), (2.0, False)):
        one = read(altered(made, nc2_norms=(value, value)), tmp_path)
        assert one.meets(nc2, "clean") == (met and value <= nc2.bound)


def test_a_network_that_does_not_fit_its_images_is_doubted(made, tmp_path):
    guessing = read(altered(made, accuracy=(0.12, 0.0)), tmp_path)
    assert "right on 12.0%, where guessing gives 10.0%" in guessing.doubts()[0]
    good = altered(made, accuracy=(0.9, 0.0))
    assert not read(good, tmp_path).doubts()
    good["about"] |= {"features": 8}
    (said,) = read(good, tmp_path).doubts()
    assert said.startswith("There is no simplex of 10 classes in 8 dimensions, so that the angles")


def test_tables_and_figures_show_every_measure_and_network(made, tmp_path):
    other = read(altered(made, "another", **COLLAPSED, accuracy=(0.9, 0.1)), tmp_path)
    page = html.unescape(shown.report(other).html)
    assert all(measure.title in page and measure.meaning in page for measure in MEASURES)
    assert "✓\xa00.000111" in page
    assert "✗\xa09" in page
    assert "0.9 → 0.1" in shown.others([other]).html
    text = shown.text(made, [other])
    assert "mine" in text
    assert "another" in text
    assert "0.9 → 0.1" in text
    assert len(shown.compared([made, other, other])) == 3
    assert len(shown.among([made, other], own=1).axes) == 4
    assert len(shown.landing(made).axes[0].patches) == 10
    assert shown.layers(made).axes


def test_where_no_attacked_point_arrives_nothing_is_said_of_angles(made, tmp_path):
    content = altered(made) | {"leap": [None] * 10}
    nowhere = read(content, tmp_path)
    assert math.isnan(nowhere.leap)
    assert "nan" not in nowhere.landed()
    assert shown.landing(nowhere).axes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "network must be MODULE:NAME .*; got none"),
        ({"weights": "w.pt"}, "weights needs a network; got 'w.pt' and no network"),
        ({"part": "all"}, "part must be one of train, test; got 'all'"),
        ({"layers": "0,,2"}, 'layers must be such as "layer1,layer4"'),
        ({"network": "SOURCE", "layers": "7"}, "the network has no layer '7'"),
        ({"network": "SOURCE", "classifier": "fc"}, "classifier must be the name of a linear"),
        ({"network": "SOURCE", "classifier": "0"}, "classifier must be the name of a linear"),
        ({"network": "SOURCE(7)"}, "must give as many logits as digits has classes, 10; .* 7"),
        ({"network": "SOURCE(channels=1)"}, "cannot take images of 3 x 16 x 16"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(source, monkeypatch, given, message):
    monkeypatch.setattr(reports, "survey", None)
    given = {n: v.replace("SOURCE", source) for n, v in given.items()}
    with pytest.raises(ParameterError, match=message):
        Named(**given).report(Study.of(**STUDY))


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="out must be a folder that can be made; got"):
        Named(out=str(tmp_path / "file" / "report"))


def test_a_linear_layer_that_is_not_the_last_is_no_classifier():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.fc = nn.Linear(768, 10), nn.Linear(10, 10)

        def forward(self, x):
            return self.fc(self.hidden(x.flatten(1)))

    found = reports.make(Study.of(**STUDY), Two(), ["hidden"], title="two")
    assert found.about["classifier"] == "fc"
    assert found.d == 10


def test_the_command_does_the_same_without_a_notebook(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    asked = ["--dataset", "digits", "--per_class", "6", "--steps", "2"]
    shown_as = ["--title", "My network", "--out", str(tmp_path / "out"), "--publish"]
    cli.main(["survey", "--network", source, *asked, "--part", "test", *shown_as])
    told = capsys.readouterr().out
    assert "My network: 60 test images of digits in 10 classes" in told
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"report.json", "table.csv", "layers.svg", "landing.svg", "others.svg"}
    assert [one.title for one in reports.others()] == ["My network"]
    with pytest.raises(SystemExit):
        cli.main(["survey", "--network", "nowhere:net", *asked])
    assert "there is no module 'nowhere'" in capsys.readouterr().err


def test_what_is_kept_of_networks_of_others_agrees_with_other_code():
    """Values from textbook formulas in float64, by a program that shares no code with this one."""
    kept = {one.title: one for one in reports.others()}
    for title, points, name, value, within in (
        ("ResNet-56", "clean", "nc1", 1.90, 0.005),
        ("ResNet-56", "clean", "nc3", 0.087, 0.0005),
        ("ResNet-56", "pgd", "nc1", 50, 2),
        ("LeNet5", "clean", "nc1", 4.10, 0.005),
        ("LeNet5", "pgd", "nc1", 29, 0.5),
        ("LeNet5", "pgd", "accuracy", 0, 0.001),
        ("LeNet5 (adversarial)", "clean", "nc1", 5.34, 0.005),
        ("LeNet5 (adversarial)", "pgd", "nc1", 8.71, 0.05),
        ("LeNet5 (adversarial)", "pgd", "accuracy", 0.961, 0.002),
        ("LeNet5 (adversarial)", "pgd", "ncc_accuracy", 0.909, 0.002),
    ):
        assert kept[title].found.measures[points][name] == pytest.approx(value, abs=within)
    for title, leap in (("ResNet-56", 0.31), ("LeNet5", 0.46), ("LeNet5 (adversarial)", 0.065)):
        assert kept[title].leap == pytest.approx(leap, abs=0.006)
