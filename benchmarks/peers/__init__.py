"""Programs that run in the peers' own environments: they import the peer and `frame_clock`, and nothing of `edge`."""
