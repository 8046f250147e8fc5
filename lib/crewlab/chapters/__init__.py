"""What each chapter asks, hints at and checks; its text is in the folder ``chapters/``."""
