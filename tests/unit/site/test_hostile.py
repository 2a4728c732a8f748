"""Hostile site files: refused within seconds and in bounded memory, without a traceback.

In a process of its own, whose CPU time and address space the kernel limits.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.site.sites import FIGURE_3
from xsm.site import xml_file, yaml_file
from xsm.site.convert import convert
from xsm.site.file_limits import MAX_XML_BYTES, MAX_YAML_BYTES
from xsm.site.problems import Invalid

YAML = convert(FIGURE_3, "yaml", "site.xml")
PIECES = [
    b'', b'<', b'>', b'/', b'</', b'<!--', b'-->', b'<![CDATA[', b']]>', b'&', b'&#0;', b'&#x41;',
    b'<?', b"'", b'"', b'=', b'\n', b'\r', b'\t', b' ', b'  ', b'- ', b': ', b':', b'? ', b'[',
    b']', b'{', b'}', b',', b'|', b'#', b' # ', b'%', b'---\n', b'...\n', b'!', b'&a ', b'*a',
    b'<<: ', b'~', b'\\', b'\\U99999999', b'\xff', b'\x00', b'\xc2\x85', b'\xe2\x80\xa8',
    b'\xef\xbb\xbf', b'9', b'@',
]  # fmt: skip

CPU_SECONDS = 8
"""Far above what any case takes (1 to 2 s), since the machine is shared, and far below what an attack would."""
ADDRESS_SPACE_BYTES = 1024 * 1024 * 1024

READ = """
import sys
from xsm.site import xml_file, yaml_file
from xsm.site.problems import Invalid
text = eval(sys.stdin.read())
reader = yaml_file if sys.argv[1] == "yaml" else xml_file
try:
    reader.read(text)
except Invalid as invalid:
    print(len(invalid.problems), invalid.problems[0])
else:
    print("accepted")
