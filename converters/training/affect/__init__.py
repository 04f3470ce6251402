"""Our own network: where its faces come from, how it is trained, and what becomes of it."""
