"""The daemon: wiring, supervision and reload of everything a configuration asks for. No protocol knowledge."""
