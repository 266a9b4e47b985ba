"""Teachers from graphs, weights, bundles and packages: the same network in each, and what is refused."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tiny_cohort
import tiny_model
from gliodistill.errors import GliodistillError
from gliodistill.images import write_nifti
from gliodistill.networks import build
from gliodistill.studies.study import Study
from gliodistill.teachers import parse_teacher
from gliodistill.teachers.declared import z_scores

SEQUENCES = ["FLAIR", "T1CE", "T1", "T2"]
CHANNELS = ["ET", "WT", "TC"]
DECLARED = {"sequences": SEQUENCES, "channels": CHANNELS}
OPTIONS = {"widths": [4, 8], "norm": "batch"}


class First(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)[0]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("unet", in_channels=4, out_channels=3, **OPTIONS).eval()


@pytest.fixture(scope="module")
def expected(network):
    """WT, TC, ET of the network on the whole study."""
    study = tiny_cohort.study(1)
    images = {str(s): i.canonical().data.copy() for s, i in study.images.items()}
    stack = np.stack([images[name] for name in SEQUENCES])
    for channel in stack:
        z_scores(channel)
    padded = np.pad(stack, [(0, 0), *((0, -n % 16) for n in stack.shape[1:])])
    with torch.no_grad():
        logits = network(torch.from_numpy(padded)[None])[0][0].numpy()
    x, y, z = stack.shape[1:]
    shares = 1 / (1 + np.exp(-logits[:, :x, :y, :z]))
    return study.grid.from_canonical(shares[[1, 2, 0]])


def predict(value, study: Study | None = None):
    teacher = parse_teacher(value, "teacher").open()
    assert json.dumps(teacher.facts("case_1"))
    return teacher.predict(study or tiny_cohort.study(1)).probability


def test_onnx_and_openvino_give_the_networks_outputs(network, expected, tmp_path):
    openvino = pytest.importorskip("openvino")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that Python reads
        graph = openvino.convert_model(First(network), example_input=torch.zeros(1, 4, 32, 32, 32))
    openvino.save_model(graph, tmp_path / "net.xml", compress_to_fp16=False)
    value = {"openvino": str(tmp_path / "net.xml"), **DECLARED}
    np.testing.assert_allclose(predict(value), expected, atol=1e-3)
    windows = predict(value | {"window": [32, 32, 32], "overlap": 0.25})
    assert windows.shape == expected.shape and np.abs(windows - expected).mean() < 0.05
    mirrored = predict(value | {"tta": "x"})
    assert 1e-6 < np.abs(mirrored - expected).max() < 0.5
    coarse = predict(value | {"spacing": [2, 2, 2]})
    assert coarse.shape == expected.shape
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    with pytest.raises(GliodistillError, match="cannot read the graph"):
        predict({"onnx": str(tmp_path / "net.onnx"), **DECLARED})
    with pytest.raises(GliodistillError, match="another number of channels"):
        predict(value | {"channels": ["background", "NCR", "ED", "ET"]})


def test_a_state_dict_for_a_registered_network(network, tmp_path):
    weights = network.state_dict()
    save_file(weights, tmp_path / "a.safetensors")
    (tmp_path / "maps").mkdir()
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "a.pt")
    value = {"name": "unet", "options": OPTIONS, **DECLARED}
    first, second = (
        predict({"network": str(tmp_path / f"a.{suffix}"), **value})
        for suffix in ("safetensors", "pt")
    )
    assert np.array_equal(first, second)
    ensemble = [{"network": str(tmp_path / "a.pt"), **value, "tta": t} for t in ("none", "y")]
    both = predict({"ensemble": ensemble})
    mean = (first + predict(ensemble[1])) / 2
    np.testing.assert_allclose(both, mean, atol=1e-6)
    study = tiny_cohort.study(1)
    for name, values in zip(("WT", "TC", "ET"), second, strict=True):
        write_nifti(study.grid.with_data(values), tmp_path / "maps" / f"case_1_{name}.nii.gz")
    kinds = [ensemble[1], {"files": str(tmp_path / "maps")}]
    np.testing.assert_allclose(predict({"ensemble": kinds}), both, atol=1e-6)
    with pytest.raises(GliodistillError, match="not of the described network"):
        predict({"network": str(tmp_path / "a.pt"), **value, "options": {"widths": [4, 6]}})
    with pytest.raises(GliodistillError, match="must be declared"):
        predict({"network": str(tmp_path / "a.pt"), "name": "unet"})


@pytest.mark.parametrize("value", [{"ensemble": []}, {"ensemble": [{"files": "x"}]}])
def test_an_ensemble_of_one_is_none(value):
    with pytest.raises(GliodistillError, match="several teachers"):
        predict(value)


def bundle(folder, network_def=None, **changes):
    from monai.networks.nets import BasicUNet

    options = {"spatial_dims": 3, "in_channels": 4, "out_channels": 3, "features": [4] * 6}
    torch.manual_seed(1)
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    torch.save(BasicUNet(**options).state_dict(), folder / "models" / "model.pt")
    transforms = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": True},
    ]
    config = {
        "network_def": network_def or {"_target_": "BasicUNet", **options},
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32]},
    } | changes
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    channels = {
        "inputs": {"image": {"channel_def": {str(i): s for i, s in enumerate(SEQUENCES)}}},
        "outputs": {
            "pred": {"channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}}
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": channels}))
    return folder


PUBLISHED = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "device": "$torch.device('cpu')",
    "ckpt_path": "$@bundle_root + '/models/model.pt'",
    "network_def": {
        "_target_": "SegResNet", "blocks_down": [1, 2], "blocks_up": [1], "init_filters": 8,
        "in_channels": 4, "out_channels": 3, "dropout_prob": 0.2,
    },
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
        ],
    },
    "inferer": {
        "_target_": "SlidingWindowInferer", "roi_size": [48, 48, 32], "sw_batch_size": 1, "overlap": 0.5,
    },
}  # fmt: skip
"""As the published ``brats_mri_segmentation`` has it, but for its size: one window is a study."""


def test_a_bundle_that_monai_wrote_gives_what_monai_gives(tmp_path):
    """Written by ``monai.bundle.init_bundle``; read and run by MONAI's own parser from the files."""
    from monai.bundle import ConfigParser, init_bundle
    from monai.networks.nets import SegResNet

    torch.manual_seed(2)
    plain = {k: v for k, v in PUBLISHED["network_def"].items() if k != "_target_"}
    channels = {
        "inputs": {"image": {"channel_def": {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}}},
        "outputs": {
            "pred": {"channel_def": {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}}
        },
    }
    init_bundle(
        str(tmp_path / "bundle"), network=SegResNet(**plain), inference_str=PUBLISHED,
        metadata_str={"monai_version": "1.4", "network_data_format": channels},
    )  # fmt: skip
    teacher = parse_teacher(f"monai:{tmp_path / 'bundle'}", "teacher").open()
    assert [str(s) for s in teacher.sequences] == ["T1CE", "T1", "T2", "FLAIR"]
    assert teacher.patch == (48, 48, 32) and teacher.overlap == 0.5
    assert {"convInit", "down_layers.0", "up_layers.0"} <= set(teacher.as_network().taps)
    folder = tiny_cohort.write_study(tmp_path, "case_1", 1)  # its axes run from left to right
    parser = ConfigParser(PUBLISHED)
    network = parser.get_parsed_content("network").eval()
    network.load_state_dict(torch.load(tmp_path / "bundle/models/model.pt", weights_only=True))
    files = [str(folder / f"case_1_{name}.nii.gz") for name in ("t1ce", "t1", "t2", "flair")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of readers of other formats that are not installed
        image = parser.get_parsed_content("preprocessing")({"image": files})["image"]
    with torch.no_grad():
        logits = parser.get_parsed_content("inferer")(torch.as_tensor(image)[None], network)[0]
    expected = logits.sigmoid().numpy()[[1, 0, 2]]
    np.testing.assert_allclose(predict(f"monai:{tmp_path / 'bundle'}"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"network_def": {"_target_": "os.system", "command": "x"}}, "is not opened"),
        ({"network_def": {"_target_": "BasicUNet", "features": "$print(1)"}}, "is not opened"),
        ({"preprocessing": {"transforms": [{"_target_": "RandFlipd"}]}}, "is not understood"),
        (
            {"preprocessing": {"transforms": [{"_target_": "Orientationd", "axcodes": "LPS"}]}},
            "is not understood",
        ),
    ],
)
def test_a_bundle_that_would_run_code_or_is_not_understood(changes, problem, tmp_path):
    folder = bundle(tmp_path / "bundle", **changes)
    with pytest.raises(GliodistillError, match=problem):
        parse_teacher(f"monai:{folder}", "teacher").open()


