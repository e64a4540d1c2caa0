"""What the local backend does differently on Windows. Nothing here is imported on another system."""
