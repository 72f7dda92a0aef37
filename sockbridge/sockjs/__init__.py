"""The conversation: SockJS sessions without HTTP. Names are imported from the files themselves."""
