"""MONAI itself reads the bundle, and what it builds answers as the package's network does."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, load, verify_net_in_out

import tiny_model
from gliodistill.errors import OutputError
from gliodistill.images.nifti import write_nifti
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models.monai_bundle import write_bundle
from gliodistill.networks import build
from gliodistill.preparation import Preparation

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file", "ignore:.*meta_file.*")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return write_bundle(
        build("unet", widths=[4, 8]),
        tiny_model.spec("unet"),
        tmp_path_factory.mktemp("bundles") / "tiny",
    )


@pytest.fixture(scope="module")
def parser(bundle: Path) -> ConfigParser:
    parser = ConfigParser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns of every configuration it reads
        parser.read_config(bundle / "configs" / "inference.json")
        parser.read_meta(bundle / "configs" / "metadata.json")
    parser["bundle_root"] = str(bundle)
    parser["device"] = "$torch.device('cpu')"
    return parser


def test_monai_loads_it_and_its_network_gives_the_same_logits(
    bundle: Path, parser: ConfigParser, tmp_path: Path
) -> None:
    package = tiny_model.export(tmp_path / "model", "unet", formats=["torch"])  # of the same seed
    levels = np.random.default_rng(1).integers(0, 256, (2, 4, 8, 10, 12), dtype=np.uint8)
    expected = open_runtime("torch", package)(levels)
    from gliodistill.preparation import dequantise

    image = torch.from_numpy(dequantise(levels))
    whole = load(bundle.name, bundle_dir=bundle.parent, workflow_type="inference", device="cpu")
    for network in (whole.eval(), parser.get_parsed_content("network")):
        with torch.inference_mode():
            np.testing.assert_allclose(network(image).numpy(), expected, atol=1e-5)


def test_monai_agrees_with_what_the_metadata_says_of_in_and_out(bundle: Path) -> None:
    """MONAI's own check: it makes an input as described, runs it, and compares the output with the
    description.
    """
    configs = bundle / "configs"
    verify_net_in_out(
        "network_def", configs / "metadata.json", configs / "inference.json", device="cpu", n=4
    )


def test_metadata_names_channels_labels_and_sides(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    data = metadata["network_data_format"]
    assert data["inputs"]["image"]["channel_def"] == {
        "0": "T1",
        "1": "T1CE",
        "2": "T2",
        "3": "FLAIR",
    }
    assert data["inputs"]["image"]["spatial_shape"] == ["2*n"] * 3
    assert data["outputs"]["pred"]["channel_def"] == {"0": "WT", "1": "TC", "2": "ET"}
    assert metadata["label_classes"] == {"1": "NCR", "2": "ED", "4": "ET"}
    assert "not a medical device" in metadata["intended_use"]
    assert "gliodistill" in metadata["required_packages_version"]


def test_from_a_study_to_regions_in_monai(parser: ConfigParser, tmp_path: Path) -> None:
    study = tiny_model.study()
    (tmp_path / "case").mkdir()
    for sequence, image in study.images.items():
        write_nifti(image, tmp_path / "case" / f"case_{sequence.lower()}.nii.gz")
    image = parser.get_parsed_content("preprocessing")(tmp_path / "case")
    prepared = Preparation().apply(study)
    np.testing.assert_array_equal(image.numpy(), prepared.values())
    np.testing.assert_allclose(image.affine.numpy(), prepared.affine)
    network, infer, draw = (
        parser.get_parsed_content(name) for name in ("network", "inferer", "postprocessing")
    )
    with torch.inference_mode():
        logits = infer(image[None], network)[0]
    assert torch.equal(draw(logits).bool(), logits > 0)


def test_weights_are_a_plain_state_dict(bundle: Path) -> None:
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())


def test_a_bundle_is_not_written_over(bundle: Path) -> None:
    with pytest.raises(OutputError):
        write_bundle(build("unet", widths=[4, 8]), tiny_model.spec("unet"), bundle)