"""

ALIAS_BOMB = (
    "b'a: &a [x,x,x,x,x,x,x,x,x]\\n' + "
    "b''.join(b'%c: &%c [%s]\\n' % (98 + i, 98 + i, b','.join([b'*%c' % (97 + i)] * 9)) for i in range(9))"
)
ENTITY_BOMB = (
    "b'<!DOCTYPE x [<!ENTITY a \"ha\">' + "
    "b''.join(b'<!ENTITY %c \"%s\">' % (98 + i, b'&%c;' % (97 + i) * 10) for i in range(20)) + "
    "b']><XSMConfig>&u;</XSMConfig>'"
)
EXTERNAL = (
    'b\'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><XSMConfig><Set name="s">'
    "<Owner>&e;</Owner></Set></XSMConfig>'"
)
CASES = {
    "xml entity bomb": ("xml", ENTITY_BOMB, "a DOCTYPE is not allowed"),
    "xml external entity": ("xml", EXTERNAL, "a DOCTYPE is not allowed"),
    "xml 100 MB": ("xml", "b'<XSMConfig>' + b' ' * 100_000_000", "more than 8 MiB"),
    "xml depth": ("xml", "b'<XSMConfig>' + b'<Set>' * 200_000", "nested more than 8 deep"),
    "xml long name": ("xml", "b'<' + b'a' * 8_000_000 + b'/>'", "root element is <aaaa"),
    "xml long attribute": ("xml", "b'<XSMConfig a=\"' + b'a' * 8_000_000 + b'\"/>'", "unknown attribute"),
    "xml many attributes": (
        "xml",
        "b'<XSMConfig ' + b''.join(b'a%d=\"\" ' % i for i in range(500_000)) + b'/>'",
        "more than 100",
    ),
    "xml many elements": ("xml", "b'<XSMConfig>' + b'<a/>' * 2_000_000 + b'</XSMConfig>'", "more than 400000 elements"),
    "xml text": ("xml", "b'<XSMConfig>' + b'a&lt;' * 1_600_000 + b'</XSMConfig>'", "text inside"),
    "xml comments": ("xml", "b'<XSMConfig>' + b'<!---->' * 1_000_000 + b'<a/></XSMConfig>'", "<a> is not known"),
    "xml unclosed": ("xml", "b'<XSMConfig>' + b'<Set></X>' * 20_000", "</X> closes nothing"),
    "xml sets": ("xml", "b'<XSMConfig>' + b'<Set name=\"a\"/>' * 500_000 + b'</XSMConfig>'", "more than 60000"),
    "xml huge number": (
        "xml",
        "b'<XSMConfig><Set name=\"a\"><VM name=\"v\" config=\"c\"><VCPUS>1</VCPUS><MEM>' + "
        "b'9' * 4_000_000 + b'</MEM></VM></Set></XSMConfig>'",
        "characters",
    ),
    "yaml alias bomb": ("yaml", ALIAS_BOMB, "the anchor &a is not allowed"),
    "yaml tag": ("yaml", "b'sets: !!python/object/apply:os.system [id]'", "is not allowed"),
    "yaml 100 MB": ("yaml", "b'sets: ' + b'[' * 100_000_000", "more than 4 MiB"),
    "yaml depth": ("yaml", "b'sets: ' + b'[' * 200_000", "a line of 200006 characters"),
    "yaml depth on lines": ("yaml", "b'sets: ' + b'[\\n' * 200_000", "nested more than 8 deep"),
    "yaml depth by dashes": ("yaml", "b'sets:\\n' + b'- ' * 30_000", "nested more than 8 deep"),
    "yaml depth by indent": ("yaml", "b''.join(b' ' * i + b'a:\\n' for i in range(1_400))", "is not known in the file"),
    "yaml long word": ("yaml", "b'a: ' + b'x' * 4_000_000", "can't be read"),
    "yaml long tag": ("yaml", "b'a: !' + b'x' * 60_000", "is not allowed"),
    "yaml long anchor": ("yaml", "b'a: &' + b'x' * 60_000", "is not allowed"),
    "yaml line breaks": ("yaml", "b'\\n' * 4_000_000 + b'a'", "4000001 lines"),
    "yaml comments": ("yaml", "b'#\\n' * 390_000 + b'a'", "should hold keys"),
    "yaml flat": ("yaml", "b'sets: [\\n' + b'a,\\n' * 300_000 + b']'", "more than 100"),
    "yaml flat unknown": ("yaml", "b'x: [\\n' + b'a,\\n' * 300_000 + b']'", "is not known in the file"),
    "yaml lines of one value": ("yaml", "b'sets: x\\n' + b'  x\\n' * 250_000", "several lines"),
    "yaml text block": ("yaml", "b'sets: |\\n' + b'  x\\n' * 250_000", "a text block"),
    "yaml quoted lines": ("yaml", "b'sets: \"x\\n' + b'  x\\n' * 250_000 + b'\"'", "several lines"),
    "yaml sets": ("yaml", "b'sets:\\n' + b'- name: a\\n' * 400_000", "more than 60000"),
    "yaml questions": ("yaml", "b'? ' * 30_000", "as a key"),
    "yaml flow keys": ("yaml", "b'{' + b'a: b,\\n' * 160_000 + b'}'", "more than 100"),
}  # fmt: skip


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))


@pytest.mark.parametrize("name", sorted(CASES))
def test_refused_in_time(name):
    kind, source, expected = CASES[name]
    done = subprocess.run(
        [sys.executable, "-c", READ, kind],
        input=source,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert expected in done.stdout, done.stdout[:500]
    assert len(done.stdout) < 600


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_broken_files_are_refused_and_never_crash_the_reader(data):
    """Bytes of a good file are cut, doubled or replaced; each reader accepts the result or says what is wrong."""
    reader, text = data.draw(st.sampled_from([(xml_file, FIGURE_3), (yaml_file, YAML)]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.sampled_from([0, 0, 1, 3, 40]))
        text = text[:at] + data.draw(st.sampled_from(PIECES)) + text[at + cut :]
    try:
        reader.read(text)
    except Invalid as invalid:
        lines = text.count(b"\n") + text.count(b"\r") + 2  # in YAML each \r ends a line, too
        assert all(p.message and p.line <= lines for p in invalid.problems)


def test_the_limits_are_what_the_messages_say():
    assert (MAX_XML_BYTES, MAX_YAML_BYTES) == (8 * 1024**2, 4 * 1024**2)
