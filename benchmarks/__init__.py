"""Speed and memory, each against a peer in the same run: see `encoder` and `data_scale`."""
