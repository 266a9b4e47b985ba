"""The command that opens the web app: serve."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gliodistill.cli.output import Threads


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(serve)


def default_folder(name: str) -> Path:
    """The folder for a person's uploads and results."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "gliodistill" / name


def serve(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes any that is free.")
    ] = 8723,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address and open no browser.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="A shipped model or the folder of one; may be repeated, the first is the default.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="Where uploads and results are kept (default: the person's data folder).",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            "--keep",
            min=0,
            metavar="HOURS",
            help="Remove uploads and results after so long (default: when a person removes them).",
            show_default=False,
        ),
    ] = None,
    queue: Annotated[
        int, typer.Option("--queue", min=1, metavar="N", help="Jobs that may wait.")
    ] = 200,
    upload: Annotated[
        float, typer.Option("--max-upload", min=0.001, metavar="GB", help="Size of one upload.")
    ] = 16.0,
    threads: Threads = None,
    deidentify: Annotated[
        bool,
        typer.Option(
            "--deidentify", help="Leave the patient's name, id and dates out of SEG and SR."
        ),
    ] = False,
    bind: Annotated[
        str,
        typer.Option(
            "--bind",
            metavar="ADDRESS",
            help="Address to listen on; another than this machine's own needs --token-file and TLS"
            " files or a reverse proxy.",
        ),
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Holds the token that clients send (default: a new one for every launch).",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--tls-cert", metavar="FILE", help="Certificate.", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", help="Its private key.", show_default=False),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(
            "--behind-proxy",
            metavar="URL",
            help="Address of the reverse proxy by which browsers reach it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Segment studies in the browser: drop a DICOM folder, a zip or NIfTI files on a page.

    The page, the images and the results stay on this machine. The address that is printed holds the
    token of this launch; without it nothing is shown. Research use, not a medical device.

    Example: [cyan]gliodistill serve[/cyan]
    """
    from gliodistill.serve.running import Address, Options
    from gliodistill.serve.running import serve as run

    run(
        Address(bind, port, token_file, certificate, key, proxy),
        Options(
            folder or default_folder("serve"),
            tuple(model or ("glioma",)),
            threads,
            keep,
            queue,
            upload,
            deidentify,
            not no_browser,
        ),
        lambda url: typer.echo(f"gliodistill is at {url}\nResearch use only. Ctrl-C ends it."),
    )
