"""Settings of all tests; no fixtures, so that each test shows what it stands on."""

import os
import signal

from hypothesis import settings

# No deadlines: two shared cores make single examples slow by chance. CI repeats the same examples,
# so that a red run means a change; new examples are found where people work.
settings.register_profile("xsm", deadline=None, print_blob=True)
settings.register_profile("xsm-ci", settings.get_profile("xsm"), derandomize=True)
settings.load_profile("xsm-ci" if os.environ.get("CI") else "xsm")

# A shell starts what it runs in the background with Ctrl-C ignored, and programs under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
