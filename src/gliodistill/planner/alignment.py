"""Blocks of channels that a processor multiplies at once, and their effect on widths."""

from collections.abc import Sequence
from dataclasses import dataclass

from gliodistill.planner.budgets import written
from gliodistill.planner.candidate import Candidate


@dataclass(frozen=True)
class Alignment:
    """The block of channels of a processor's arithmetic.

    Attributes:
        channels: of a block; other widths than multiples leave part of the last block idle.
        unit: the processor's unit, in words.
    """

    channels: int
    unit: str

    def filled(self, width: int) -> float:
        """Share of the blocks' channels that a layer of that width uses, (0, 1]."""
        return width / (-(-width // self.channels) * self.channels)


def alignment(precision: str, flags: frozenset[str]) -> Alignment:
    """The block of a processor with these instruction sets (as Linux names them) in that precision.

    AMX: a tile row of 64 bytes is 32 channels of bfloat16 (64 of int8); vectors of AVX-512 and AVX2
    hold 16 and 8 of float32.
    """
    if precision == "bf16" and "amx_bf16" in flags:
        return Alignment(32, "AMX tiles, bfloat16")
    if "avx512f" in flags:
        return Alignment(16, "AVX-512 vectors")
    if "avx2" in flags:
        return Alignment(8, "AVX2 vectors, float32")
    return Alignment(4, "vectors of 128 bits, float32")


def neighbours(
    chosen: Candidate, candidates: Sequence[Candidate], block: Alignment
) -> list[Candidate]:
    """Shapes like the chosen one with a trunk of the next whole number of blocks below and above,
    if any.
    """
    own = chosen.shape
    kin = {
        c.shape.trunk: c
        for c in candidates
        if (c.shape.network, c.shape.stem_stride, len(c.shape.widths), c.shape.norm)
        == (own.network, own.stem_stride, len(own.widths), own.norm)
    }
    below, above = (
        own.trunk // block.channels * block.channels,
        -(-own.trunk // block.channels) * block.channels,
    )
    return [kin[trunk] for trunk in (below, above) if trunk != own.trunk and trunk in kin]


def explain(chosen: Candidate, aligned: Sequence[Candidate], block: Alignment) -> str:
    """Effect of channel blocks on this choice, as sentences with measurements."""
    trunk, size = chosen.shape.trunk, block.channels
    said = [f"This processor multiplies {size} channels at a time ({block.unit})."]
    if trunk % size == 0:
        said.append(f"The proposed trunk of {trunk} fills its blocks.")
    else:
        blocks = -(-trunk // size)
        said.append(
            f"The proposed trunk of {trunk} fills {block.filled(trunk):.0%} of {blocks}"
            f" block{'s' * (blocks > 1)} of {size}."
        )
    rows = [(c, c.latency) for c in sorted([chosen, *aligned], key=lambda c: c.shape.trunk)]
    figures = [
        f"{c.shape.trunk} channels {written('latency', seconds)}, {c.flops / seconds / 1e9:.0f}"
        " GFLOP/s"
        for c, seconds in rows
        if seconds
    ]
    if len(figures) > 1:
        said.append(f"Measured here: {'; '.join(figures)}.")
    return " ".join(said)
