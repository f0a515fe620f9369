"""What training must keep to the bit: losses of six tiny recipes, and a run of an older corekit."""
