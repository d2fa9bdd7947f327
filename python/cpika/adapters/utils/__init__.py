"""What pika's adapters share."""
