"""Renderings of a result, one file for each output. Every one iterates the tables of `twoway.analysis`."""
