"""One file a question: the runs it needs, and what comes out."""
