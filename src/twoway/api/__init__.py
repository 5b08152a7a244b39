"""The management API: HTTP and JSON over a Unix socket, which everything that asks the daemon uses."""
