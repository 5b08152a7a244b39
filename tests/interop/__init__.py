"""What others' decoders make of the packets that twoway sends."""
