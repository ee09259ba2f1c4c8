from dataclasses import fields, make_dataclass, replace
from pathlib import Path

import pytest

from rnc.errors import ParameterError
from rnc.study.methods import METHODS
from rnc.study.settings import (
    PRESETS,
    Attack,
    Evaluation,
    Study,
    Training,
    as_json,
    key,
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"preset": "quik"},
            r"preset must be one of quick, .*; got 'quik' \(did you mean quick\?\)",
        ),
        (
            {"dataset": "mnist"},
            "cifar10, cifar10-drawn, cifar100, imagefolder:PATH or npz:PATH; got 'mnist'",
        ),
        ({"dataset": "cifar"}, r"got 'cifar' \(did you mean cifar10"),
        ({"dataset": "imagefolder:"}, "imagefolder:PATH or npz:PATH; got 'imagefolder:'"),
        ({"per_class": 1}, "per_class must be a whole number, at least 2; got 1"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16; got 'float16'"),
        ({"model": "vgg12"}, r"model must be one of .*did you mean vgg11\?"),
        ({"width": 0}, "width must be a whole number, at least 1; got 0"),
        (
            {"dataset": "cifar100", "width": 12},
            "width must give at least 99 features, .* 100 classes .*; got 12, which gives 96",
        ),
        ({"width": 2.5}, "width must be a whole number"),
        ({"norm": "l3"}, "norm must be one of linf, l2; got 'l3'"),
        ({"eps": -1}, "eps must be a number in units of 1/255, at least 0; got -1"),
        ({"eps": "8/255"}, "eps must be a number in units of 1/255.*got '8/255'"),
        ({"eps": float("nan")}, "eps must be a number"),
        ({"eps": float("inf")}, "eps must be finite"),
        ({"alpha": -0.5}, "alpha must be a number in units of 1/255"),
        ({"steps": 0}, "steps must be a whole number, at least 1"),
        ({"steps": True}, "steps must be a whole number"),
        ({"epochs": 0}, "epochs must be a whole number, at least 1"),
        ({"model": [1]}, r"model must be one of vgg11, preactresnet18; got \[1\]"),
        (
            {"dataset": 3},
            "dataset must be one of digits, cifar10, cifar10-drawn, cifar100, .*; got 3",
        ),
        ({"eps": 1e400}, "eps must be finite"),
        ({"device": ""}, "device '' is not available on this machine"),
        ({"seed": -1}, "seed must be one whole number, at least 0; got -1"),
        ({"seed": "3,4"}, "seed must be one whole number, at least 0; got '3,4'"),
        ({"measured_per_class": 1}, "measured_per_class must be a whole number, at least 2"),
        (
            {"measured_per_class": 51},
            "measured_per_class must be at most 50, the training images of a class; got 51",
        ),
        ({"seeds": "0,0"}, "seeds must be different whole numbers"),
        ({"seeds": [1.7, 2]}, "seeds must be different whole numbers"),
        ({"seeds": "a"}, "seeds must be different whole numbers.*got 'a'"),
        ({"seed": 0, "seeds": "1"}, "seed or seeds, not both"),
        ({"device": "tpu"}, "device 'tpu' is not available on this machine; there is cpu"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Study.of(**wrong)


def test_seeds_are_read_in_every_form():
    for seeds in ("0,2", [0, 2], (0, 2)):
        assert Study.of(seeds=seeds).seeds == (0, 2)
    assert Study.of(seed=3).seeds == Study.of(seed="3").seeds == Study.of(seeds=3).seeds == (3,)


def test_standard_training_does_not_depend_on_the_attack():
    assert Study.of(eps=4).training("st") == Study.of(norm="l2").training("st")
    assert Study.of(eps=4).training("at") != Study.of(eps=8).training("at")


def test_evaluation_alone_does_not_change_a_training():
    assert Study.of(steps=50, alpha=1).trainings() == Study.of().trainings()
    assert Study.of(measured_per_class=10).trainings() == Study.of().trainings()


def test_equal_settings_have_equal_keys():
    assert key(Attack("linf", 8, 2, 10)) == key(Attack("linf", 8.0, 2.0, 10))
    assert Attack("linf", 2.33333333, 1, 1).eps == 2.33333  # as files hold it
    at = Study.of().training("at")
    assert key(replace(at, beta=6, lr=0.1)) == key(at)
    assert key(Attack("linf", 8, 2, 10)) != key(Attack("linf", 8, 2, 11))


def test_a_new_setting_with_a_default_leaves_keys_and_stored_settings_as_they_are():
    training = Study.of().training("at")
    later = make_dataclass(
        "Later", [("dropout", float, 0.0)], bases=(Training,), frozen=True, kw_only=True
    )
    same = later(**{f.name: getattr(training, f.name) for f in fields(training)})
    assert key(same) == key(training)
    assert key(replace(same, dropout=0.5)) != key(training)
    older = as_json(training)
    del older["precision"], older["momentum"]  # written before there were such settings
    assert Training.from_json(older) == training


@pytest.mark.parametrize("method", METHODS)
def test_settings_survive_json(method):
    training = Study.of("cifar10-small", norm="l2").training(method)
    assert Training.from_json(as_json(training)) == training
    for evaluation in (Study.of().evaluation, Study.of("paper").evaluation):
        assert Evaluation.from_json(as_json(evaluation)) == evaluation


def test_keys_of_records_stay_as_they_were():
    """What lies in book/records is found by these; a changed default would orphan all of it."""
    assert Study.of("cifar10-small").training("st").slug.endswith("-st-s1-103730972b")
    assert Study.of("cifar10-small", epochs=400).training("at").slug.endswith("-249e47117e")
    assert Study.of().evaluation.slug == "linf8-cacea56b53"


def test_steps_grow_with_the_radius():
    assert Study.of(eps=4).evaluation.attack == Attack("linf", 4, 1, 10)
    assert Study.of(eps=4).training("at").attack == Attack("linf", 4, 1.5, 5)
    assert Study.of(eps=0).evaluation.attack.alpha == 0
    attack = Study.of().evaluation.attack
    assert attack.at_radius(16) == Attack("linf", 16, 4, 10)
    assert Study.of(eps=0).evaluation.attack.at_radius(8).alpha > 0
    assert attack.size == {"eps": 8 / 255, "alpha": 2 / 255, "steps": 10, "norm": "linf"}


def test_the_measured_points_are_a_part_of_the_data():
    assert Study.of("paper").evaluation.per_class == 1000
    for all_of_them in ({"per_class": 500}, {"dataset": "cifar100"}):
        assert Study.of("paper", **all_of_them).evaluation.per_class is None
    some = Study.of(measured_per_class=10).evaluation
    assert "measured on 10 points per class" in str(some)
    assert some.slug.startswith("linf8-first10-")
    # named apart from all, which keeps its name
    assert some.slug.split("-")[-1] not in Study.of().evaluation.slug
    assert Study.of(measured_per_class=50).evaluation.slug == Study.of().evaluation.slug


def test_learning_rate_drops_where_the_preset_says():
    training = Study.of(epochs=20).training("st")
    rates = [training.learning_rate(epoch) for epoch in range(20)]
    assert rates[:12] == [0.1] * 12
    assert rates[12:17] == pytest.approx([0.01] * 5)
    assert rates[17:] == pytest.approx([0.001] * 3)


@pytest.mark.parametrize("epochs", [1, 2, 5, 75, 400])
def test_snapshots_begin_at_initialisation_and_end_at_the_end(epochs):
    snapshots = Study.of(epochs=epochs).training("st").snapshots()
    assert snapshots[0] == 0
    assert snapshots[-1] == epochs
    assert snapshots == sorted(set(snapshots))


def test_a_study_compares_four_methods_unless_asked():
    titles = [t.method.title for t in Study.of().trainings()]
    assert titles == ["ST", "AT", "TRADES", "TRADES (frozen BN)"]
    assert [t.method.name for t in Study.of().trainings("at-frozen")] == ["at-frozen"]
    with pytest.raises(ParameterError, match=r"method must be one of .*; got 'trade' \(did you"):
        Study.of().training("trade")


def test_st_is_trained_longer_where_time_is_short_unless_asked():
    assert [t.epochs for t in Study.of().trainings()] == [130, 65, 65, 65]
    assert [t.epochs for t in Study.of(epochs=9).trainings()] == [9] * 4


def cells(*sources):
    """What IPython keeps of the cells that ran, and the names that they set."""
    namespace = {"In": ["", *sources]}
    for source in sources:
        exec(source, namespace)
    return namespace


DECLARED = "# Parameters\npreset: str = 'quick'\neps: float = None  # in 1/255"


def test_a_notebook_sets_what_it_declares():
    study = Study.from_notebook(cells(DECLARED, "# Parameters\neps = 4\n", "x = 1"))
    assert study.evaluation.attack.eps == 4


def test_a_mistyped_parameter_is_an_error_that_suggests_the_right_one():
    with pytest.raises(
        ParameterError, match=r"no parameter 'epss' \(did you mean eps\?\); it tak"
    ):
        Study.from_notebook(cells(DECLARED, "# Parameters\nepss = 8\n"))


def test_a_mistake_in_the_declaring_cell_is_an_error_too():
    with pytest.raises(ParameterError, match=r"no parameter 'epss' \(did you mean eps\?\)"):
        Study.from_notebook(cells(DECLARED.replace("eps", "epss")))


def test_a_cell_that_was_corrected_and_run_again_is_right():
    """As in Jupyter, where In keeps every cell that ran."""
    wrong = DECLARED.replace("eps", "epss")
    assert Study.from_notebook(cells(wrong, DECLARED)).evaluation.attack.eps == 8
    namespace = cells(DECLARED)
    namespace["In"].insert(0, "# Parameters\neps: float = (")  # which never ran
    assert Study.from_notebook(namespace).evaluation.attack.eps == 8
    assert Study.from_notebook(cells(DECLARED, "# Parameters\nepss = 4", "# Parameters\neps = 4"))
    more = DECLARED + "\nsteps: int = 3"
    assert Study.from_notebook(cells(DECLARED, more)).evaluation.attack.steps == 3
    with pytest.raises(ParameterError, match="no parameter 'epss'"):
        Study.from_notebook(cells(DECLARED, DECLARED, "# Parameters\nepss = 8"))


def test_a_runner_without_history_gets_the_declared_values():
    namespace = cells(DECLARED.replace("None", "4"))
    del namespace["In"]
    assert Study.from_notebook(namespace).evaluation.attack.eps == 4


def test_a_wrong_parameter_shows_as_one_sentence():
    assert ParameterError("eps is wrong")._render_traceback_() == ["ParameterError: eps is wrong"]


@pytest.mark.parametrize(("norm", "eps", "alpha"), [("linf", 8, 2), ("l2", 128, 15)])
@pytest.mark.parametrize("model", ["vgg11", "preactresnet18"])
def test_the_paper_preset_is_the_papers(norm, eps, alpha, model):
    study = Study.of("paper", norm=norm, model=model)
    assert study.seeds == (1, 2, 3)
    assert study.evaluation.attack == Attack(norm, eps, alpha, 10)
    for training in study.trainings():
        assert (training.dataset, training.per_class, training.width) == ("cifar10", None, 64)
        assert (training.lr, training.momentum, training.weight_decay) == (0.1, 0.9, 5e-4)
        assert (training.batch, training.epochs) == (128, 400)
        assert training.attack in (None, Attack(norm, eps, alpha, 10))
        rates = [training.learning_rate(epoch) for epoch in (0, 99, 100, 149, 150, 399)]
        assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
        assert list(training.deviations()) == ["precision"]
        assert training.beta == 6
    exact = Study.of("paper", norm=norm, model=model, precision="float32")
    assert not any(t.deviations() for t in exact.trainings())


def test_a_shorter_run_keeps_the_shape_of_the_schedule():
    training = Study.of("paper", epochs=100).training("at")
    rates = [training.learning_rate(epoch) for epoch in range(100)]
    assert (rates.count(0.1), rates[25], rates[37], rates[38]) == pytest.approx(
        (25, 0.01, 0.01, 0.001)
    )


def test_what_differs_from_the_paper_is_said_in_record_and_caption():
    study = Study.of("paper", epochs=100, per_class=500, width=32, eps=4, precision="float32")
    differs = study.training("at").deviations()
    assert differs["epochs"] == "100 (400)"
    assert differs["width"] == "32 (64)"
    assert differs["number of images"] == "500 training images per class (all)"
    assert "ε = 4/255, α = 1/255 (PGD-10, ℓ∞ ε = 8/255, α = 2/255)" in differs["training attack"]
    assert study.caption() == (
        "Preset paper: CIFAR-10, 500 images per class; VGG11 of width 32; 100 epochs "
        "(4,000 updates); PGD-10, ℓ∞ ε = 4/255, α = 1/255; seeds 1, 2, 3. "
        "Differs from the paper in number of images, width, epochs, training attack and "
        "evaluation attack."
    )
    exact = Study.of("paper", precision="float32").caption()
    assert exact.endswith("Differs from the paper in measured points.")
    whole = Study.of("cifar10-small", measured_per_class=10).caption()
    assert whole.endswith("training attack and measured points.")


def test_a_chapter_that_takes_one_seed_shows_the_first():
    one = DECLARED.replace("quick", "paper") + "\nseed: int = None"
    assert Study.from_notebook(cells(one)).seeds == (1,)
    assert Study.from_notebook(cells(one.replace("seed:", "seeds:"))).seeds == (1, 2, 3)


def test_settings_that_differ_have_names_that_differ():
    studies = [Study.of(), Study.of(alpha=1), Study.of(steps=5), Study.of(precision="bfloat16")]
    assert len({str(study) for study in studies}) == len(studies)


def test_a_folder_of_images_is_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study.of(dataset="imagefolder:my@lab/images@64")
    assert study.base.dataset == f"imagefolder:{tmp_path}/my@lab/images@64"


def test_a_folder_of_images_gives_a_name_that_a_file_can_have():
    training = Study.of(dataset="imagefolder:/data/my images@64").training("st")
    assert training.slug.startswith("my_images_64-vgg11w8-st-s0-")
    other = Study.of(dataset="imagefolder:/other/my images@64").training("st")
    assert training.slug != other.slug


def test_the_methods_page_tells_every_presets_settings():
    page = (Path(__file__).resolve().parents[1] / "book" / "methods.md").read_text()
    rows = {}
    for line in page.splitlines():
        if line.startswith("| ") and line.count("|") == len(PRESETS) + 2:
            first, *values = (cell.strip() for cell in line.strip("|").split("|"))
            rows[first] = values
    assert rows[""] == [f"`{name}`" for name in PRESETS]
    for column, preset in enumerate(PRESETS.values()):
        told = {name: values[column] for name, values in rows.items() if values}
        base, inner = preset.base, preset.inner["linf"]
        drops = " and ".join(f"{100 * share:g} %" for share in base.drops)
        assert told["learning rate"] == f"0.1, divided by 10 at {drops}"
        assert told["width of the first block"] == str(base.width)
        assert str(base.epochs) in told["epochs"]
        assert str(preset.st_epochs or base.epochs) in told["epochs"]
        assert told["training attack"] == f"{inner.steps} steps of {inner.alpha:g}/255"
        attack = preset.evaluation.attack
        assert told["evaluation attack"] == f"{attack.steps} steps of {attack.alpha:g}/255"
        measured = preset.evaluation.per_class
        assert told["measured points"] == (f"{measured:,} of each class" if measured else "all")
        assert told["seeds"] == ", ".join(map(str, preset.seeds))
        assert told["precision of training"].startswith(base.precision)


def test_a_training_without_momentum_is_refused_and_other_rates_are_deviations():
    st = Study.of().training("st")
    with pytest.raises(ParameterError, match="momentum must be more than 0; got 0.0"):
        replace(st, momentum=0)
    with pytest.raises(ParameterError, match="lr must be a number, at least 0; got '0.1'"):
        replace(st, lr="0.1")
    differs = replace(st, lr=0.01, beta=3).deviations()
    assert differs["learning rate"] == "0.01 (0.1)"
    assert differs["beta"] == "3 (6)"


def test_a_caption_names_an_attack_that_is_not_the_papers():
    study = Study.of("paper", precision="float32", device="cpu")
    assert "evaluation attack" not in study.caption()
    longer = Study.of("paper", device="cpu", steps=50)
    assert longer.caption().endswith("evaluation attack and measured points.")


def test_a_badge_names_images_length_and_seeds():
    assert Study.of().badge("at") == "digits · 65 epochs (260 updates) · seed 0"
    assert Study.of(eps=4).badge("at").split(" · ")[2] == "PGD-10, ℓ∞ ε = 4/255, α = 1/255"
    real = Study.of("cifar10-small").badge()
    assert real == "CIFAR-10, 100 images per class · 80 epochs (640 updates) · seeds 1, 2, 3"
    assert Study.of().badge().split(" · ")[1].startswith("130 (ST) or 65 (others) epochs")


def test_a_caption_speaks_of_the_methods_that_a_figure_shows():
    study = Study.of()
    assert "130 (ST) or 65 (others) epochs" in study.caption()
    assert "; 130 epochs (520 updates); " in study.caption("st")
    assert "training attack" not in study.caption("st")
    assert "; 65 epochs (260 updates); " in study.caption("at", "trades")
    assert str(study) in study.caption()
    few = Study.of("cifar10-small", epochs=400)
    assert few.badge("at").split(" · ")[1] == (
        "400 epochs (3,200 updates, the paper's are 156,400)"
    )
    assert "; 400 epochs (156,400 updates), " in Study.of("paper").caption()
    digits = Study.of(per_class=10, epochs=400).training("at")
    assert digits.length == "400 epochs (400 updates)"  # the paper has none of them
    own = replace(study.training("at"), dataset="imagefolder:images")
    assert own.length == "65 epochs"  # how many images are there is not known yet
