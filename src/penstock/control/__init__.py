"""The control protocol: messages, framing, server and client."""
