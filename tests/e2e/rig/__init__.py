"""What the end-to-end tests and the demo run on: namespaces, servers, clients."""
