"""Plan a student for a teacher and budgets: count, probe, predict, measure, choose."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

import gliodistill
from gliodistill.errors import BudgetError
from gliodistill.networks.precision import processor_flags
from gliodistill.planner.alignment import Alignment, alignment, explain, neighbours
from gliodistill.planner.budgets import Budget, parse_budget, written
from gliodistill.planner.candidate import RULE, Candidate, pareto_front, ranked
from gliodistill.planner.counting import Setting, count
from gliodistill.planner.foreign import of_foreign
from gliodistill.planner.fragment import extended, student_runs
from gliodistill.planner.measuring import Bench, open_bench, predict
from gliodistill.planner.shapes import FAMILIES, NORMS, STRIDES, enumerate_shapes, strides_for
from gliodistill.planner.teacher import Teacher, find_teacher
from gliodistill.planner.teaching import Teaching, measure_teaching, typical_study
from gliodistill.progress import track
from gliodistill.studies.cohort import Cohort
from gliodistill.studies.study import load_study
from gliodistill.teachers import TEACHERS, kind_at, parse_teacher

BRAIN_MM = (144, 178, 145)
"""A prepared brain: the median box of 25 patients of BraTS, 138 × 172 × 139 mm, and the
preparation's margin of 3 mm around it.
"""
PROBES = (8, 16, 32, 64, 128)
"""Trunks that are timed first: whole blocks of all processors' vectors, from which predictions
start.
"""
DOUBT = 1.25
"""Factor by which a prediction may exceed the budget for a candidate to be measured."""
PATIENCE = 0.1
"""Largest expected time of a pass, as a share of the measuring time."""
SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """A proposed student with all candidates.

    Attributes:
        teacher: of the student.
        budgets: none of them relative.
        asked: the budgets as given.
        candidates: all counted ones, in order of enumeration.
        chosen: the proposed one.
        costs: the teacher's ``params``, ``flops``, ``size``, and ``latency`` (seconds) if measured.
        bench: conditions of the timings.
        block: block of channels of this processor.
        teaching: what a teacher of another tool costs, asked once or live, if measured.
    """

    teacher: Teacher
    budgets: Sequence[Budget]
    asked: Sequence[str]
    candidates: Sequence[Candidate]
    chosen: Candidate
    costs: dict[str, float]
    bench: Bench
    block: Alignment
    teaching: Teaching | None = None

    @property
    def runs(self) -> dict[str, Any]:
        """The recipe fragment: the proposed student, without and with distillation."""
        return student_runs(self.teacher, self.chosen.shape)

    def fragment(self) -> str:
        """The fragment as YAML, for ``runs`` of the teacher's recipe."""
        return yaml.safe_dump({"runs": self.runs}, sort_keys=False, default_flow_style=None)

    def recipe(self) -> str:
        """The teacher's recipe with the fragment in it, as YAML."""
        return yaml.safe_dump(
            extended(self.teacher, self.runs), sort_keys=False, default_flow_style=None
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        front = pareto_front(self.candidates)
        aligned = neighbours(self.chosen, [c for c in self.candidates if c.seconds], self.block)
        rows = [
            c.as_dict()
            | {
                "within": c.excess(self.budgets, guess=True) <= 1,
                "front": c in front,
                "chosen": c is self.chosen,
            }
            for c in self.candidates
        ]
        return {
            "teacher": {
                "run": self.teacher.run,
                "network": self.teacher.network,
                "recipe": self.teacher.recipe.name,
                **self.costs,
            },
            "budgets": [
                {"asked": asked, "quantity": b.quantity, "limit": b.limit}
                for asked, b in zip(self.asked, self.budgets, strict=True)
            ],
            "rule": RULE,
            "proposed": self.chosen.as_dict(),
            "shares": {
                quantity: value / self.costs[quantity] for quantity, value in self._shared().items()
            },
            "runs": self.runs,
            "teaching": None if self.teaching is None else self.teaching.as_dict(),
            "alignment": {
                "channels": self.block.channels,
                "unit": self.block.unit,
                "explanation": explain(self.chosen, aligned, self.block),
            },
            "measured": {
                "runtime": self.bench.setting.runtime,
                "precision": self.bench.precision,
                "threads": self.bench.threads,
                "shape": list(self.bench.setting.shape),
                "versions": {"gliodistill": gliodistill.__version__, "torch": torch.__version__},
            },
            "candidates": rows,
        }

    def _shared(self) -> dict[str, float]:
        return {
            name: value
            for name, value in self.chosen.costs().items()
            if value is not None and name in self.costs
        }


def plan_student(
    teacher: str | Teacher,
    budgets: Sequence[str],
    *,
    networks: Sequence[str] = ("unet",),
    strides: Sequence[int] = (),
    runtime: str = "openvino",
    precision: str | None = None,
    threads: int | None = None,
    shape: tuple[int, int, int] | None = None,
    seconds: float = SECONDS,
    training: Cohort | None = None,
) -> Plan:
    """Propose the student with the widest trunk inside the budgets (``RULE``).

    Args:
        teacher: folder of a training or of one of its runs, the name of a network, or a teacher of
            another tool, e.g. ``nnunet:FOLDER``.
        budgets: e.g. ``params<=11%``, ``latency<=300ms``; all must hold.
        networks: families to search (``FAMILIES``), i.e. types of block.
        strides: stem strides to search; by default those with trunk voxels no larger than 3.7 mm.
        runtime: of the student: ``openvino`` or ``torch``.
        precision: of its arithmetic; None = the fastest this processor has.
        threads: processor threads; None = all cores.
        shape: of a prepared brain, voxels; None = a typical one at the recipe's spacing.
        seconds: time for repeated measurements; with 0, a teacher of another tool is not measured.
        training: the studies that such a teacher is asked about; it is measured on the first.

    Raises:
        BudgetError: an invalid budget, or one that no candidate meets (names the nearest one); an
            option out of range.
        RecipeError, CheckpointError: no such teacher.
    """
    wanted = [parse_budget(budget) for budget in budgets]
    if not wanted:
        raise BudgetError("no budget", field="--budget", expected="at least one")
    _check("--student", networks, FAMILIES)
    _check("--stem-stride", strides, STRIDES)
    master = teacher if isinstance(teacher, Teacher) else _found(teacher)
    spacing = master.recipe.data.spacing or (1.0, 1.0, 1.0)
    x, y, z = shape or (
        math.ceil(side / step) for side, step in zip(BRAIN_MM, spacing, strict=True)
    )
    with open_bench(Setting(*master.channels, (x, y, z), runtime), precision, threads) as bench:
        costs = _costs(master, bench, wanted)
        limits = [budget.against(costs.get(budget.quantity, 0.0)) for budget in wanted]
        norms = sorted(NORMS, key=lambda norm: norm != master.norm)
        shapes = enumerate_shapes(
            networks, strides or strides_for(spacing), norms, master.recipe.sampling.patch
        )
        candidates = count(
            shapes,
            bench.setting,
            [limit for limit in limits if limit.quantity != "latency"],
            {quantity: costs.get(quantity, math.inf) for quantity in ("params", "flops")},
        )
        if not candidates:
            patch = list(master.recipe.sampling.patch)
            raise BudgetError(
                "no student's grid divides the patch",
                field="sampling.patch",
                got=patch,
                expected="multiples of 4 or more",
            )
        block = alignment(bench.precision, processor_flags())
        smaller = [Budget(name, costs[name]) for name in ("params", "flops") if name in costs]
        chosen = _choose(bench, candidates, [*limits, *smaller], norms, block, seconds)
    teaching = _teaching(master, training) if seconds else None
    if teaching is not None and master.named is not None:
        master = replace(master, named=replace(master.named, live=teaching.live))
    return Plan(
        master,
        limits,
        list(budgets),
        candidates,
        chosen,
        costs,
        replace(bench, folder=Path()),
        block,
        teaching,
    )


def _teaching(master: Teacher, training: Cohort | None) -> Teaching | None:
    """What a teacher of another tool costs; None for others, for stored predictions, and where the
    user said when to ask it.
    """
    opened, named = master.opened, master.named
    if opened is None or named is None or named.live is not None or not opened.sequences:
        return None
    if training is None:
        study = typical_study(opened, BRAIN_MM)
    else:
        study = load_study(replace(training.studies[0], truth=None, known=None))
    steps = master.recipe.runs[master.run].training.steps
    count = None if training is None else len(training)
    return measure_teaching(opened, master.recipe, steps, study, count)


def _found(text: str) -> Teacher:
    """The teacher that a text names: of another tool (``nnunet:FOLDER``), a run, or a network."""
    kind, colon, _ = text.partition(":")
    named = colon and kind in TEACHERS and not Path(text).exists()
    if named or text.lstrip().startswith("{") or kind_at(Path(text)) is not None:
        return of_foreign(parse_teacher(text, "--teacher"))
    return find_teacher(text)


def _costs(master: Teacher, bench: Bench, wanted: Sequence[Budget]) -> dict[str, float]:
    """The teacher's costs; its latency only where a budget is a share of it.

    Raises:
        BudgetError: a budget is a share of a teacher whose network is not known.
    """
    with torch.device("meta"):
        network = master.build()
        if network is None:
            if shares := [budget for budget in wanted if budget.relative]:
                raise BudgetError(
                    "a share of a teacher whose network is not known",
                    field="--budget",
                    got=shares[0],
                    expected="an absolute limit, e.g. size<=8MB",
                )
            return {}
        costs = bench.setting.costs(network)
    if any(budget.quantity == "latency" and budget.relative for budget in wanted):
        costs["latency"] = min(bench.time("teacher", lambda: master.build() or network))
    return costs


def _check(field: str, got: Sequence[Any], valid: Sequence[Any] | dict[str, Any]) -> None:
    for value in got:
        if value not in valid:
            raise BudgetError(
                "no such choice", field=field, got=value, expected=", ".join(map(str, valid))
            )


def _choose(
    bench: Bench,
    candidates: list[Candidate],
    limits: list[Budget],
    norms: Sequence[str],
    block: Alignment,
    seconds: float,
) -> Candidate:
    """The first in rank within the limits, after measurement of all relevant candidates."""
    fitting = [
        candidate for candidate in ranked(candidates, norms) if candidate.excess(limits) <= 1
    ]
    allowed = min(
        (limit.limit for limit in limits if limit.quantity == "latency"), default=math.inf
    )
    patience = min(2 * allowed, PATIENCE * seconds)
    for candidate in track(_probes(fitting, patience), "probing"):
        bench.visit(candidate)
        predict(candidates)
    while contender := _contender(bench, candidates, fitting, allowed):
        others = [c for c in neighbours(contender, candidates, block) if not c.seconds]
        for candidate in track(
            _turns(candidates, others, min(2 * allowed, patience), seconds), "measuring"
        ):
            bench.visit(candidate)
        predict(candidates)
        for candidate in fitting:
            if candidate.seconds and candidate.excess(limits) <= 1:
                return candidate
    raise _impossible(candidates, limits)


def _probes(fitting: Sequence[Candidate], patience: float) -> Iterator[Candidate]:
    """Yield the narrowest and some wider candidates of each network and stem stride, while the next
    is expected to be fast enough.

    The caller must measure each before the next one.
    """
    chains: dict[tuple[str, int], dict[int, Candidate]] = {}
    for candidate in fitting:  # the first of a trunk has the levels and the norm that rank first
        chains.setdefault((candidate.shape.network, candidate.shape.stem_stride), {}).setdefault(
            candidate.shape.trunk, candidate
        )
    for chain in chains.values():
        trunks = [trunk for trunk in sorted(chain) if trunk in (min(chain), *PROBES)]
        for trunk in trunks:
            if (chain[trunk].predicted or 0.0) > patience:
                break
            yield chain[trunk]


def _contender(
    bench: Bench, candidates: Sequence[Candidate], fitting: Sequence[Candidate], allowed: float
) -> Candidate | None:
    """The first unmeasured candidate in rank that a first measurement finds within the latency,
    skipping those expected far beyond it.
    """
    for candidate in fitting:
        if not candidate.seconds and (candidate.predicted or 0.0) <= DOUBT * allowed:
            bench.visit(candidate)
            predict(candidates)
        elif not candidate.seconds:
            continue
        if candidate.latency is not None and candidate.latency <= allowed:
            return candidate
    return None


def _turns(
    candidates: Sequence[Candidate], others: Sequence[Candidate], patience: float, seconds: float
) -> Iterator[Candidate]:
    """Yield the other candidates once, then all measured ones that are not slow, in rounds: one
    whole round, then until time is up.
    """
    yield from (other for other in others if (other.predicted or 0.0) <= patience)
    end, rounds = time.perf_counter() + seconds, 0
    while rounds == 0 or time.perf_counter() < end:
        for candidate in candidates:
            if candidate.latency is not None and candidate.latency <= patience:
                if rounds and time.perf_counter() > end:
                    return
                yield candidate
        rounds += 1


def _impossible(candidates: Sequence[Candidate], limits: Sequence[Budget]) -> BudgetError:
    """The nearest candidate and how far it is over budget."""
    excess = partial(Candidate.excess, budgets=limits, guess=True)
    nearest = min(candidates, key=excess)
    costs = nearest.costs(guess=True)
    missed = {
        limit.quantity: limit for limit in limits if (costs[limit.quantity] or 0.0) > limit.limit
    }
    has = ", ".join(
        f"{quantity} {written(quantity, costs[quantity] or 0.0)}" for quantity in missed
    )
    return BudgetError(
        "no student meets the budget",
        field=", ".join(missed),
        got=f"the nearest, {nearest.shape}: {has}",
        expected=", ".join(str(limit) for limit in missed.values()),
        hint="loosen the budget, or allow a coarser grid with --stem-stride",
    )
