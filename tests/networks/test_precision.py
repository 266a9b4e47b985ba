"""The default number format follows the hardware."""

import torch

from gliodistill.networks import default_precision
from gliodistill.networks.precision import processor_flags


def test_bfloat16_only_where_the_processor_multiplies_it():
    fast = bool(processor_flags() & {"amx_bf16", "avx512_bf16"})
    assert default_precision() == (torch.bfloat16 if fast else torch.float32)
    assert default_precision(torch.device("cpu")) == default_precision("cpu")


def test_the_flags_agree_with_torch():
    if processor_flags():
        assert ("avx2" in processor_flags()) == torch.cpu._is_avx2_supported()
        assert ("avx512_bf16" in processor_flags()) == torch.cpu._is_avx512_bf16_supported()


def test_unknown_devices_get_float32():
    assert default_precision("meta") == torch.float32
