"""The peers that are written in Python and run by the interpreter of the benchmark: one script for each."""
