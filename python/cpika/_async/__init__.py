"""Connections and channels whose callbacks run on an event loop: what `pika.connection.Connection` and
`pika.channel.Channel` are. The adapters for single loops stand in `cpika.adapters`."""
