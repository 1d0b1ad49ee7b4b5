"""Speed, memory and results on real data, each beside a peer in the same run; README.md lists the programs."""
