"""What `cpika.aio` is made of."""
