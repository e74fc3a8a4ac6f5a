"""What ``vadpipe detect`` is made of."""
