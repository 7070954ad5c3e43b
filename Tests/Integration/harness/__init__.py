"""What the tests stand on: the gateway as a process, misbehaving upstreams, clients that see every byte."""
