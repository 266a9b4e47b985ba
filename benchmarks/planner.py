"""What blocks of channels do to the time of a student: seconds over operations for trunks of 8 to
64 on grids folded 1, 2 and 4 times.

    python -m benchmarks.planner benchmarks/results/planner/my-processor --graphs graphs

Every shape is one that `gliodistill plan` would consider, timed as it times them: exported, one
pass to warm up, then timed passes, in turns, so that a busy machine slows all alike. Run it twice
with the same --graphs: the second run only times. Writes .json, .md, .svg.
"""

import argparse
import os
import re
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.provenance import cpu_fields, processor, write_results
from gliodistill.files import make_folder, write_text
from gliodistill.networks.precision import processor_flags
from gliodistill.planner.alignment import alignment
from gliodistill.planner.counting import Setting, count
from gliodistill.planner.measuring import Bench, precisions
from gliodistill.planner.shapes import STRIDES, Shape, enumerate_shapes
from gliodistill.reports.charts.svg import Series, line_chart

TRUNKS = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
SHAPE = (96, 112, 96)
LONGEST = 3.0
"""Seconds; of each stride, wider trunks than the first that takes longer are left out."""
STYLE = """
svg{font:12.5px system-ui,sans-serif;background:#fff}text{fill:#5a636c}.label{fill:#1c2024}.grid{stroke:#dcdfe2}.axis{stroke:#1c2024}
.line{fill:none;stroke-width:2}.dot{fill:#fff;stroke-width:1.6}.c0{stroke:#0b5c8e}.c1{stroke:#c2410c}.c2{stroke:#047857}
"""


def shapes() -> list[Shape]:
    """The plain U-Net with as many levels as see the whole image, for every stride and trunk."""
    found: dict[tuple[int, int], Shape] = {}
    for shape in enumerate_shapes(["unet"], STRIDES, ["batch"], (96, 96, 96)):
        if shape.trunk in TRUNKS:
            found.setdefault((shape.stem_stride, shape.trunk), shape)
    return list(found.values())


def measure(bench: Bench, seconds: float) -> list[dict[str, Any]]:
    """Every shape once, then rounds over all until time is up."""
    candidates = count(shapes(), bench.setting, [], {"params": float("inf"), "flops": float("inf")})
    timed = []
    for stride in STRIDES:
        for candidate in (c for c in candidates if c.shape.stem_stride == stride):
            bench.visit(candidate)
            timed.append(candidate)
            if (candidate.latency or 0.0) > LONGEST:
                break
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for candidate in timed:
            if time.perf_counter() < end:
                bench.visit(candidate)
    block = alignment(bench.precision, processor_flags())
    return [
        {
            "stem_stride": c.shape.stem_stride,
            "widths": list(c.shape.widths),
            "parameters": c.parameters,
            "gflop": round(c.flops / 1e9, 2),
            "median_ms": round(1000 * statistics.median(c.seconds), 1),
            "fastest_ms": round(1000 * min(c.seconds), 1),
            "passes": len(c.seconds),
            "gflop_per_s": round(c.flops / statistics.median(c.seconds) / 1e9, 1),
            "ms_per_gflop": round(1e12 * statistics.median(c.seconds) / c.flops, 2),
            "filled": round(block.filled(c.shape.trunk), 3),
        }
        for c in timed
    ]


def markdown(found: dict[str, Any]) -> str:
    """A table of ms per GFLOP: trunks down, strides across."""
    rows = {(row["stem_stride"], row["widths"][0]): row for row in found["rows"]}
    passes = [row["passes"] for row in found["rows"]]
    lines = [
        (
            f"{found['processor']}, {found['threads']} threads, {found['runtime']}"
            f" {found['precision']}, image {' × '.join(map(str, found['shape']))}; blocks of"
            f" {found['block']} channels ({found['unit']}). Milliseconds for a GFLOP (milliseconds"
            f" of a pass): medians of {min(passes)} to {max(passes)} passes in turns."
        ),
        "",
        f"| trunk | blocks filled | {' | '.join(f'stem stride {stride}' for stride in STRIDES)} |",
        f"|---|---|{'---|' * len(STRIDES)}",
    ]
    for trunk in TRUNKS:
        own = [rows.get((stride, trunk)) for stride in STRIDES]
        cells = [
            f"{row['ms_per_gflop']:.1f} ({row['median_ms']:.0f})" if row else "–" for row in own
        ]
        filled = next(row["filled"] for row in own if row)
        lines.append(f"| {trunk} | {100 * filled:.0f} % | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def picture(found: dict[str, Any]) -> str:
    """Milliseconds per GFLOP over the trunk, a line a stride."""
    series = []
    for stride in STRIDES:
        own = [row for row in found["rows"] if row["stem_stride"] == stride]
        series.append(
            Series(
                f"stem stride {stride}",
                [row["widths"][0] for row in own],
                [row["ms_per_gflop"] for row in own],
            )
        )
    figure = line_chart(series, "Milliseconds for a GFLOP", "channels of the trunk", "ms")
    drawing = re.search(r"<svg.*?</svg>", figure, re.DOTALL)
    assert drawing is not None
    key = "".join(
        f'<text class="label" x="300" y="{30 + 18 * i}">{line.name}</text><line class="line c{i}"'
        f' x1="270" x2="294" y1="{26 + 18 * i}" y2="{26 + 18 * i}"/>'
        for i, line in enumerate(series)
    )
    whole = drawing.group().replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return whole.replace("</desc>", f"</desc><style>{STYLE}</style>{key}", 1) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="path of the results, without a suffix")
    parser.add_argument(
        "--graphs", type=Path, required=True, help="folder of exported graphs; made where missing"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--precision", choices=precisions("openvino"), default=precisions("openvino")[0]
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of rounds after the first")
    options = parser.parse_args()
    bench = Bench(
        Setting(4, 3, SHAPE, "openvino"),
        options.precision,
        options.threads,
        make_folder(options.graphs),
    )
    block = alignment(options.precision, processor_flags())
    fields = cpu_fields()
    found = {
        "processor": (
            f"{processor()} (family {fields.get('cpu family')}, model {fields.get('model')})"
        ),
        "threads": options.threads,
        "runtime": "openvino",
        "precision": options.precision,
        "shape": SHAPE,
        "block": block.channels,
        "unit": block.unit,
        "rows": measure(bench, options.seconds),
    }
    write_results(options.out, found, markdown(found))
    write_text(options.out.with_suffix(".svg"), picture(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
