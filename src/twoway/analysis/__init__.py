"""What a measurement means: the table of metrics, the result and conditions on it. Pure: no loop, socket or clock."""
