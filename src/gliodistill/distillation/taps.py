"""Reading of a network's inner features by forward hooks."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gliodistill.errors import RecipeError
from gliodistill.registry import nearest


class FeatureTaps:
    """Collects the features of named stages of a network by forward hooks, within the context.

    A name is one of the network's ``taps`` or the path of any submodule (``encoders.0.1``).
    Features keep
    their graph: call the network under ``torch.no_grad()`` to read a teacher. Each call of the
    network replaces the features; closing removes all hooks and features.

        with FeatureTaps(student, ["bottleneck"]) as inner, FeatureTaps(teacher, ["bottleneck"]) as
            outer: logits = student(x) with torch.no_grad():
                teacher(x)
            loss = attention_transfer(inner.values(), outer.values())

    With ``torch.compile``, open the taps on the plain network before its first compiled call.

    Args:
        network: any module, compiled or not.
        names: stages to read, in order.

    Raises:
        RecipeError: an unknown name (lists the taps), or no name.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        plain = getattr(network, "_orig_mod", network)
        taps: dict[str, nn.Module] = dict(getattr(plain, "taps", {}))
        inner = {path: module for path, module in plain.named_modules() if path}
        valid = {**inner, **taps}
        if getattr(plain, "unopened", False):
            valid = dict.fromkeys(names, plain)  # checked when it is opened
        if not names:
            raise RecipeError(
                "no feature taps named", field="taps", expected=_listed(taps or inner)
            )
        for name in names:
            if name not in valid:
                hint = nearest(name, valid) or "or the path of any submodule"
                raise RecipeError(
                    "the network has no such feature tap",
                    field="taps",
                    got=name,
                    expected=_listed(taps or inner),
                    hint=hint,
                )
        self._modules = {name: valid[name] for name in names}
        self._oriented: Callable[[Tensor], Tensor] = getattr(plain, "oriented", lambda x: x)
        self._hooks: list[RemovableHandle] = []
        self._features: dict[str, Tensor] = {}

    def __enter__(self) -> "FeatureTaps":
        for name, module in self._modules.items():
            self._hooks.append(module.register_forward_hook(self._keeper(name)))
        return self

    def __exit__(self, *exception: object) -> None:
        while self._hooks:
            self._hooks.pop().remove()
        self._features.clear()

    def __getitem__(self, name: str) -> Tensor:
        """The features of one tap, ``B C X Y Z``.

        Raises:
            RecipeError: not one of ``names``, or the network was not called in this context.
        """
        if name not in self._features:
            state = "was not reached" if name in self._modules else "is not read here"
            raise RecipeError(
                f"the feature tap {state}", field="taps", got=name, expected=_listed(self._modules)
            )
        return self._features[name]

    def values(self) -> list[Tensor]:
        """The features of all taps, in the order of the names."""
        return [self[name] for name in self._modules]

    def _keeper(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._features[name] = self._oriented(output)

        return keep


def _listed(names: dict[str, nn.Module]) -> str:
    return "one of " + ", ".join(names)
