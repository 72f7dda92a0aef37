"""The doctor: examines the way to a SockJS server through whatever stands in between."""
