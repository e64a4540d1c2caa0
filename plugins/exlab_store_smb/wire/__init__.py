"""Bytes to a server and back: messages, their protection, and the connection that carries them."""
