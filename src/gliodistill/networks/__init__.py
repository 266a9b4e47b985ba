"""Networks: one file per published design, one registry, one interface."""

from gliodistill.networks.architectures.attention_fused import AttentionFused
from gliodistill.networks.architectures.attention_unet import AttentionUNet
from gliodistill.networks.architectures.cascaded_unet import CascadedUNet
from gliodistill.networks.architectures.deepmedic import DeepMedic
from gliodistill.networks.architectures.no_new_net import NoNewNet
from gliodistill.networks.architectures.residual_unet import ResidualUNet
from gliodistill.networks.architectures.s3d_unet import S3DUNet
from gliodistill.networks.architectures.segresnet import SegResNet
from gliodistill.networks.architectures.trans_bts import TransBTS
from gliodistill.networks.architectures.unet import UNet
from gliodistill.networks.architectures.unet_plus_plus import UNetPlusPlus
from gliodistill.networks.base import Network, count_parameters, flops
from gliodistill.networks.precision import default_precision, mixed_precision
from gliodistill.networks.registry import Description, build, describe, names, register
from gliodistill.networks.subset import ZeroFilled

__all__ = [
    "AttentionFused",
    "AttentionUNet",
    "CascadedUNet",
    "DeepMedic",
    "Description",
    "Network",
    "NoNewNet",
    "ResidualUNet",
    "S3DUNet",
    "SegResNet",
    "TransBTS",
    "UNet",
    "UNetPlusPlus",
    "ZeroFilled",
    "build",
    "count_parameters",
    "default_precision",
    "describe",
    "flops",
    "mixed_precision",
    "names",
    "register",
]
