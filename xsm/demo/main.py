"""`xsm demo`: a site of four hosts on this machine, on libvirt's test driver, with everything that can happen to it."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import click


@click.command("demo", short_help="Run a site of four hosts on this machine.")
@click.option(
    "--keep", is_flag=True, help="Leave the site running at the end, and say how to look at it."
)
def command(keep: bool) -> int:
    """Run a site of four hosts on this machine, and show what XSM does with it.

    Hosts are private libvirtd processes with libvirt's test driver; nothing else on this machine is touched, and
    no rights are needed. Every step is checked against what libvirt itself says.
    """
    from rich.console import Console

    from xsm.demo.stage import DemoFailed, Stage
    from xsm.demo.story import run

    # As Ctrl-C does: the hosts' processes are in sessions of their own and would outlive us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(soft_wrap=True)
    sample = _sample()
    stage = Stage()
    failed = True
    try:
        run(stage, sample, console)
        failed = False
    except DemoFailed as error:
        console.print(f"\n[bold red]The demo failed[/bold red]: {error}", highlight=False)
        console.print(f"Logs: {stage.folder}/dmz0*/xsmd.log", highlight=False)
    except KeyboardInterrupt:
        console.print("\nInterrupted; ending the hosts.")
    finally:
        if keep and not failed:
            _say_how(console, stage)
            _wait(console)
        stage.close()
    if not failed:
        shutil.rmtree(stage.folder)
    return 1 if failed else 0


def _sample() -> Path:
    """The paper's site: in a clone beside the package, where XSM is installed under share/."""
    places = (Path(__file__).parents[2] / "sites", Path(sys.prefix).parent / "share" / "sites")
    for place in places:
        if (place / "figure3").is_dir():
            return place / "figure3"
    raise click.ClickException(
        f"the sample site figure3 is in none of: {', '.join(map(str, places))}"
    )


def _say_how(console: object, stage: object) -> None:
    from rich.console import Console

    from xsm.cli.starting import program
    from xsm.demo.stage import Stage

    assert isinstance(console, Console)
    assert isinstance(stage, Stage)
    xsm = program("xsm")
    console.print("\nThe site goes on running until you press Ctrl-C here. In another terminal:\n")
    for host in stage.hosts.values():
        console.print(f"  {xsm} --config {host.config} status", highlight=False)
        if shutil.which("virsh"):
            # In a session of its own it looks for no polkit agent, which isn't needed here and may be missing.
            virsh = f"setsid -w virsh -c '{host.libvirtd.uri}' list --all"
            console.print(f"  {virsh}", highlight=False)
    first = next(iter(stage.hosts.values()))
    console.print(
        f"\nEdit and save {first.checkout}/site.xml, or work in a clone:\n", highlight=False
    )
    console.print(f"  git clone {first.folder}/data/site.git site; cd site", highlight=False)
    console.print(f"  {xsm} --config {first.config} apply .", highlight=False)


def _wait(console: object) -> None:
    """Until Ctrl-C or SIGTERM."""
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
