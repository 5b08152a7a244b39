"""Reading what a router was configured with, and saying it in our words."""
