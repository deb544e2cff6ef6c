"""Where trials run: the executor interface, the local executor and its processes."""
