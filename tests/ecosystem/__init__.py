"""Programs of others on pika and on cpika: libraries with their own tests, agents with a program of ours.

`make ecosystem`, or `PYTHONPATH=tests python -m ecosystem [NAME,...]`.  docs/ecosystem.md has the tables.
"""
