"""What ``vadpipe train`` is made of."""
