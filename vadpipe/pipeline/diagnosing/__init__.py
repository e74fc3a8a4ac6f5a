"""What ``vadpipe doctor`` is made of."""
