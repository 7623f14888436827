"""nbxmpp, Gajim's library, over direct TLS to 127.0.0.1: nbxmpp_client.py PORT DOMAIN"""

import sys

from gi.repository import GLib
from nbxmpp.client import Client
from nbxmpp.const import ConnectionProtocol, ConnectionType

client = Client(log_context="vector")
client.set_domain(sys.argv[2])
client.set_username("user")
client.set_password("secret")
client.set_custom_host(f"127.0.0.1:{sys.argv[1]}", ConnectionProtocol.TCP, ConnectionType.DIRECT_TLS)
client.connect()
GLib.MainLoop().run()
