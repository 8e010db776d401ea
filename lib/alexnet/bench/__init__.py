"""Speed, exactness and memory, measured."""
