"""How much a site file may hold; decides when a file is refused without being looked at further.

Must not know what the file says. Every bound is here, so that they can be read, and tested, together.
"""

from __future__ import annotations

MIB = 1024 * 1024

MAX_XML_BYTES = 8 * MIB
"""Size of a site.xml: about 45,000 VMs, read in about 2 s."""

MAX_YAML_BYTES = 4 * MIB
"""Size of a site.yaml: about 25,000 VMs."""

MAX_ENTRIES = 60_000
"""Hosts, sets and VMs of a site, all together."""

MAX_ELEMENTS = 400_000
"""Elements of a site.xml; a VM takes 6 to 20."""

MAX_DEPTH = 8
"""Levels of elements or of YAML collections. A site file needs 4, and 6."""

MAX_STRAY_EVENTS = 2_000
"""Parser events spent on the value of one unknown YAML key before the file is given up."""

MAX_PROBLEMS = 100
"""Problems of one file that are reported; a reader stops there."""

MAX_REPAIRS = 20
"""Missing or wrong end tags that a reading looks past in order to report what else is wrong."""

MAX_REPAIR_BYTES = 256 * 1024
"""Files above this size are not looked past their first syntax error: each look reads the file again."""

MAX_VALUE_CHARS = 1_000
"""Length of one value. Anything longer is refused before it is parsed or quoted in a message."""

MAX_VCPUS = 4_096
MAX_MEMORY_MIB = 64 * 1024 * 1024
"""64 TiB."""
MAX_CPU_WEIGHT = 65_535
"""Xen's credit scheduler takes 1..65535."""
MAX_APART_TAGS = 32
MAX_DISKS = 16
"""Of one VM, of the site file: with a config's own few they still have letters for their names in the guest."""

MAX_PATH_CHARS = 400
"""Length of a path in a revision."""

MAX_NAME_BYTES = 255
"""Length of a file's or folder's name: no file system here takes more, and the checkout could never be written."""

MAX_LINE_CHARS = 64 * 1024
"""Length of a line of YAML: the parser takes quadratic time for some very long words."""

MAX_YAML_LINES = 400_000
"""Lines of a site.yaml, empty ones and comments too."""

MAX_ODD_YAML_BYTES = MIB
"""Size of a site.yaml in another layout than the one `xsm convert` writes: 6,000 VMs or so, read in about 3 s by the
YAML parser, which is pure Python."""

MIN_FENCE_AFTER_S = 30
"""A host counts as failed after so long (`xsm/peer/contacts.py`); before that it may be a lost packet."""
MAX_FENCE_AFTER_S = 86_400
