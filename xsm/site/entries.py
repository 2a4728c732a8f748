"""From the texts that a reader found to checked entries of the model; the same for XML and YAML.

Decides what a whole entry must have. Must not know the syntax of either format beyond how its labels look.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from xsm.site.fields import VM_ENTRY, Entry, Field, contradictions
from xsm.site.file_limits import MAX_ENTRIES, MAX_PROBLEMS, MAX_VALUE_CHARS, MIB
from xsm.site.kinds import Wrong
from xsm.site.model import VM, Host, Site, VMSet
from xsm.site.problems import Invalid, Problem


class Findings:
    """The problems of one file, in the making."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.host_is_missing = False  # without all hosts, every DOM0 could look unknown

    def error(self, line: int, message: str, hint: str = "") -> None:
        """Note a problem. Raises `Invalid` once there are MAX_PROBLEMS of them: reading on would help nobody."""
        self.problems.append(Problem(self.path, line, message, hint))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(
                Problem(
                    self.path,
                    0,
                    f"more than {MAX_PROBLEMS} problems; the rest of the file was not read",
                )
            )
            raise Invalid(self.problems)

    def fatal(self, line: int, message: str, hint: str = "") -> Invalid:
        """The exception to raise for a problem that nothing can be read after."""
        return Invalid([*self.problems, Problem(self.path, line, message, hint)])

    def raise_any(self, partial: Site | None = None) -> None:
        if self.problems:
            raise Invalid(self.problems, None if self.host_is_missing else partial)


