"""The Python interface: one place for everything, short reprs, cohorts to index, figures."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gliodistill as gd
import tiny_cohort
import tiny_model
from gliodistill.errors import GliodistillError, StudyError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> gd.Cohort:
    return gd.open_cohort(tiny_cohort.write_cohort(tmp_path_factory.mktemp("cohort")))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory) -> gd.Predictor:
    package = tiny_model.export(tmp_path_factory.mktemp("model") / "tiny")
    return gd.Predictor(package, threads=1)


def test_everything_is_there_and_described():
    for name in gd.__all__:
        assert getattr(gd, name) is not None
        assert name in dir(gd)
    for registered in ("networks", "losses", "segmentation_losses", "methods", "transforms"):
        assert f"gd.{registered}.register" in gd.__doc__
        assert callable(getattr(gd, registered).register) and getattr(gd, registered).names()
    for registered in ("layouts", "label_conventions", "runtimes", "postprocessing", "teachers"):
        assert f"gd.{registered}.register" in gd.__doc__
        assert callable(getattr(gd, registered).register) and getattr(gd, registered).names()
    with pytest.raises(AttributeError, match="no attribute 'train_all'"):
        gd.train_all  # noqa: B018


def test_torch_loads_when_something_needs_it():
    script = (
        "import sys, gliodistill as gd;"
        "gd.layouts.names(), gd.runtimes.names(), gd.postprocessing.names(), gd.evaluate;"
        "gd.Recipe.open('compression'); assert 'torch' not in sys.modules;"
        "gd.losses.names(); assert 'torch' in sys.modules; help(gd)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gd.load_model()" in done.stdout


def test_help_needs_no_torch():
    script = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "monai", "safetensors", "jaxtyping"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import gliodistill as gd
help(gd)
assert "segment" in dir(gd) and "train" not in dir(gd)
try:
    gd.train
except ModuleNotFoundError as error:
    print("asked for", error.name)
from gliodistill.cli.main import run
run(["list"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gd.load_model()" in done.stdout and "asked for" in done.stdout
    assert "needs gliodistill[train]" in done.stdout and "openvino" in done.stdout


def test_a_cohort_is_indexed_by_number_id_and_slice(cohort):
    assert [record.id for record in cohort] == ["case_0", "case_1", "case_2"]
    assert cohort[0] == cohort["case_0"] and cohort[-1].id == "case_2"
    part = cohort[1:]
    assert isinstance(part, gd.Cohort) and len(part) == 2 and part.convention is cohort.convention
    assert cohort[0] in cohort
    study = gd.Study.open(cohort[0])
    assert study.id == "case_0" and study.truth is not None
    with pytest.raises(IndexError):
        cohort[3]
    with pytest.raises(StudyError, match="no such study"):
        cohort["case_9"]


def test_reprs_are_short_and_say_what_it_is(cohort, predictor):
    study = gd.Study.open(cohort[0])
    answer = predictor.segment(study)
    scores = gd.evaluate(answer.labels, study.truth, labels="brats2021")
    reprs = [
        (
            study,
            "<Study case_0: T1 T1CE T2 FLAIR, 26 × 24 × 22 voxels of 1 × 1 × 1 mm, labelled in",
        ),
        (cohort, "<Cohort in layout brats: 3 studies of 3 patients, 3 labelled in brats2021>"),
        (cohort[1], "<StudyRecord case_1: T1 T1CE T2 FLAIR, labelled>"),
        (study.grid, "<Volume 26 × 24 × 22 voxels of 1 × 1 × 1 mm, float32>"),
        (predictor.prepare(study), "<Prepared case_0: 4 of 4 sequences, "),
        (predictor, "<Predictor tiny: T1 T1CE T2 FLAIR; openvino on cpu>"),
        (predictor.package, "<ModelPackage tiny in "),
        (answer, "<Segmentation case_0: WT "),
        (scores, "<Scores plain: 1 studies, mean Dice WT "),
        (gd.compare({"a": scores, "b": scores}), "<Comparison of a, b: 1 studies, "),
        (gd.Recipe.open("compression"), "<Recipe compression: "),
    ]
    for thing, start in reprs:
        assert repr(thing).startswith(start), repr(thing)
        assert len(repr(thing)) < 200 and "\n" not in repr(thing)


def test_a_segmentation_is_drawn(cohort, predictor, tmp_path):
    pytest.importorskip("matplotlib")
    study = gd.Study.open(cohort[0])
    answer = predictor.segment(study)
    for image, options in (
        (None, {}),
        (study, {}),
        (study, {"sequence": "t1ce"}),
        (study.grid, {}),
    ):
        figure = answer.plot(image, **options)
        assert [axes.get_title().split(",")[0] for axes in figure.axes] == [
            "Axial",
            "Coronal",
            "Sagittal",
        ]
    file = tmp_path / "figure.png"
    figure.savefig(file)
    assert file.stat().st_size > 1000
    # The axial picture is upright: anterior at the top, the patient's right on the left.
    from gliodistill.images.planes import PLANES, largest_section

    whole = answer.labels.with_data(answer.regions[0]).canonical().data
    index = largest_section(whole, 2)
    shown = answer.plot(study.grid).axes[0].images[0].get_array()
    np.testing.assert_array_equal(shown, PLANES[0].cut(study.grid.canonical().data, index))
    with pytest.raises(StudyError, match="another grid"):
        answer.plot(gd.Volume(study.grid.data, 2 * study.grid.affine))
    lacking = tiny_cohort.study(0, lacking=(gd.MRSequence.T2,))
    with pytest.raises(StudyError, match="lacks the sequence"):
        answer.plot(lacking, sequence="T2")


def test_without_matplotlib_it_says_what_to_install(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')\n")
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(Path(__file__).parent)!r}]\n"
        "from gliodistill.errors import GliodistillError\n"
        "from gliodistill.inference.plotting import plot_segmentation\n"
        "try: plot_segmentation(None)\n"
        "except GliodistillError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install matplotlib" in done.stdout, done.stderr
    assert issubclass(StudyError, GliodistillError)
