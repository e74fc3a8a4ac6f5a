"""What ``vadpipe import`` is made of."""
