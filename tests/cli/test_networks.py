"""``gliodistill networks``: what a person reads, what a script reads, what is refused."""

import json

import pytest

from gliodistill.networks import build, count_parameters, flops, names


def data(said):
    assert said.code == 0, said.err
    assert said.err == ""
    return json.loads(said.out)


def test_every_network_is_listed(program):
    said = program("networks", "--no-measure")
    assert said.code == 0 and said.err == ""
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert set(names()) <= set(rows)
    assert (
        "31,192,035" in rows["nnunet"]
        and "965" in rows["nnunet"]
        and "Isensee et al. 2021" in rows["nnunet"]
    )
    assert "ms at" not in said.out and "option" not in said.out.replace("options", "")


def test_a_script_reads_the_counts(program):
    facts = data(program("networks", "fast", "deepmedic", "--no-measure", "--json"))
    assert facts["measured"] is None
    assert list(facts["networks"]) == ["fast", "deepmedic"]
    fast, network = facts["networks"]["fast"], build("fast")
    assert fast["parameters"] == count_parameters(network)
    assert (fast["flops"], fast["flops_side"], fast["divisor"]) == (
        flops(network, (1, 4, 128, 128, 128)),
        128,
        16,
    )
    assert fast["options"] == {
        "in_channels": 4,
        "out_channels": 3,
        "norm": "instance",
        "deep_supervision": 0,
    }
    assert facts["networks"]["deepmedic"]["flops_side"] == 129  # the next multiple of 3


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_pass_is_timed(program, runtime):
    facts = data(program("networks", "fast", "--patch", 16, "--runtime", runtime, "--json"))
    conditions = facts["measured"]
    assert (conditions["runtime"], conditions["patch"], conditions["batch"]) == (runtime, 16, 2)
    assert conditions["threads"] >= 1
    timed = facts["networks"]["fast"]
    assert 0 < timed["milliseconds"] < 10_000
    assert (timed["side"], timed["passes"] >= 1) == (16, True)


def test_what_was_measured_is_said_and_options_are_shown(program):
    said = program("networks", "fast", "--patch", 20)
    assert said.code == 0 and said.err == ""
    for part in (
        "ms at 20³",
        "batches of 2: torch, float32",
        "thread",
        "*: measured on the next larger patch",
        "norm",
        "instance",
    ):
        assert part in said.out
    assert "For two-core processors" in said.out


def test_an_unknown_name_lists_the_valid_ones(program):
    said = program("networks", "fasst")
    assert said.code == 1 and len(said.lines) == 1
    for part in (
        "unknown network",
        "got fasst",
        "attention_unet",
        "unet_plus_plus",
        "did you mean fast?",
    ):
        assert part in said.err


@pytest.mark.parametrize("words", [("--patch", "0"), ("--runtime", "tensorrt")])
def test_a_wrong_option_is_refused(program, words):
    said = program("networks", *words)
    assert said.code == 2
    assert "gliodistill networks --help" in said.err
