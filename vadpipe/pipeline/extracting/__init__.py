"""What ``vadpipe extract`` is made of."""
