"""What turns a notebook into the course's bench: the extension, the app magic, the explorer."""
