"""What ``vadpipe store`` is made of."""
