"""The kernel's tables of routes, by rtnetlink: imported only where routes are configured."""
