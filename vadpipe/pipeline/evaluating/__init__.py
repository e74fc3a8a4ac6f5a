"""What ``vadpipe evaluate`` is made of."""
