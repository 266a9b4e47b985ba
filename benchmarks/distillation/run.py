"""The study of distillation: what each method buys over the same student undistilled, same budget,
same patches.

    python -m benchmarks.distillation.run synthetic --work runs/distillation
    python -m benchmarks.distillation.run patients  --work runs/distillation --data PATIENTS [--pool
    UNLABELLED]
    python -m benchmarks.distillation.run evidence  --work runs/distillation --data COHORT --pool
    UNLABELLED [--points 5,10,20,all] [--rotations 1]

The protocols are `synthetic.yaml`, `patients.yaml` and `evidence.yaml` beside this file: cohorts,
seeds, the recipe of every run and the rows of every table; EVIDENCE.md is the plan of the last,
whose COHORT is a folder of benchmarks/shipped/cohort.py. Each stage goes on where it was stopped. Results:
`benchmarks/results/distillation/`: `<protocol>.json`, and a table and a picture each; the docs get
the tables. No patient's id or image is among them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from benchmarks.distillation import evidence
from benchmarks.distillation.latency import measure
from benchmarks.distillation.schedule import expand, train, write_recipe
from benchmarks.distillation.score import (
    SUBSETS,
    model_of,
    score_run,
    scores_of,
    subset_name,
    subsets_of,
)
from benchmarks.distillation.tables import (
    difference_lines,
    forest,
    row_of,
    row_table,
    seeds_of,
    slug,
    subset_table,
)
from benchmarks.fill import fill
from gliodistill import __version__
from gliodistill.evaluation.evaluate import evaluate
from gliodistill.files import write_text
from gliodistill.inference.tta import parse_tta
from gliodistill.phantom import write_cohort
from gliodistill.preparation.cache import is_cache
from gliodistill.preparation.cache_building import build_cache
from gliodistill.studies.cohort import open_cohort
from gliodistill.studies.sequence import MRSequence
from gliodistill.training.experiment import Experiment

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=("synthetic", "patients", "evidence"))
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for cohorts, runs and models; kept"
    )
    parser.add_argument("--data", type=Path, help="labelled patients, for the protocol patients")
    parser.add_argument("--pool", type=Path, help="unlabelled patients, for the protocol patients")
    parser.add_argument("--points", default="5,10,20,all", help="of evidence: patients that teach")
    parser.add_argument("--rotations", default="1", help="of evidence, e.g. 1,2,3")
    parser.add_argument(
        "--cores",
        default=",".join(map(str, sorted(os.sched_getaffinity(0)))),
        help="one run at a time on each",
    )
    parser.add_argument("--stages", default="train,score,latency,report")
    parser.add_argument("--tables", help="only the runs of these tables, e.g. compression,omni")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=HERE.parents[1] / "benchmarks" / "results" / "distillation",
    )
    arguments = parser.parse_args()
    protocol = yaml.safe_load((HERE / f"{arguments.protocol}.yaml").read_text())
    work = arguments.work / arguments.protocol
    tables = arguments.tables.split(",") if arguments.tables else list(protocol["tables"])
    if arguments.protocol == "evidence":
        protocol = evidence.completed(protocol)
        for point in arguments.points.split(","):
            folds = evidence.folds(
                protocol, work, arguments.data, arguments.pool, arguments.rotations, point
            )
            asked = [name for name in evidence.tables_at(protocol, point) if name in tables]
            carry_out(protocol, f"evidence-{point}", folds, asked, arguments, work)
        return
    if arguments.protocol == "synthetic":
        folds = synthetic(protocol, work, len(arguments.cores.split(",")))
    else:
        folds = patients(protocol, work, arguments.data, arguments.pool)
    carry_out(protocol, arguments.protocol, folds, tables, arguments, work)


def carry_out(
    protocol: dict[str, Any],
    name: str,
    folds: list[dict[str, Any]],
    tables: list[str],
    arguments: argparse.Namespace,
    work: Path,
) -> None:
    """The stages of a protocol on its folds."""
    cores = [int(core) for core in arguments.cores.split(",")]
    stages = arguments.stages.split(",")
    for fold in folds:
        recipe = write_recipe(recipe_of(protocol, fold), fold["work"] / "recipe.yaml")
        wanted = list(
            dict.fromkeys(
                run for table in tables for run in recipe.runs if belongs(protocol, run, table)
            )
        )
        wanted = [run for run in wanted if run not in protocol.get("same", {})]
        plain = [run for run in wanted if not takes_pseudo(recipe, run)]
        told = [run for run in wanted if takes_pseudo(recipe, run) and fold["pool"] is not None]
        if told:
            plain = list(dict.fromkeys([*plain, *protocol["pseudo"]["teachers"]]))
        file, out, log = (
            fold["work"] / "recipe.yaml",
            fold["work"] / "runs",
            fold["work"] / "train.log",
        )
        if "train" in stages:
            if "starts" in fold:
                evidence.lend(protocol, recipe, plain, fold["starts"], fold["data"], out, cores)
            train(file, fold["data"], out, plain, cores, [], log)
            if told:
                pseudo = pseudo_labels(protocol, fold, out, "pool", fold["work"] / "pseudo")
                train(file, fold["data"], out, told, cores, ["--pseudo", str(pseudo)], log)
        if "score" in stages:
            score(protocol, fold, Experiment.open(out), wanted, len(cores))
    if "latency" in stages:
        measure(protocol, folds[0], work / "latency.json")
    if "report" in stages:
        report(protocol, name, folds, tables, work, arguments.output)


def synthetic(protocol: dict[str, Any], work: Path, jobs: int) -> list[dict[str, Any]]:
    """One fold: phantoms to learn from, a pool without labels, phantoms to test on."""
    cohorts = {}
    for name, part in protocol["cohorts"].items():
        cohorts[name] = folder = work / name
        if not (folder / "complete").exists():
            spacing, difficulty = protocol["spacing"], protocol["difficulty"]
            write_cohort(
                folder,
                part["studies"],
                part["seed"],
                spacing=spacing,
                difficulty=difficulty,
                jobs=jobs,
            )
            (folder / "complete").touch()
    return [
        {
            "work": work,
            "cohort": cohorts["labelled"],
            "test": cohorts["test"],
            "pool": cohorts["pool"],
            "validation": None,
        }
    ]


def patients(
    protocol: dict[str, Any], work: Path, data: Path, pool: Path | None
) -> list[dict[str, Any]]:
    """Folds by patient: each labelled patient is tested once, by networks that never saw it."""
    count = protocol["folds"]
    names = [f"{fold}/{count}" for fold in range(1, count + 1)]
    return [
        {
            "work": work / f"fold{n[0]}",
            "cohort": data,
            "test": data,
            "pool": pool,
            "validation": n,
            "cache": work / "cache",
        }
        for n in names
    ]


def recipe_of(protocol: dict[str, Any], fold: dict[str, Any]) -> dict[str, Any]:
    """The fold's recipe: every run once a seed, dedicated students for every subset, its own
    validation patients.
    """
    values = dict(protocol["recipe"])
    if fold["validation"]:
        values["data"] = {**values["data"], "validation": fold["validation"]}
    dedicated = protocol["subsets"].get("dedicated", {})
    if "as" in dedicated:
        base = {
            key: value
            for key, value in values["runs"][dedicated["as"]].items()
            if key != "augmentation"
        }
        runs = {
            f"{dedicated['name']}-{slug(subset_name(s))}": {
                **base,
                "sequences": [str(q) for q in s],
            }
            for s in SUBSETS
        }
        values["runs"] = {**values["runs"], **runs}
        once = [*protocol["once"], *runs]
    else:
        once = protocol["once"]
    values = expand(values, once, protocol["seeds"])
    fold["data"] = prepared(fold, write_recipe(values, fold["work"] / "recipe.yaml"))
    return values


def prepared(fold: dict[str, Any], recipe: Any) -> Path:
    """One cache of the learning studies, shared by every fold."""
    cache: Path = fold.get("cache", fold["work"] / "cache")
    if not is_cache(cache):
        build_cache(open_cohort(fold["cohort"]).labelled(), recipe.data.preparation(), cache)
    return cache


def belongs(protocol: dict[str, Any], run: str, table: str) -> bool:
    """Whether a run is part of a table: one of its rows, or needed by one."""
    names = protocol["tables"][table]["runs"]
    return run in names or run.rpartition("-")[0] in names


def first_studies(cohort: Path, count: int) -> list[str]:
    """The first ids of a cohort: those on which all 15 subsets are scored."""
    return sorted(record.id for record in open_cohort(cohort).labelled().studies)[:count]


def takes_pseudo(recipe: Any, run: str) -> bool:
    """Whether a run uses pseudo-labels."""
    return bool(recipe.runs[run].pseudo.share)


def pseudo_labels(
    protocol: dict[str, Any], fold: dict[str, Any], out: Path, studies: str, target: Path
) -> Path:
    """The ensemble's labels for ``fold[studies]``, by the program that users run."""
    experiment = Experiment.open(out)
    models = [
        part
        for teacher in protocol["pseudo"]["teachers"]
        for part in ("-m", str(model_of(experiment, teacher, fold["work"])))
    ]
    command = [
        sys.executable,
        "-m",
        "gliodistill",
        "pseudo-label",
        str(fold[studies]),
        *models,
        "-o",
        str(target),
    ]
    subprocess.run([*command, "--resume", *protocol["pseudo"]["options"]], check=True)
    return target


