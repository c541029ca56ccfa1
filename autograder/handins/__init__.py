"""What students handed in, read however damaged it is; nothing of it is executed here."""
