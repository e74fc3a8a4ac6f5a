"""What ``vadpipe report`` is made of."""