def score(
    protocol: dict[str, Any],
    fold: dict[str, Any],
    experiment: Experiment,
    wanted: list[str],
    jobs: int,
) -> None:
    """The test studies by every run that is trained, ``jobs`` runs at a time."""
    apart = fold["test"] != fold["cohort"]
    ids = None if apart else experiment.split["validation"]
    few = fold.get("few") or ids or first_studies(fold["test"], protocol["subsets"]["studies"])
    dedicated = protocol["subsets"].get("dedicated", {}).get("name")
    if "pseudo" in protocol and apart:
        score_ensemble(protocol, fold, experiment)
    with ProcessPoolExecutor(jobs) as pool:
        tasks = []
        for name in filter(experiment.is_finished, wanted):
            those = few if name.rpartition("-")[0] == dedicated else ids
            subsets = few if row_of(name) in protocol["subsets"]["rows"] else None
            tasks.append(
                pool.submit(
                    score_run, experiment, name, fold["test"], those, fold["work"], few=subsets
                )
            )
        for task in tasks:
            task.result()


def score_ensemble(protocol: dict[str, Any], fold: dict[str, Any], experiment: Experiment) -> None:
    """The teachers' mean with test-time augmentation, on the test studies: what the omni-supervised
    student is held against.
    """
    teachers = protocol["pseudo"]["teachers"]
    kept = fold["work"] / "scores" / "ensemble.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not all(experiment.is_finished(teacher) for teacher in teachers):
        return
    weights = " ".join(experiment.summary(teacher)["weights_sha256"] for teacher in teachers)
    if kept.exists() and json.loads(kept.read_text())["weights_sha256"] == weights:
        return
    out = pseudo_labels(protocol, fold, experiment.folder, "test", fold["work"] / "ensemble")
    facts = [experiment.summary(teacher) for teacher in teachers]
    sums = {key: sum(fact[key] for fact in facts) for key in ("parameters", "seconds", "flops")}
    result = evaluate(out, fold["test"])
    options = protocol["pseudo"]["options"]
    mirrorings = len(parse_tta(options[options.index("--tta") + 1]))
    found = {
        **sums,
        "gflops_a_patch": mirrorings * sums["flops"] / 1e9,
        "rules": result.rules.text,
        "weights_sha256": weights,
        "scores": {subset_name(SUBSETS[-1]): scores_of(result)},
        "subsets": {},
    }
    write_text(kept, json.dumps(found))


