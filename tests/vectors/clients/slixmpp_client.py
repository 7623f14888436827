"""slixmpp over direct TLS to 127.0.0.1: slixmpp_client.py PORT DOMAIN"""

import inspect
import sys

import slixmpp

client = slixmpp.ClientXMPP(f"user@{sys.argv[2]}", "secret")
if "use_ssl" in inspect.signature(client.connect).parameters:  # before 1.9
    client.connect(("127.0.0.1", int(sys.argv[1])), use_ssl=True, force_starttls=False, disable_starttls=True)
else:
    client.enable_direct_tls = True
    client.enable_starttls = False
    client.connect("127.0.0.1", int(sys.argv[1]))
client.loop.run_forever()
