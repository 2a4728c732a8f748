"""The one table of the site file's fields: XML tag, YAML key, model attribute, value, documentation.

Readers, writers, editors, schemas and messages all go by it, so that a new field is one new row.
Decides what a single value may be. Must not know files, layouts or other entries.

The tags of the first rows are those of Figure 3 of the XSM paper (section 2.2); the rest are XSM's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xsm.site.file_limits import (
    MAX_APART_TAGS,
    MAX_CPU_WEIGHT,
    MAX_DISKS,
    MAX_FENCE_AFTER_S,
    MIN_FENCE_AFTER_S,
)
from xsm.site.kinds import (
    ADDRESS,
    DISK,
    FENCE,
    HOST_WORD,
    IP,
    LIBVIRT_URI,
    MAC,
    MEMORY,
    OWNER,
    UUID,
    VCPUS,
    Kind,
    Wrong,
    choice,
    name_of,
    number,
)
from xsm.site.model import CopyDisks, Drift, Migration, PostCopy, Power


@dataclass(frozen=True)
class Field:
    """One row: `tag` in XML, its lower case in YAML, `attribute` in the model."""

    tag: str
    attribute: str
    kind: Kind
    doc: str
    required: bool = False
    in_tag: bool = False  # an XML attribute rather than a child element
    repeatable: bool = False  # several elements in XML, a list in YAML, a tuple in the model
    most: int = MAX_APART_TAGS  # of a repeatable one
    named: bool = False  # its values have names of their own, each once, and keep their order; else they are sorted
    default: Any = None  # what an absent field means

    @cached_property
    def key(self) -> str:
        return self.tag.lower()

    def label(self, xml: bool) -> str:
        """The field as the file's format writes it, for messages."""
        if not xml:
            return f"{self.key}:"
        return f"{self.tag}=" if self.in_tag else f"<{self.tag}>"

    def texts(self, value: Any) -> tuple[str, ...]:
        """What to write for `value`: nothing for the default, one text, or one for each of several."""
        if value is None or value == self.default:
            return ()
        return (
            tuple(map(self.kind.format, value)) if self.repeatable else (self.kind.format(value),)
        )


@dataclass(frozen=True)
class Entry:
    """A kind of entry of the site file and its fields, in the order in which they are written."""

    tag: str
    key: str  # of the YAML list that holds such entries
    what: str  # for people
    fields: tuple[Field, ...]

    @cached_property
    def by_tag(self) -> Mapping[str, Field]:
        return {f.tag: f for f in self.fields if not f.in_tag}

    @cached_property
    def by_xml_attribute(self) -> Mapping[str, Field]:
        return {f.tag: f for f in self.fields if f.in_tag}

    @cached_property
    def by_key(self) -> Mapping[str, Field]:
        return {f.key: f for f in self.fields}

    @cached_property
    def by_attribute(self) -> Mapping[str, Field]:
        return {f.attribute: f for f in self.fields}

    @cached_property
    def order(self) -> Mapping[str, int]:
        """Place of each model attribute in the table."""
        return {f.attribute: i for i, f in enumerate(self.fields)}


VM_ENTRY = Entry(
    "VM",
    "vms",
    "VM",
    (
        Field(
            "name",
            "name",
            name_of("VM"),
            "Name of the VM, unique in the site.",
            required=True,
            in_tag=True,
        ),
        Field(
            "config",
            "config",
            name_of("config"),
            "Config beside the site file: configs/NAME.cfg (xl.cfg) or configs/NAME.xml (libvirt domain XML).",
            required=True,
            in_tag=True,
        ),
        Field(
            "DOM0",
            "host",
            HOST_WORD,
            "Host that runs the VM, by name or address. Absent: the VM floats and the site places it.",
        ),
        Field("VCPUS", "vcpus", VCPUS, "Number of virtual CPUs.", required=True),
        Field(
            "HWADDR",
            "mac",
            MAC,
            "MAC address of the VM's first network card. Absent: derived from its UUID.",
        ),
        Field(
            "IP",
            "ip",
            IP,
            "How the VM gets its network configuration: DHCP, or its static IP address.",
        ),
        Field("MEM", "memory_mib", MEMORY, "Memory in MiB.", required=True),
        Field(
            "MAXMEM",
            "max_memory_mib",
            MEMORY,
            "Memory in MiB up to which the VM can grow while it runs.",
        ),
        Field(
            "MAXVCPUS",
            "max_vcpus",
            VCPUS,
            "Virtual CPUs up to which the VM can grow while it runs.",
        ),
        Field(
            "WEIGHT",
            "cpu_weight",
            number(1, MAX_CPU_WEIGHT),
            "Share of CPU time against other VMs (Xen credit weight, libvirt cpu shares).",
        ),
        Field(
            "UUID",
            "uuid",
            UUID,
            "UUID of the VM. Absent: derived from its name.",
        ),
        Field(
            "STATE", "power", choice(Power), "What the VM should be doing.", default=Power.RUNNING
        ),
        Field(
            "MIGRATION",
            "migration",
            choice(Migration),
            "How the VM may change hosts: live only, cold too (stopped and started there), or never while it runs.",
            default=Migration.LIVE,
        ),
        Field(
            "POSTCOPY",
            "post_copy",
            choice(PostCopy),
            "Whether a migration that would never end may run it on the target too early; a failure then kills it.",
            default=PostCopy.NEVER,
        ),
        Field(
            "DRIFT",
            "drift",
            choice(Drift),
            "What to do when the VM was changed behind XSM's back: put it right, or only report it.",
            default=Drift.REPAIR,
        ),
        Field(
            "APART",
            "apart",
            name_of("tag"),
            "Anti-affinity tag: VMs that share one go to different hosts.",
            repeatable=True,
            default=(),
        ),
        Field(
            "USER_DATA",
            "user_data",
            name_of("user-data file"),
            "What cloud-init in the guest does: the file configs/NAME.user-data, given to it on a CD-ROM.",
        ),
        Field(
            "DISK",
            "disks",
            DISK,
            "A disk of the VM's own, kept as volume VM-NAME.qcow2 of a libvirt storage pool; made empty (or as a copy "
            "of the volume `from=`) where the VM starts for the first time, grown, never made smaller or deleted.",
            repeatable=True,
            most=MAX_DISKS,
            named=True,
            default=(),
        ),
        Field(
            "COPY_DISKS",
            "copy_disks",
            choice(CopyDisks),
            "Whether its DISKs are on pools that hosts don't share, and a live move copies them to the new host.",
            default=CopyDisks.NO,
        ),
    ),
)

