"""Write the trained network into the package, as an OpenVINO graph with float16 weights.

::

    python -m benchmarks.brain_extraction.export --weights runs/brain/network/weights.pt
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.brain_extraction.train import OPTIONS, build
from gliodistill.brain.extraction import GRAPH
from gliodistill.brain.grid import DIVISOR
from gliodistill.models.export import save_graph
from gliodistill.models.levels_input import LevelsInput
from gliodistill.models.telemetry import import_openvino
from gliodistill.networks import count_parameters


def export(weights: Path, graph: Path) -> None:
    """Write ``graph`` (``.xml``), its weights (``.bin``) and what they are (``.json``)."""
    found = torch.load(weights, map_location="cpu", weights_only=True)
    network = build()
    network.load_state_dict(found.get("average", found))
    wrapped = LevelsInput(network.eval()).eval()
    for module in wrapped.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    graph.parent.mkdir(parents=True, exist_ok=True)
    save_graph(wrapped, 1, DIVISOR, graph)
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 48, 64, 32), dtype=np.uint8)
    compiled = (
        import_openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    with torch.inference_mode():
        difference = np.abs(compiled(image)[0] - wrapped(torch.from_numpy(image)).numpy()).max()
    files = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (graph, graph.with_suffix(".bin"))
    }
    facts = {
        "network": {"name": "unet", "options": OPTIONS, "parameters": count_parameters(network)},
        "largest_difference_to_torch": round(float(difference), 4),
        "sha256": files,
    }
    graph.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="weights.pt or state.pt")
    parser.add_argument("--graph", type=Path, default=GRAPH, help="to write (default: what ships)")
    arguments = parser.parse_args()
    export(arguments.weights, arguments.graph)
    print(arguments.graph.with_suffix(".json").read_text())


if __name__ == "__main__":
    main()
