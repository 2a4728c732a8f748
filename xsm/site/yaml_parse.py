"""Any YAML by the YAML parser, as nodes that know which characters each takes.

Decides which YAML is plain and harmless: one document of block or flow collections and one-line
values; no tags, anchors, aliases, directives. Builds from the parser's events and gives up at the
first surprise, so that a hostile file costs little. Must not know what the values mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from xsm.site import yaml_advice
from xsm.site.entries import Findings, near
from xsm.site.file_limits import MAX_DEPTH, MAX_STRAY_EVENTS, MAX_VALUE_CHARS
from xsm.site.yaml_node import VALUE, Mapping_, Node, Scalar, Sequence_, Shape


def parse(
    text: str, findings: Findings, shape: Shape
) -> tuple[Mapping_, tuple[tuple[int, int], ...]]:
    """The nodes of a text and where its scalars stand. Raises `Invalid`."""
    builder = _Builder(text, findings, shape)
    try:
        root = builder.document()
    except MarkedYAMLError as error:
        raise _misread(error, text, findings, shape) from None
    except (ValueError, OverflowError):  # an escape such as "\\U99999999"
        raise findings.fatal(*yaml_advice.for_escape(text)) from None
    except YAMLError:
        raise findings.fatal(0, "not well-formed YAML", "is there an odd character?") from None
    if root is None:
        findings.raise_any()
        raise findings.fatal(0, "the file holds no site", "an empty site is `sets: []`")
    assert isinstance(root, Mapping_)
    return root, tuple(builder.spans)


class _Builder:
    def __init__(self, text: str, findings: Findings, shape: Shape) -> None:
        self.text = text
        self.findings = findings
        self.shape = shape  # of the whole file
        self.spans: list[tuple[int, int]] = []
        self.stray = 0
        self.events: Iterator[Any] = iter(YAML(typ="safe", pure=True).parse(text))

    def next(self) -> Any:  # an event; their attributes differ by kind
        event: Any = next(self.events)
        if isinstance(event, ev.AliasEvent):
            raise self.refused(event, f"the alias *{event.anchor[:40]}", "write the value out")
        if isinstance(event, ev.NodeEvent):
            if event.anchor is not None:
                raise self.refused(
                    event, f"the anchor &{event.anchor[:40]}", "remove it; aliases are not read"
                )
            tag = getattr(event, "tag", None)
            if tag is not None:
                raise self.refused(event, f"the tag {str(tag)[:40]}", "remove it")
        return event

    def refused(self, event: ev.Event, what: str, hint: str) -> Exception:
        return self.findings.fatal(event.start_mark.line + 1, f"{what} is not allowed", hint)

    def document(self) -> Node | None:
        self.next()  # start of the stream
        start = self.next()
        if isinstance(start, ev.StreamEndEvent):
            return None
        if start.version or start.tags:
            raise self.refused(start, "a % directive", "remove it")
        node = self.node(self.next(), self.shape, "the file", 1)
        self.next()  # end of the document
        after = self.next()
        if not isinstance(after, ev.StreamEndEvent):
            raise self.refused(after, "a second document (---)", "a site file holds one")
        return node

    def node(self, event: ev.Event, shape: Shape, where: str, depth: int) -> Node | None:
        """The node that starts with `event`; None after reporting that it has another shape."""
        line = event.start_mark.line + 1
        if isinstance(event, ev.ScalarEvent):
            scalar = self.scalar(event)
            if shape is VALUE or (shape.item and scalar.is_null):
                return scalar
            known = yaml_advice.keys_of(self.shape)
            advice = None if scalar.quote else yaml_advice.for_word(scalar.value, line, known)
            if shape.keys is not None and advice:
                self.findings.error(*advice)
                return None
        elif isinstance(event, ev.MappingStartEvent):
            if shape.keys is not None:
                return self.mapping(event, shape.keys, where, depth)
            self.skip(depth)
        else:
            if shape.item is not None:
                return self.sequence(event, shape.item, where, depth)
            self.skip(depth)
        self.findings.error(
            line, f"{where} should hold {shape.name()}", _SHAPE_HINTS.get(shape.name(), "")
        )
        return None

    def mapping(self, event: Any, keys: Mapping[str, Shape], where: str, depth: int) -> Mapping_:
        result = Mapping_(event.start_mark.line + 1, event.start_mark.index, bool(event.flow_style))
        seen: dict[str, int] = {}
        while not isinstance(event := self.next(), ev.MappingEndEvent):
            if not isinstance(event, ev.ScalarEvent):
                raise self.refused(event, "a list or a mapping as a key", "a key is one word")
            key = self.scalar(event)
            value_event = self.next()
            colon = self.check_colon(key)
            shape = keys.get(key.value)
            if shape is None:
                self.findings.error(
                    key.line,
                    f"{_short(key.value)}: is not known in {where}",
                    self.belongs(key.value) or near(key.value, keys, "{}:"),
                )
                self.skip_from(value_event, depth)
                continue
            if key.value in seen:
                self.findings.error(
                    key.line,
                    f"{key.value}: twice in {where}, first on line {seen[key.value]}",
                    "keep one" + ("; a new entry starts with `- name:`" * (key.value == "name")),
                )
                self.skip_from(value_event, depth)
                continue
            seen[key.value] = key.line
            node = self.node(value_event, shape, f"{key.value}:", depth + 1)
            if isinstance(node, Scalar) and not node.value and not node.quote:
                # The parser has an empty value somewhere before the next token.
                node = replace(node, start=colon, end=colon, line=key.line)
            if node is not None:
                result.pairs.append((key, node))
        result.end = event.end_mark.index if result.flow else self.last_end(result.pairs)
        return result

    def sequence(self, event: Any, item: Shape, where: str, depth: int) -> Sequence_:
        result = Sequence_(
            event.start_mark.line + 1, event.start_mark.index, bool(event.flow_style)
        )
        while not isinstance(event := self.next(), ev.SequenceEndEvent):
            node = self.node(event, item, f"an entry of {where.removesuffix(':')}", depth + 1)
            if node is not None:
                result.items.append(node)
        result.end = (
            event.end_mark.index
            if result.flow
            else (result.items[-1].end if result.items else result.start)
        )
        return result

    def last_end(self, pairs: list[tuple[Scalar, Node]]) -> int:
        return pairs[-1][1].end if pairs else -1

    def scalar(self, event: ev.ScalarEvent) -> Scalar:
        line = event.start_mark.line + 1
        start, end = event.start_mark.index, event.end_mark.index
        if event.style in ("|", ">"):
            raise self.refused(
                event, f"a text block ({event.style})", "write the value on one line"
            )
        if event.end_mark.line != event.start_mark.line:
            known = yaml_advice.keys_of(self.shape)
            last = event.end_mark.line + 1
            raise self.findings.fatal(*yaml_advice.for_long_value(self.text, line, last, known))
        if end - start > MAX_VALUE_CHARS:
            raise self.findings.fatal(
                line, f"a value of {end - start} characters", f"at most {MAX_VALUE_CHARS}"
            )
        self.spans.append((start, end))
        return Scalar(event.value, event.style or "", start, end, line)

    def belongs(self, key: str) -> str:
        """The hint for a key that is known elsewhere in the file."""
        if key.startswith("-") and key[1:] in yaml_advice.keys_of(self.shape):
            return f"write `- {key[1:]}:`, with a space after the dash"
        places = yaml_advice.places_of(key, self.shape)
        return f"it belongs in {' or '.join(places)}: is the indentation right?" if places else ""

    def check_colon(self, key: Scalar) -> int:
        """The offset behind the key's colon. Only `key: value`: the form `? key` would be in the way of edits."""
        found = _COLON.match(self.text, key.end)
        if not found:
            raise self.findings.fatal(
                key.line, "the form `? key` is not allowed", f"write {_short(key.value)}: ..."
            )
        return found.end()

    def skip_from(self, event: ev.Event, depth: int) -> None:
        if isinstance(event, ev.ScalarEvent):
            self.scalar(event)
        else:
            self.skip(depth)

    def skip(self, depth: int) -> None:
        """Read past a collection whose start was read."""
        inside = 1
        while inside:
            event = self.next()
            self.stray += 1
            if isinstance(event, ev.CollectionStartEvent):
                inside += 1
            elif isinstance(event, ev.CollectionEndEvent):
                inside -= 1
            elif isinstance(event, ev.ScalarEvent):
                self.scalar(event)
            if inside + depth > MAX_DEPTH:
                raise self.findings.fatal(
                    event.start_mark.line + 1, f"nested more than {MAX_DEPTH} deep"
                )
            if self.stray > MAX_STRAY_EVENTS:
                raise self.findings.fatal(
                    event.start_mark.line + 1, "too much that is not known; reading ends here"
                )


_COLON = re.compile(r"[ \t]*:")
_SHAPE_HINTS = {"a list": "start each entry with -", "keys with values": "write key: value"}


def _short(text: str) -> str:
    return repr(text[:60])[1:-1]


def _misread(error: MarkedYAMLError, text: str, findings: Findings, shape: Shape) -> Exception:
    """The parser's error as a problem: what was done wrong, where that is."""
    mark, began = error.problem_mark or error.context_mark, error.context_mark
    line = mark.line + 1 if mark else 0
    words = " ".join(str(part) for part in (error.context, error.problem) if part)
    known = yaml_advice.keys_of(shape)
    advice = yaml_advice.for_syntax(text, line, began.line + 1 if began else 0, words, known)
    if advice:
        return findings.fatal(*advice)
    return findings.fatal(
        line, "not well-formed YAML", "check the indentation, the colons and the quotes here"
    )
