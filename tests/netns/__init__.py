"""Tests of the real programs in real network namespaces, with an impairing forwarder between them."""
