"""The command that runs a node of the PACS: pacs."""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from gliodistill.cli.output import Threads
from gliodistill.cli.serve import default_folder


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(pacs)


def pacs(
    send_to: Annotated[
        list[str] | None,
        typer.Option(
            "--send-to",
            metavar="AET@HOST:PORT",
            help="Node that results are sent to, and that may call; may be repeated.",
            show_default=False,
        ),
    ] = None,
    aet: Annotated[str, typer.Option("--aet", metavar="AET", help="Own AE title.")] = "GLIODISTILL",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Own port.")] = 11112,
    bind: Annotated[
        str,
        typer.Option(
            "--bind",
            metavar="ADDRESS",
            help="Address to listen on. DICOM is not encrypted and AE titles are no passwords:"
            " open it to a protected network only.",
        ),
    ] = "127.0.0.1",
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            metavar="AET",
            help="AE title that may call, besides those of --send-to; may be repeated.",
            show_default=False,
        ),
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(
            "--dicomweb",
            metavar="URL",
            help="DICOMweb server that is asked for studies and gets the results.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[
        float,
        typer.Option(
            "--quiet",
            min=0,
            metavar="SECONDS",
            help="A study is complete when no image of it came for so long.",
        ),
    ] = 60.0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="FIELD=PATTERN",
            help="Take only studies whose modality, body_part, description or station fits, e.g."
            " body_part=*BRAIN*; may be repeated, all must fit.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="MODEL", help="A shipped model or its folder."),
    ] = "glioma",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="Where images, results and the ledger are kept (default: the person's data"
            " folder).",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            "--keep",
            min=0,
            metavar="HOURS",
            help="Remove images and results of a study so long after its end (default: never).",
            show_default=False,
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Run a node of the PACS: segment the studies that are sent to it, send SEG and SR back.

    A study is taken when it is complete, segmented as [bold]segment[/bold] does it, and its results
    are sent until they have arrived. Killed at any instant, the node goes on where it was. Research
    use, not a medical device.

    Example: [cyan]gliodistill pacs --aet GLIO --send-to ORTHANC@127.0.0.1:4242[/cyan]
    """
    from gliodistill.serve.pacs.node import run_node
    from gliodistill.serve.pacs.settings import NodeSettings, Peer, Rule

    settings = NodeSettings(
        folder or default_folder("pacs"),
        aet,
        bind,
        port,
        tuple(Peer.of(text) for text in send_to or ()),
        tuple(accept or ()),
        dicomweb,
        quiet_s=quiet,
        rules=tuple(Rule.of(text) for text in only or ()),
        model=model,
        threads=threads,
        keep_s=None if keep is None else keep * 3600,
    )
    ended = threading.Event()
    before = {name: signal.signal(name, lambda *_: ended.set()) for name in _SIGNALS}
    try:
        run_node(settings, lambda line: typer.echo(line, err=True), ended)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
