"""Assignment satellite."""