def near(word: str, known: Iterable[str], form: str = "{}") -> str:
    """A hint for an unknown word: the nearest known ones, or all when none is near."""
    names = list(known)
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(name.lower(), name)
    word = word[:80].lower()
    matches = difflib.get_close_matches(word, list(folded), n=2, cutoff=0.6)
    if matches:
        return "did you mean " + " or ".join(form.format(folded[m]) for m in matches) + "?"
    if not names:
        return ""
    shown = [form.format(n) for n in names[:16]]
    return "known are " + ", ".join(shown) + (", ..." if len(names) > 16 else "")


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_WIDE_BOMS = ((b"\x00\x00\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
BOM = b"\xef\xbb\xbf"


def decode(data: bytes, findings: Findings, limit_bytes: int) -> str:
    """The file as text, without its byte order mark. Raises `Invalid` when it is too big or not clean UTF-8."""
    if len(data) > limit_bytes:
        raise findings.fatal(
            0,
            f"the file has {len(data)} bytes, more than {limit_bytes // MIB} MiB",
            "split the site",
        )
    for bom, name in _WIDE_BOMS:
        if data.startswith(bom):
            raise findings.fatal(0, f"the file is {name}", "save it as UTF-8")
    nul = data.find(b"\0")
    if nul >= 0:
        raise findings.fatal(
            data.count(b"\n", 0, nul) + 1, "a NUL byte", "a site file is plain text, saved as UTF-8"
        )
    try:
        text = data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        start = error.start + (len(BOM) if data.startswith(BOM) else 0)
        line = data.count(b"\n", 0, start) + 1
        raise findings.fatal(
            line, f"byte 0x{data[start]:02x} is not UTF-8", "save the file as UTF-8"
        ) from None
    control = _CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise findings.fatal(line, f"the control character U+{ord(control[0]):04X}", "remove it")
    if not text.strip():
        raise findings.fatal(
            0, "the file is empty", "an empty site is <XSMConfig/> in XML and `sets: []` in YAML"
        )
    return text


def check_entries(names: int, findings: Findings) -> None:
    """Refuse a file that says `name` more often than any site has names, before it is parsed."""
    if names > MAX_ENTRIES:
        raise findings.fatal(
            0, f"the file has {names} names, more than {MAX_ENTRIES}", "split the site"
        )


@dataclass
class RawEntry:
    """An entry as found: texts by field with their lines, not yet looked into."""

    entry: Entry
    line: int
    values: dict[str, list[tuple[str, int]]] = field(default_factory=dict)  # by model attribute

    def who(self) -> str:
        """What to call the entry in messages."""
        found = self.values.get("name")
        name = found[0][0].strip() if found else ""
        return (
            f"{self.entry.what} {name[:63]}"
            if name.isprintable() and name
            else f"this {self.entry.what}"
        )


def values_of(raw: RawEntry, findings: Findings, xml: bool) -> dict[str, Any] | None:
    """The entry's values by model attribute, absent ones left out; wrong ones are reported.

    A stand-in takes the place of a required number that is wrong, so that the rest of the entry can
    still be compared with others; None when what is wrong is what others would be compared with.
    """
    result: dict[str, Any] = {}
    for row in raw.entry.fields:
        found = raw.values.get(row.attribute)
        if found is None:
            if row.required:
                findings.error(
                    raw.line, f"{raw.who()} has no {row.label(xml)}", f"{row.kind.about}"
                )
                result[row.attribute] = row.kind.minimum
            continue
        if len(found) > 1 and not row.repeatable:
            findings.error(
                found[1][1],
                f"{raw.who()}: {row.label(xml)} twice, first on line {found[0][1]}",
                "keep one",
            )
        parsed = [_value(row, text, line, raw, findings, xml) for text, line in found]
        if not row.repeatable:
            result[row.attribute] = parsed[0] if parsed[0] is not None else row.kind.minimum
        else:
            result[row.attribute] = _several(row, parsed, found, raw, findings, xml)
    result = {attribute: value for attribute, value in result.items() if value is not None}
    for attribute, wrong in contradictions(result, findings.path) if raw.entry is VM_ENTRY else ():
        findings.error(raw.values[attribute][0][1], f"{raw.who()}: {wrong.message}", wrong.hint)
    required = {row.attribute for row in raw.entry.fields if row.required}
    return result if required <= result.keys() else None


def _value(row: Field, text: str, line: int, raw: RawEntry, findings: Findings, xml: bool) -> Any:
    text = text.strip()
    try:
        if not text:
            raise Wrong(
                "is empty", f"{row.kind.about}" + ("" if row.required else ", or leave it out")
            )
        if len(text) > MAX_VALUE_CHARS:
            raise Wrong(f"has {len(text)} characters", row.kind.about)
        return row.kind.parse(text)
    except Wrong as wrong:
        findings.error(line, f"{raw.who()}: {row.label(xml)} {wrong.message}", wrong.hint)
        return None


def _several(
    row: Field,
    values: list[Any],
    found: list[tuple[str, int]],
    raw: RawEntry,
    findings: Findings,
    xml: bool,
) -> tuple[Any, ...]:
    seen: dict[Any, Any] = {}
    for value, (_, line) in zip(values, found, strict=True):
        if value is None:
            continue
        own = value.name if row.named else value
        if own in seen:
            findings.error(line, f"{raw.who()}: {row.label(xml)} {own} twice", "keep one")
        seen.setdefault(own, value)
    if len(values) > row.most:
        findings.error(found[-1][1], f"{raw.who()}: more than {row.most} {row.label(xml)}")
    return tuple(seen.values()) if row.named else tuple(sorted(seen.values()))


def vm_of(raw: RawEntry, set_name: str, findings: Findings, xml: bool) -> VM | None:
    values = values_of(raw, findings, xml)
    return None if values is None else VM(set_name=set_name, line=raw.line, **values)


def host_of(raw: RawEntry, findings: Findings, xml: bool) -> Host | None:
    values = values_of(raw, findings, xml)
    if values is None:
        findings.host_is_missing = True
        return None
    return Host(line=raw.line, **values)


def set_of(raw: RawEntry, vms: Iterable[VM], findings: Findings, xml: bool) -> VMSet | None:
    values = values_of(raw, findings, xml)
    return None if values is None else VMSet(vms=tuple(vms), line=raw.line, **values)
