"""A torture harness: seeded, random use of the whole interface, against a model that knows what is allowed.

    make torture SECONDS=60 SEED=1          everything, or MODES=threads/scripted
    PYTHONPATH=tests python -m torture --list

A *mode* is a room and a target: `signals/rabbitmq`.  It runs in a process of its own, in rounds; each round
has a connection of its own and follows from the seed, the mode and the round's number alone.  What is found
is printed with all three.  In rooms of one thread `--round` takes the same steps again; in which dispatching
call a message arrives may differ.

The rooms are in `rooms.py`, the model in `ledger.py` (messages), `actor.py` (calls) and `protocol.py` (what
the scripted server sees), the scripted server in `scripted.py`.
"""
