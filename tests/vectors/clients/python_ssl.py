"""Python's ssl module as a client on 127.0.0.1: python_ssl.py PORT SNI ALPN..."""

import socket
import ssl
import sys

context = ssl.create_default_context()
context.set_alpn_protocols(sys.argv[3:])
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    context.wrap_socket(sock, server_hostname=sys.argv[2])
