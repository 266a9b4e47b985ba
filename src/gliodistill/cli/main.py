"""The program: its commands, and the one place that turns errors into exit codes."""

import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TextIO

import typer

from gliodistill.allocator import reuse_memory
from gliodistill.cli import (
    align,
    brain,
    compare,
    cross_validate,
    demo,
    distil,
    evaluate,
    export,
    inspect,
    models,
    networks,
    pacs,
    phantom,
    plan,
    prepare,
    pseudo_label,
    recipes,
    registries,
    segment,
    serve,
    tasks,
    train,
)
from gliodistill.cli.output import error_as_dict, issued, json_line, say_error
from gliodistill.cli.streams import is_closed_pipe, tolerant
from gliodistill.errors import GliodistillError, GliodistillWarning, OutputError
from gliodistill.registry import load_plugin

FAILED, MISUSED, INTERRUPTED = 1, 2, 128 + signal.SIGINT
"""Exit codes; 0 is success."""

RENAMED_OPTIONS = {"--flips": "--tta", "--start": "--pretrained"}
"""Options of versions up to 0.1 → their present names."""


def _program() -> typer.Typer:
    """The program without commands."""
    made = typer.Typer(
        name="gliodistill",
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help=(
            "Small, fast brain-tumour segmentation by knowledge distillation. [dim]Research use,"
            " not a medical device.[/dim]"
        ),
    )
    made.callback(invoke_without_command=True)(_top)
    return made


def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the traceback of an error, for a bug report.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            metavar="FILE",
            help=(
                "Run a Python file first that registers networks, teachers, … of your own; may be"
                " repeated. It is code: only a file that you trust."
            ),
            show_default=False,
        ),
    ] = None,
) -> None:
    for file in plugin or ():
        load_plugin(file)
    if version:
        from gliodistill import __version__

        typer.echo(f"gliodistill {__version__}")
    elif context.invoked_subcommand is None and (text := context.get_help()):
        typer.echo(text)


app = _program()
for _module in (
    phantom,
    inspect,
    align,
    brain,
    prepare,
    tasks,
    recipes,
    train,
    cross_validate,
    distil,
    export,
    networks,
    registries,
    plan,
    pseudo_label,
    models,
    segment,
    serve,
    pacs,
    demo,
    evaluate,
    compare,
):
    _module.add_to(app)

# Typer may bundle its own copy of click: the base class of usage errors is taken from Typer.
_Misuse: type[Exception] = typer.BadParameter.__mro__[1]


def run(arguments: list[str] | None = None) -> int:
    """Run the program.

    An error is one line on standard error, without a traceback unless ``--traceback`` is given;
    with ``--json`` it is also one JSON document on standard output. If standard output or error is
    closed or full, the command still finishes, and the exit code is 1.

    Args:
        arguments: instead of those of the process.

    Returns:
        the exit code: 0 success, 1 failure, 2 wrong command line, 130 interrupted.
    """
    if arguments is None:  # the process is ours
        reuse_memory()
    given = sys.argv[1:] if arguments is None else arguments
    with tolerant() as out:
        code = _run(given)
        out.flush()
        if out.refused is None:
            return code
        if not is_closed_pipe(out.refused):
            say_error(OutputError("cannot write", file="standard output", got=out.refused.strerror))
        return code or FAILED


def _run(given: list[str]) -> int:
    try:
        with _notes():
            code = _named(given)(args=given, prog_name="gliodistill", standalone_mode=False)
        if code == INTERRUPTED:  # Ctrl-C in newer versions of Typer; older ones abort
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _say(GliodistillError("interrupted"), given, INTERRUPTED)
    except Exception as error:
        if "--traceback" in given:
            raise
        if isinstance(error, _Misuse):
            return _say(_explain_misuse(error), given, MISUSED)
        return _say(
            error if isinstance(error, GliodistillError) else _explain(error), given, FAILED
        )


def _named(given: list[str]) -> typer.Typer:
    """The program with only the command that is named first, or else with all: Typer builds a
    validator for every option of every command, which takes longer than to parse one.
    """
    for command in app.registered_commands:
        if given and given[0] == (command.name or getattr(command.callback, "__name__", None)):
            one = _program()
            one.registered_commands = [command]
            return one
    return app


@contextmanager
def _notes() -> Iterator[None]:
    """Print notes as one line each on standard error, and record them for ``--json``."""
    issued.clear()
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, GliodistillWarning):
                issued.append(str(message))
                typer.echo(f"note: {message}", err=True)
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        warnings.simplefilter("always", GliodistillWarning)
        yield


def _say(error: GliodistillError, given: list[str], code: int) -> int:
    if "--json" in given:
        sys.stdout.write(json_line({"error": error_as_dict(error)}) + "\n")
    say_error(error)
    return code


def _explain_misuse(error: Exception) -> GliodistillError:
    """The error of a wrong command line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "gliodistill"
    option = getattr(error, "option_name", None)
    if option in RENAMED_OPTIONS:
        return GliodistillError(
            "option was renamed",
            field=option,
            expected=RENAMED_OPTIONS[option],
            hint=f"see {command} --help",
        )
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return GliodistillError(message.rstrip("."), hint=f"see {command} --help")


def _explain(error: Exception) -> GliodistillError:
    """An error that no code expects."""
    if isinstance(error, ModuleNotFoundError) and error.name in {
        "torch",
        "safetensors",
        "jaxtyping",
        "monai",
    }:
        return GliodistillError(
            "not installed",
            field=error.name,
            expected="training and export need it",
            hint="pip install 'gliodistill[train]'",
        )
    if isinstance(error, OSError) and error.filename is not None:
        return GliodistillError(
            error.strerror or type(error).__name__,
            file=error.filename,
            hint="check the path, its permissions and free space",
        )
    words = " ".join(str(error).split())[:200] or None
    if isinstance(error, MemoryError):
        return GliodistillError(
            "out of memory", got=words, hint="close other programs, or use a machine with more"
        )
    return GliodistillError(
        f"unforeseen {type(error).__name__}",
        got=words,
        hint="this is a bug; see where with: gliodistill --traceback …",
    )
