"""The HTML page of ``vadpipe detect``, and the timeline."""
