"""Networks: one file per published design, one registry, one interface."""

from gliodistill.networks.base import Network, count_parameters, flops
from gliodistill.networks.precision import default_precision
from gliodistill.networks.registry import Description, build, describe, names, register
from gliodistill.networks.unet import UNet

__all__ = ["Description", "Network", "UNet", "build", "count_parameters", "default_precision", "describe", "flops", "names", "register"]
