"""All registries by name, for listings."""

from importlib import import_module
from typing import Any

from gliodistill.errors import GliodistillError
from gliodistill.registry import Registry, nearest

KINDS: dict[str, tuple[str, str]] = {
    "networks": ("networks.registry", "NETWORKS"),
    "losses": ("distillation.registry", "LOSSES"),
    "segmentation-losses": ("methods.segmentation", "SEGMENTATION_LOSSES"),
    "methods": ("methods.registry", "METHODS"),
    "teachers": ("teachers.registry", "TEACHERS"),
    "transforms": ("training.transforms", "TRANSFORMS"),
    "layouts": ("studies.layouts", "LAYOUTS"),
    "label-conventions": ("studies.labels", "CONVENTIONS"),
    "runtimes": ("inference.runtimes", "RUNTIMES"),
    "postprocessing": ("inference.postprocessing", "RULES"),
}
"""What is registered → module and name of the registry. It is imported when it is asked for: the
first four and the transforms need torch.
"""


def registry_of(kind: str) -> Registry[Any]:
    """The registry of one kind.

    Raises:
        GliodistillError: no such kind.

    Example:
        >>> registry_of("runtimes").names()
        ('onnx', 'openvino', 'torch')
    """
    if kind not in KINDS:
        raise GliodistillError(
            "nothing of this kind is registered",
            field="kind",
            got=kind,
            expected=", ".join(KINDS),
            hint=nearest(kind, KINDS),
        )
    module, name = KINDS[kind]
    found: Registry[Any] = getattr(import_module(f"gliodistill.{module}"), name)
    return found
