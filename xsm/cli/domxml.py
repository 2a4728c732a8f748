"""`xsm domxml FILE VM`: the libvirt XML that a host would get, without any xsmd."""

from __future__ import annotations

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, as_shown, pass_context
from xsm.cli.failures import InputFailure
from xsm.site.model import HypervisorKind
from xsm.site.problems import Invalid

NO_SITE = "00000000-0000-0000-0000-000000000000"
"""Stands for the site's id where there is none: what is derived from it is no VM's in the end."""


@site_command(
    "domxml",
    short_help="Show the libvirt XML that a host would get.",
    examples=("xsm domxml site.xml vm1", "xsm domxml . vm1 --kind kvm | virsh define /dev/stdin"),
)
@click.argument("path", type=click.Path(), metavar="FILE|DIR")
@click.argument("vm", metavar="VM")
@click.option(
    "--kind",
    type=click.Choice([str(kind) for kind in HypervisorKind if kind is not HypervisorKind.NONE]),
    default="xen",
    show_default=True,
    help="The hypervisor that is to run it.",
)
@pass_context
def command(context: Context, path: str, vm: str, kind: str) -> None:
    """The libvirt domain XML that a host with that hypervisor would get for VM. Warnings go to
    stderr.

    Without state/ beside the site file its UUID and MAC are not yet those of a site, unless the
    file gives them.
    """
    from xsm.edge.folder import read_folder
    from xsm.site import domain, identity
    from xsm.site.document import load

    folder = read_folder(path)
    try:
        document = load(folder.files)
    except Invalid as invalid:
        raise Invalid(as_shown(invalid.problems, folder.shown)) from None
    found = document.site.vm(vm)
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(vm, [each.name for each in document.site.vms()], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        raise InputFailure(f"{folder.site_file} has no VM {vm}", hint)
    site_id = document.state.site_id or NO_SITE
    uuid = identity.uuid_of(site_id, found)
    rendered = domain.render(
        found,
        document.configs[found.config],
        uuid=uuid,
        mac=identity.mac_of(found, uuid),
        kind=HypervisorKind(kind),
        tag=None,
    )
    if context.json:
        context.show({"xml": rendered.xml, "warnings": rendered.warnings})
        return
    context.problems(rendered.warnings, folder.shown)
    if not document.state.site_id and not (found.uuid and found.mac):
        context.screen.warn("(not of a site yet: derived UUIDs and MACs will be others)", "faint")
    context.screen.raw(rendered.xml)
