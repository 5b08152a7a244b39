"""Where pure policy meets the operating system: names, signals, event loops and the packet plane."""
