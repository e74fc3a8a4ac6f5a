"""The pictures of ``vadpipe report``, one module each."""
