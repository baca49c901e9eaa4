"""Where the weights are while clips are generated: all on the device, in turns, or streamed layer by layer."""
