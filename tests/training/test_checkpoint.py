"""A checkpoint is whole, says what it is, and gives everything back."""

import resource

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gliodistill import __version__
from gliodistill.errors import CheckpointError, OutputError
from gliodistill.networks import build
from gliodistill.recipes.schema import TrainingPart
from gliodistill.training.checkpoint import (
    FORMAT,
    load_weights,
    read_checkpoint,
    read_tensors,
    weights_hash,
    write_checkpoint,
    write_tensors,
)
from gliodistill.training.loop import build_optimiser

FACTS = {"step": 12, "best": 0.5, "seconds": 3.25}


def network(seed=0, widths=(4, 8), norm="batch"):
    torch.manual_seed(seed)
    return build("unet", widths=widths, norm=norm)


def trained(name="adamw", seed=0):
    made = network(seed).to(memory_format=torch.channels_last_3d)
    optimiser = build_optimiser(TrainingPart(optimiser={"name": name, "rate": 0.01}), made)
    for _ in range(2):
        optimiser.zero_grad()
        made(torch.randn(2, 4, 8, 8, 8))[0].square().mean().backward()
        optimiser.step()
    average = {
        key: value.detach() * 0.5 if value.is_floating_point() else value.clone()
        for key, value in made.state_dict().items()
    }
    return made, average, optimiser


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_everything_comes_back(tmp_path, name):
    made, average, optimiser = trained(name)
    torch.manual_seed(99)
    write_checkpoint(tmp_path / "last.safetensors", made, average, optimiser, FACTS)
    following = torch.randn(5)

    other, other_average, other_optimiser = trained(name, seed=5)
    assert (
        read_checkpoint(tmp_path / "last.safetensors", other, other_average, other_optimiser)
        == FACTS
    )
    assert torch.equal(torch.randn(5), following)
    assert weights_hash(other.state_dict()) == weights_hash(made.state_dict())
    assert weights_hash(other_average) == weights_hash(average)
    mine, theirs = optimiser.state_dict()["state"], other_optimiser.state_dict()["state"]
    assert mine.keys() == theirs.keys()
    for index in mine:
        a, b = mine[index], theirs[index]
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key])
            assert a[key].dtype == b[key].dtype
    # Both go on alike, bit for bit, and in the same memory format.
    torch.manual_seed(1)
    x = torch.randn(2, 4, 8, 8, 8)
    for net, opt in ((made, optimiser), (other, other_optimiser)):
        opt.zero_grad()
        net(x)[0].square().mean().backward()
        opt.step()
    assert weights_hash(other.state_dict()) == weights_hash(made.state_dict())
    for state, parameter in ((other_optimiser.state[p], p) for p in other.parameters()):
        for tensor in state.values():
            assert tensor.ndim == 0 or tensor.stride() == parameter.stride()


def test_the_hash_is_of_names_types_shapes_and_values():
    a = {"x": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}
    assert weights_hash(a) == weights_hash(dict(reversed(a.items())))
    assert weights_hash(a) == weights_hash({"x": a["x"].T.contiguous().T, "n": a["n"]})
    for other in (
        {"y": a["x"], "n": a["n"]},
        {**a, "x": a["x"].view(3, 2)},
        {**a, "x": a["x"].int()},
        {**a, "x": a["x"] + 1},
    ):
        assert weights_hash(other) != weights_hash(a)


def test_a_changed_byte_is_refused(tmp_path):
    """Any byte of the header, and bytes all over the tensors."""
    file = tmp_path / "t.safetensors"
    write_tensors(
        file, {"a": torch.arange(40.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}, FACTS
    )
    good = file.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    tensors, facts = read_tensors(file)
    accepted = []
    for position in [*range(header), *np.random.default_rng(0).integers(header, len(good), 40)]:
        bad = bytearray(good)
        bad[position] ^= 0x01
        file.write_bytes(bad)
        try:
            got, got_facts = read_tensors(file)
        except CheckpointError as error:
            assert "\n" not in str(error)
            continue
        accepted.append(int(position))
        # What passes must be harmless: the same tensors and the same facts.
        assert weights_hash(got) == weights_hash(tensors)
        assert got_facts == facts
    harmless = (b"facts_sha256", f'"version":"{__version__}"'.encode())
    places = [(good.index(text), len(text)) for text in harmless]
    assert set(accepted) <= {at + i for at, length in places for i in range(length)}


def test_a_checkpoint_of_another_format_says_who_wrote_it(tmp_path):
    file = tmp_path / "t.safetensors"
    write_tensors(file, {"a": torch.arange(4.0)}, FACTS)
    file.write_bytes(file.read_bytes().replace(FORMAT.encode(), b"gliodistill-checkpoint-9"))
    with pytest.raises(CheckpointError, match=rf"checkpoint-9 of gliodistill {__version__}"):
        read_tensors(file)


def test_a_checkpoint_of_a_version_that_did_not_say_so_is_read(tmp_path):
    file = tmp_path / "t.safetensors"
    write_tensors(file, {"a": torch.arange(4.0)}, FACTS)
    with safe_open(file, framework="pt") as handle:
        header = handle.metadata()
    header.pop("version")
    save_file({"a": torch.arange(4.0)}, file, metadata=header)
    assert read_tensors(file)[1] == FACTS


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 64, b"\x10\x00\x00\x00\x00\x00\x00\x00{}              "]
)
def test_what_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path / "x.safetensors")


def test_a_truncated_or_missing_file(tmp_path):
    file = tmp_path / "t.safetensors"
    with pytest.raises(CheckpointError):
        read_tensors(file)
    write_tensors(file, {"a": torch.arange(40.0)}, FACTS)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(CheckpointError):
        read_tensors(file)


@pytest.mark.parametrize(
    "other", [{"widths": (4, 12)}, {"widths": (4, 8, 8)}, {"norm": "instance"}]
)
def test_weights_of_another_network_are_refused(tmp_path, other):
    made, average, optimiser = trained()
    write_checkpoint(tmp_path / "last.safetensors", made, average, optimiser, FACTS)
    stranger = network(**other)
    before = weights_hash(stranger.state_dict())
    with pytest.raises(CheckpointError, match="another network"):
        read_checkpoint(
            tmp_path / "last.safetensors",
            stranger,
            dict(stranger.state_dict()),
            build_optimiser(TrainingPart(), stranger),
        )
    assert weights_hash(stranger.state_dict()) == before
    with pytest.raises(CheckpointError, match="another network"):
        load_weights(made, stranger.state_dict(), tmp_path / "x")


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path):
    """The limit on file size stands for the disk: the write fails in the middle."""
    file = tmp_path / "last.safetensors"
    write_tensors(file, {"a": torch.zeros(100)}, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match=r"last\.safetensors") as caught:
            write_tensors(file, {"a": torch.zeros(1_000_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert read_tensors(file)[1] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x.safetensors", tmp_path / "missing" / "x.safetensors"):
        with pytest.raises(OutputError):
            write_tensors(place, {"a": torch.zeros(1)}, {})