class Evil:
    """Unpickled, it would make a folder."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("kind", ["network", "monai"])
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_no_loader_of_weights_runs_what_a_pickle_asks_for(kind, form, network, tmp_path):
    """nnU-Net's: ``test_nnunet.py``; predictions: ``test_files.py``."""
    value = {"network": str(tmp_path / "net.pt"), "name": "unet", "options": OPTIONS, **DECLARED}
    file = tmp_path / "net.pt"
    if kind == "monai":
        value = {"monai": str(bundle(tmp_path / "bundle"))}
        file = tmp_path / "bundle" / "models" / "model.pt"
    evil = {"state_dict": network.state_dict(), "epoch": Evil(tmp_path / "owned")}
    torch.save(evil, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(GliodistillError, match="could run code") as caught:
        parse_teacher(value, "teacher").open()
    assert "mkdir" in str(caught.value) and not (tmp_path / "owned").exists()


def test_a_program_of_torchscript_is_not_opened(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated; colleagues have such files still
        program = torch.jit.trace(nn.Conv3d(4, 3, 1), torch.zeros(1, 4, 2, 2, 2))
    program.save(tmp_path / "net.pt")
    value = {"network": str(tmp_path / "net.pt"), "name": "unet", "options": OPTIONS, **DECLARED}
    with pytest.raises(GliodistillError, match=r"is a program.*export it to ONNX"):
        parse_teacher(value, "teacher").open()


def test_a_path_tells_its_kind_only_where_it_is_sure(tmp_path):
    results = Path(__file__).parent / "nnunet_results" / "Dataset901_Regions"
    (tmp_path / "net.onnx").write_bytes(b"")
    for path, kind in (
        (results, "nnunet"),
        (next(results.iterdir()), "nnunet"),
        (bundle(tmp_path / "bundle"), "monai"),
        (tmp_path / "net.onnx", "onnx"),
        (tiny_model.export(tmp_path / "tiny").folder, "model"),
    ):
        named = parse_teacher(str(path), "--teacher")
        assert (named.kind, named.source) == (kind, str(path))
    (tmp_path / "bundle" / "plans.json").write_text("{}")
    for path in (tmp_path, tmp_path / "bundle"):  # nothing known; two kinds
        with pytest.raises(GliodistillError, match="kind of the teacher cannot be told"):
            parse_teacher(str(path), "--teacher")


def test_a_package_of_our_own(tmp_path):
    package = tiny_model.export(tmp_path / "tiny")
    value = predict({"model": str(package.folder)}, tiny_cohort.study(1))
    assert value.shape == (3, *tiny_cohort.SHAPE) and value.max() <= 1
