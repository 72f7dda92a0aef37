"""Brokers: who gets what is published. One file each; applications name the one they want."""
