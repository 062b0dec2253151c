"""Networks behind the pitch trackers; they touch no file."""
