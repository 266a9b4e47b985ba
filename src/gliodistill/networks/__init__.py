"""Networks: one file per published design, one registry, one interface."""

from gliodistill.networks.attention_fused import AttentionFused
from gliodistill.networks.attention_unet import AttentionUNet
from gliodistill.networks.base import Network, count_parameters, flops
from gliodistill.networks.cascaded_unet import CascadedUNet
from gliodistill.networks.deepmedic import DeepMedic
from gliodistill.networks.no_new_net import NoNewNet
from gliodistill.networks.precision import default_precision
from gliodistill.networks.registry import Description, build, describe, names, register
from gliodistill.networks.residual_unet import ResidualUNet
from gliodistill.networks.s3d_unet import S3DUNet
from gliodistill.networks.segresnet import SegResNet
from gliodistill.networks.subset import ZeroFilled
from gliodistill.networks.trans_bts import TransBTS
from gliodistill.networks.unet import UNet
from gliodistill.networks.unet_plus_plus import UNetPlusPlus

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
    "names",
    "register",
]
