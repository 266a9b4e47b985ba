"""A bench for the command line: good data to break, a model, a finished and an unfinished training,
and the program itself.
"""

import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import tiny_cohort
import tiny_model
from gliodistill.cli.main import run


@dataclass(frozen=True)
class Said:
    """What one call of the program gave."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines on standard error."""
        return self.err.splitlines()


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Call ``gliodistill`` in this process."""

    def call(*words: object) -> Said:
        capsys.readouterr()
        code = run([str(word) for word in words])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def terminal() -> Callable[..., str]:
    """Call ``gliodistill`` on a terminal 100 columns wide: what it shows."""

    def call(*words: object) -> str:
        leader, follower = pty.openpty()
        code = "import sys\nfrom gliodistill.cli.main import run\nsys.exit(run(sys.argv[1:]))"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "TERM": "xterm",
            "COLUMNS": "100",
        }
        child = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            stdout=follower,
            stderr=follower,
            stdin=follower,
            env=environment,
        )
        os.close(follower)
        seen = b""
        while select.select([leader], [], [], 60)[0]:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # Linux says so when the other end has closed
                break
            if not chunk:
                break
            seen += chunk
        assert child.wait(60) == 0
        return seen.decode()

    return call


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled studies."""
    return tiny_cohort.write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a network that finds the tumour without having learnt."""
    return tiny_model.export(tmp_path_factory.mktemp("package") / "model").folder


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher and student, six steps each."""
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    runs = {name: part for name, part in tiny_cohort.distilled().items() if name != "baseline"}
    file.write_text(yaml.safe_dump(tiny_cohort.values(runs), sort_keys=False))
    return file


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory, recipe: Path, cohort: Path) -> Path:
    """A finished training."""
    folder = tmp_path_factory.mktemp("training") / "run"
    assert run(["train", str(recipe), "--data", str(cohort), "-o", str(folder)]) == 0
    return folder


@dataclass(frozen=True)
class Bench:
    """Copies in a folder of their own, free to be broken; made when asked for.

    Attributes:
        root: everything lies here.
        data: three good studies, ``case_0`` to ``case_2``.
        out: where a command shall write; nothing is there.
    """

    root: Path
    data: Path
    out: Path
    sources: dict[str, Path]

    def copy(self, name: str) -> Path:
        """A copy of ``model``, ``training`` or ``recipe``."""
        source, target = self.sources[name], self.root / self.sources[name].name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return target

    def file(self, kind: str = "flair", case: str = "case_0") -> Path:
        """An image or, as ``seg``, the label map of a study."""
        return self.data / case / f"{case}_{kind}.nii.gz"

    def only(self, case: str = "case_0") -> Path:
        """Leave one study."""
        for folder in self.data.iterdir():
            if folder.name != case:
                shutil.rmtree(folder)
        return self.data / case


@pytest.fixture
def bench(tmp_path: Path, cohort: Path, request: pytest.FixtureRequest) -> Bench:
    """See :class:`Bench`."""

    class Lazily(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            self[name] = request.getfixturevalue(name)
            return self[name]

    shutil.copytree(cohort, tmp_path / "data")
    return Bench(tmp_path, tmp_path / "data", tmp_path / "out", Lazily())