def report(
    protocol: dict[str, Any],
    name: str,
    folds: list[dict[str, Any]],
    asked: list[str],
    work: Path,
    out: Path,
) -> None:
    """Scores of all folds joined, tables and pictures."""
    runs: dict[str, Any] = {}
    for fold in folds:
        for file in sorted((fold["work"] / "scores").glob("*.json")):
            found = json.loads(file.read_text())
            if file.stem not in runs:
                runs[file.stem] = {**found, "folds": 1}
                continue
            run = runs[file.stem]
            for kind in ("scores", "subsets"):
                for subset, scores in found[kind].items():
                    for (
                        metric,
                        rows,
                    ) in scores.items():  # who was scored is a string: joined as lists are
                        run[kind][subset][metric] += rows
            run["folds"], run["seconds"] = run["folds"] + 1, run["seconds"] + found["seconds"]
            run["weights_sha256"] += f" {found['weights_sha256']}"
    runs = {name: run for name, run in runs.items() if run["folds"] == len(folds)}
    for alias, run in protocol.get("same", {}).items():
        if run in runs:
            runs[alias] = runs[run]
    latency = (
        json.loads((work / "latency.json").read_text()) if (work / "latency.json").exists() else {}
    )
    tables, every = {}, {}
    for table in asked:
        part = protocol["tables"][table]
        text, differences = row_table(runs, part["rows"], latency.get("ms", {}))
        missing = ", ".join(row["row"] for row in part["rows"] if not seeds_of(runs, row["row"]))
        if differences:
            tables[table] = "\n\n".join(
                [
                    text,
                    difference_lines(differences),
                    *([f"Not finished yet: {missing}."] if missing else []),
                ]
            )
            every |= differences
    rows = protocol["subsets"]["rows"]
    columns = {
        row: others
        for row, others in rows.items()
        if any(run["subsets"] for run in seeds_of(runs, row).values())
    }
    if columns and "any_subset" in asked:
        dedicated = protocol["subsets"].get("dedicated", {}).get("name")
        sequences = map(MRSequence, protocol["recipe"]["data"].get("sequences", tuple(MRSequence)))
        text, differences = subset_table(
            runs, columns, [subset_name(s) for s in subsets_of(sequences)], dedicated
        )
        few = {
            len(scores["dice"])
            for row in columns
            for run in seeds_of(runs, row).values()
            for scores in run["subsets"].values()
        }
        title = (
            f"**{protocol['subsets']['title']}**, {max(few)} of the test studies; differences of"
            " their means:"
        )
        tables["any_subset"] = "\n\n".join(
            [*filter(None, [tables.get("any_subset")]), title, text, difference_lines(differences)]
        )
        every |= differences
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    kind = name.partition("-")[0]
    data = "" if kind == "synthetic" else " --data PATIENTS --pool UNLABELLED"
    command = f"python -m benchmarks.distillation.run {kind} --work WORK{data}"
    machine = {
        "processor": latency.get("processor", platform.machine()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    first = next(run for run in runs.values() if run["scores"])
    studies = max(len(scores["dice"]) for run in runs.values() for scores in run["scores"].values())
    empty = "; ".join(
        part.partition(" (")[0] for part in first["rules"].split(". ") if " empty: " in part
    )
    seeds = ", ".join(map(str, protocol["seeds"]))
    note = f"{' '.join(protocol['about'].split())} {studies} test studies; seeds {seeds}. {empty}. "
    note += (
        f"{len(every)} comparisons are made in all and p is not corrected for that. Settings of"
        " every run: "
    )
    note += (
        f"`benchmarks/distillation/{kind}.yaml`; scores of every study:"
        f" `benchmarks/results/distillation/{name}.json`."
    )
    result = {
        "command": command,
        "report_commit": commit,  # runs may have been trained at earlier ones
        "protocol": protocol,
        "versions": {"gliodistill": __version__},
        "machine": machine,
        "latency": latency,
        "strata": [stratum for fold in folds for stratum in fold.get("strata", [])],
        "differences": every,
        "runs": runs,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"{name}.json", json.dumps(result))
    for table, text in tables.items():
        write_text(out / f"{table}-{name}.md", f"{text}\n\n{note}\n")
        forest(
            {k: every[k] for k in every if f"\n* {k}:" in f"\n{text}"},
            out / f"{table}-{name}.png",
            protocol["tables"][table]["title"],
        )
    fill()


if __name__ == "__main__":
    main()
