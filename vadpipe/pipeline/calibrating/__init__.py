"""What ``vadpipe calibrate`` is made of."""