HOST_ENTRY = Entry(
    "Host",
    "hosts",
    "host",
    (
        Field(
            "name",
            "name",
            name_of("host"),
            "Name of the host, unique in the site.",
            required=True,
            in_tag=True,
        ),
        Field(
            "ADDRESS",
            "address",
            ADDRESS,
            "Address of the host; a DOM0 may say it instead of the name.",
        ),
        Field("HWADDR", "mac", MAC, "MAC address of the card that the host boots from."),
        Field(
            "URI",
            "uri",
            LIBVIRT_URI,
            "libvirt URI as seen on the host itself, for example xen:///system.",
        ),
        Field(
            "MEM",
            "memory_mib",
            MEMORY,
            "Memory in MiB that VMs may use in all. Absent: what the hypervisor reports.",
        ),
        Field(
            "FENCE",
            "fence",
            FENCE,
            "The fence agent that switches the host off from outside, and its options; secrets are kept apart, in "
            "/var/lib/xsm/fence/NAME of the other hosts. `xsm host fence` uses it.",
        ),
        Field(
            "FENCE_AFTER",
            "fence_after_s",
            number(MIN_FENCE_AFTER_S, MAX_FENCE_AFTER_S, "seconds"),
            "Seconds of silence after which a majority of the others has the host fenced, and its floating VMs start "
            "elsewhere. Absent: only people fence it.",
        ),
    ),
)

SET_ENTRY = Entry(
    "Set",
    "sets",
    "set",
    (
        Field(
            "name",
            "name",
            name_of("set"),
            "Name of the set, unique in the site.",
            required=True,
            in_tag=True,
        ),
        Field(
            "Owner",
            "owner",
            OWNER,
            "Who is responsible for the set's VMs, usually a mail address.",
            default="",
        ),
    ),
)


def vm_label(attribute: str) -> str:
    """What people call an attribute of a VM: its element in the site file ("MEM"), else the attribute itself."""
    row = VM_ENTRY.by_attribute.get(attribute)
    return row.tag if row else attribute


def spelled(site_path: str, tag: str) -> str:
    """A field's name as that site file writes it: MEM, and in YAML mem."""
    return tag if site_path.endswith(".xml") else tag.lower()


ENTRIES = (HOST_ENTRY, SET_ENTRY, VM_ENTRY)
ROOT_TAG = "XSMConfig"


def contradictions(
    values: Mapping[str, Any], site_path: str = "site.xml"
) -> list[tuple[str, Wrong]]:
    """What is wrong between the values of one VM: (attribute, why). Takes the values by model attribute."""
    wrong = []
    for low, high, unit in (("vcpus", "max_vcpus", ""), ("memory_mib", "max_memory_mib", " MiB")):
        least, most = values.get(low), values.get(high)
        if least is not None and most is not None and least > most:
            names = [spelled(site_path, VM_ENTRY.by_attribute[a].tag) for a in (low, high)]
            wrong.append(
                (
                    high,
                    Wrong(
                        f"{names[1]} {most}{unit} is less than {names[0]} {least}{unit}",
                        f"at least {least}, or leave it out",
                    ),
                )
            )
    return wrong
