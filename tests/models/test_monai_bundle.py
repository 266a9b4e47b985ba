"""MONAI itself reads the bundle, and what it builds answers as the package's network does."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, load, verify_net_in_out

import tiny_model
from gliodistill.errors import OutputError, PackageError
from gliodistill.images.bounds import cut_out
from gliodistill.images.nifti import write_nifti
from gliodistill.inference import Predictor
from gliodistill.inference.postprocessing import parse_steps
from gliodistill.inference.runtimes import open_runtime
from gliodistill.models import InferenceSettings, NetworkSpec, OutputChannels, monai_bundle
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
    return read(bundle)


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


def read(bundle: Path) -> ConfigParser:
    parser = ConfigParser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns of every configuration it reads
        parser.read_config(bundle / "configs" / "inference.json")
        parser.read_meta(bundle / "configs" / "metadata.json")
    parser["bundle_root"] = str(bundle)
    parser["device"] = "$torch.device('cpu')"
    return parser


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"inference": InferenceSettings((16, 16, 16), threshold=0.45)},
        {
            "network": NetworkSpec("unet", {"widths": [4, 8], "out_channels": 4}),
            "outputs": OutputChannels("classes", ("background", "ED", "NCR", "ET")),
        },
        {
            "network": NetworkSpec("unet", {"widths": [4, 8], "out_channels": 3}),
            "outputs": OutputChannels("classes", ("background", "ED", "NCR")),
        },
    ],
    ids=["regions", "another threshold", "classes", "classes without ET"],
)
def test_from_a_study_to_the_regions_that_gliodistill_predicts(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    """MONAI draws what gliodistill's predictor does; plain thresholds would not be nested."""
    made, study = tiny_model.spec("unet", **changes), tiny_model.study()
    torch.manual_seed(0)
    network = build("unet", **made.network.options)
    parser = read(write_bundle(network, made, tmp_path / "bundle"))
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
    x, y, z = image.shape[1:]
    with torch.inference_mode():  # whole, as the predictor does it: padded to even sides
        padded = torch.nn.functional.pad(image.as_tensor(), (0, -z % 2, 0, -y % 2, 0, -x % 2))
        logits = network(padded[None])[0, :, :x, :y, :z]
    regions = draw(logits)
    assert regions.dtype == torch.float32 and set(regions.unique().tolist()) <= {0.0, 1.0}

    package = tiny_model.export(tmp_path / "model", "unet", formats=["torch"], **changes)
    answer = Predictor(package, "torch", 1).segment(study)
    voxels = [answer.labels.with_data(region).canonical().data for region in answer.regions]
    expected = np.stack([cut_out(region, prepared.box) for region in voxels])
    inside = np.asarray(cut_out(np.ones(study.grid.shape, np.uint8), prepared.box) > 0)
    np.testing.assert_array_equal(regions.numpy()[:, inside], expected[:, inside])
    assert 0 < regions[0].mean() < 1
    with torch.inference_mode():  # as the bundle's README has it
        by_windows = draw(infer(image[None], network)[0])
    assert by_windows.shape == regions.shape and by_windows.affine.equal(image.affine)
    if made.outputs.kind == "regions":
        plain = (logits > made.inference.logit_threshold).float()
        assert (plain[1] > plain[0]).any() or (plain[2] > plain[1]).any()


def test_windows_are_inferred_as_monai_does(parser: ConfigParser) -> None:
    network, infer = (parser.get_parsed_content(name) for name in ("network", "inferer"))
    image = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(infer(image, network), network(image))


def test_the_readme_says_what_the_bundle_does(bundle: Path) -> None:
    readme = (bundle / "docs" / "README.md").read_text()
    for name in ("BundleNetwork", "PrepareStudy", "DrawRegions"):
        assert f"monai_bundle.{name}`" in readme and hasattr(monai_bundle, name)
    assert "above 0.5, and nested (WT > TC > ET)" in readme


def test_a_model_that_cleans_up_is_no_bundle(tmp_path: Path) -> None:
    made = tiny_model.spec(
        "unet",
        inference=InferenceSettings((16, 16, 16), postprocessing=parse_steps(["keep_largest=1"])),
    )
    with pytest.raises(PackageError, match="keep_largest"):
        write_bundle(build("unet", widths=[4, 8]), made, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_weights_are_a_plain_state_dict(bundle: Path) -> None:
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())


def test_a_bundle_is_not_written_over(bundle: Path) -> None:
    with pytest.raises(OutputError):
        write_bundle(build("unet", widths=[4, 8]), tiny_model.spec("unet"), bundle)
