"""Parity tests: one scenario, played on pika and on cpika in one run, must show the user the same."""
