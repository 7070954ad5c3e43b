"""What the benchmarks share: peers with the same job, one load, and ways to count what it cost."""
