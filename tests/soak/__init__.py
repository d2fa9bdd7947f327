"""The soak: long runs against cut networks, killed brokers, hostile peers, load and time.

    make soak                            every part, about a quarter of an hour
    make soak SOAK=cuts,hostile          some of them
    make soak SOAK=hostile/close-flood   the cases whose names contain a text
    make soak SCALE=0.1                  a tenth of the work

Each case runs in a process of its own, so that a crash or a hang is a line of the table and not its end.  It
works on whatever library `support.subject` imports.
"""
