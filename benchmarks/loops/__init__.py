"""Closed and open loop: how long an answer takes when the next question waits for it, and when it does not wait."""
