"""The peer: what one host's daemon decides, as a state machine without I/O, clocks or threads. Pure."""
