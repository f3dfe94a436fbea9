"""What goes outside."""
