"""The program: commands in the order a user meets them, and the one place where errors become exit codes."""

import json
import os
import sys

import typer

from gliodistill.cli import data, learn, use
from gliodistill.errors import GliodistillError

app = typer.Typer(
    name="gliodistill",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Brain-tumour segmentation made small and fast by knowledge distillation. [dim]Research use, not a medical device.[/dim]",
)


@app.callback(invoke_without_command=True)
def _top(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from gliodistill import __version__

        typer.echo(f"gliodistill {__version__}")
        raise typer.Exit


for _module in (data, learn, use):
    _module.add_to(app)


def run() -> None:
    """Run the program; a problem the user can act on is one line on standard error and exit code 1, never a traceback."""
    try:
        app()
    except GliodistillError as error:
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"error": error.as_dict()}) + "\n")
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name not in {"torch", "safetensors", "jaxtyping"}:
            raise
        _fail(f"this command needs {error.name}, which is not installed; pip install 'gliodistill[train]'")


def _fail(line: str, code: int = 1) -> None:
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)
