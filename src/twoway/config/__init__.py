"""What a person writes and what it means: defaults, units, code-point names, endpoints and key files. Pure."""
