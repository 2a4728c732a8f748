"""`python -m xsm.cli`: the same as `xsm`."""

from xsm.cli.main import main

main()
