"""What of `make ecosystem` is in `make test`: an agent and a library, some seconds each."""

SMALL = ("opentelemetry", "flask-rmq")
