"""twoway measures network paths in both directions with OWAMP, TWAMP, TWAMP Light and STAMP."""
