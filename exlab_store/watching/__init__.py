"""Being told of changes: what is known of each document, what differs, and when to look again."""
